"""Certificates for tests, made by openssl."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.tools import require


def issue(folder: Path, name: str) -> tuple[Path, Path]:
    """A chain and its key: a certificate of its own for this machine and for `NAME.shop`."""
    require("openssl")
    chain, key = folder / "chain.pem", folder / "key.pem"
    command = [
        "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
        "-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:localhost,IP:127.0.0.1,DNS:{name}.shop",
        "-keyout", str(key), "-out", str(chain),
    ]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True, timeout=30)
    return chain, key
