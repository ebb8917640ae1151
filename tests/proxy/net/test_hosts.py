"""/etc/hosts, as the C library reads it."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.net import hosts as module
from proxy.net.hosts import HostsFile


async def test_all_lines_of_a_name_count(tmp_path: Path) -> None:
    """Also those of an address that has other names."""
    path = tmp_path / "hosts"
    path.write_text(
        "127.0.0.1 localhost\n::1 pay.test\n127.0.0.1\tpay.test Pay # other.test\n\n# 10.0.0.1 comment\n"
        "10.0.0.7\tusers.test users\nnonsense pay.test\n10.0.0.7 users.test\n10.0.0.9"
    )
    hosts = HostsFile(path)
    for name, addresses in {
        "pay.test": ("::1", "127.0.0.1"), "PAY.test.": ("::1", "127.0.0.1"), "pay": ("127.0.0.1",),
        "users.test": ("10.0.0.7",), "users": ("10.0.0.7",), "other.test": (), "comment": (), "": (),
    }.items():  # fmt: skip
        assert await hosts.addresses(name) == addresses, name
    assert repr(hosts) == f"<HostsFile {path} 5 names>"


async def test_it_is_read_again_when_it_has_changed(tmp_path: Path) -> None:
    path = tmp_path / "hosts"
    hosts = HostsFile(path)
    assert await hosts.addresses("a") == (), "there is none"
    path.write_text("10.0.0.1 a")
    assert await hosts.addresses("a") == ("10.0.0.1",)
    beside = tmp_path / "beside"
    beside.write_text("10.0.0.2 a")
    beside.replace(path)
    assert await hosts.addresses("a") == ("10.0.0.2",)
    path.unlink()
    path.mkdir()
    assert await hosts.addresses("a") == ()


async def test_a_file_of_any_size_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_BYTES", 12)
    path = tmp_path / "hosts"
    path.write_text("10.0.0.1 a\n10.0.0.2 b\n")
    hosts = HostsFile(path)
    assert (await hosts.addresses("a"), await hosts.addresses("b")) == (("10.0.0.1",), ())
