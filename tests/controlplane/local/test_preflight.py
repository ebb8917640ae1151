from __future__ import annotations

import socket
from pathlib import Path

import pytest

from controlplane.local.preflight import preflight
from controlplane.process.listeners import holder
from tests.controlplane.local.files import environment, service


def test_nothing_is_wrong(tmp_path: Path) -> None:
    assert preflight(environment(service("users")), tmp_path, {"PATH": "/bin:/usr/bin"}) == []


def test_all_that_is_wrong_is_said_at_once(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]
        file = environment(
            service("one", port=port, cwd="nowhere"),
            service("two", command=["no-such-program"]),
            service("three", command=["./run.sh"]),
            service("four", command=[str(tmp_path)]),
        )
        assert preflight(file, tmp_path, {"PATH": "/bin"}) == [
            f"spec.services[0].port: port {port} is in use by {holder(port)}",
            f"spec.services[0].cwd: there is no folder {tmp_path}/nowhere",
            "spec.services[1].command: there is no program 'no-such-program' in PATH",
            "spec.services[2].command: there is no program './run.sh'",
            f"spec.services[3].command: there is no program '{tmp_path}'",
        ]


def test_an_application_may_choose_either_loopback_so_its_port_is_free_on_both(tmp_path: Path) -> None:
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as busy:
        port = busy.getsockname()[1]
        (problem,) = preflight(environment(service("one", appPort=port)), tmp_path, {"PATH": "/bin:/usr/bin"})
        assert problem == f"spec.services[0].appPort: port {port} is in use by {holder(port)}"


def test_the_path_is_that_of_the_service(tmp_path: Path) -> None:
    program = tmp_path / "bin" / "mine"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    own = service("users", command=["mine"], env={"PATH": str(program.parent)})
    assert preflight(environment(own), tmp_path, {"PATH": "/bin"}) == []
    assert preflight(environment(service("users", command=["mine"])), tmp_path, {"PATH": "/bin"}) != []


@pytest.mark.parametrize("mode", [0o644, 0o755])
def test_a_relative_program_is_relative_to_the_service(tmp_path: Path, mode: int) -> None:
    program = tmp_path / "services" / "run.sh"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(mode)
    found = preflight(environment(service("users", command=["./run.sh"], cwd="services")), tmp_path, {})
    assert found == ([] if mode & 0o100 else ["spec.services[0].command: there is no program './run.sh'"])
