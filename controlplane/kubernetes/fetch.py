"""The init container that fetches pushed files: `python3 -m controlplane.kubernetes.fetch URL TOKEN_FILE INTO`.

It asks the control plane with a service-account token that is good for ten minutes, and unpacks what it gets into
INTO/files. It imports nothing but the standard library, since it is to be done in a moment.
"""

from __future__ import annotations

import io
import sys
import tarfile
import time
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from urllib.parse import urlsplit

SECONDS = 60.0
"""For a control plane to answer that is being replaced."""
PAUSE_SECONDS = 1.0
ANSWER_SECONDS = 30.0


class RefusedError(Exception):
    """The control plane has answered, and asking again is no use."""


def main(url: str, token_file: str, into: str) -> str:
    """Why it could not be done, "" when it was."""
    end = time.monotonic() + SECONDS
    while True:
        try:
            data = _asked(url, Path(token_file).read_text().strip())
            break
        except RefusedError as error:
            return f"{url}: {error}"
        except (OSError, HTTPException) as error:
            if time.monotonic() > end:
                return f"{url} does not answer: {str(error) or type(error).__name__}"
        time.sleep(PAUSE_SECONDS)
    return _unpacked(data, Path(into))


def _unpacked(data: bytes, into: Path) -> str:
    """Why it could not be, "" when it was. Nothing leaves the folder, whatever the archive says."""
    (into / "files").mkdir(exist_ok=True)
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        for item in archive:
            parts = item.name.split("/")
            opened = archive.extractfile(item) if item.isfile() else None
            if opened is None or "" in parts or ".." in parts:
                return f"the archive has {item.name!r}, which is no pushed file"
            target = into.joinpath(*parts)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(opened.read())
            target.chmod(item.mode & 0o777)
    return ""


def _asked(url: str, token: str) -> bytes:
    parts = urlsplit(url)
    kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
    connection = kind(parts.netloc, timeout=ANSWER_SECONDS)
    try:
        connection.request("GET", parts.path, headers={"authorization": f"Bearer {token}"})
        answer = connection.getresponse()
        data = answer.read()
    finally:
        connection.close()
    if answer.status >= 500:
        raise OSError(f"{answer.status} {answer.reason}")
    if answer.status != 200:
        raise RefusedError(f"{answer.status} {data[:2000].decode('utf-8', 'replace')}")
    return data


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:4]) or None)
