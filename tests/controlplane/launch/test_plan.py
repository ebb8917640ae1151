from __future__ import annotations

import pytest

from controlplane.launch.plan import CopyPorts, RegistryAccess, Shadow, app_command, sidecar_command
from controlplane.model.variables import RESERVED
from controlplane.model.workload import Upstream
from proxy.base.programs import program

PORTS = CopyPorts(inbound=20001, app=20002, outbound=(20004, 20005))
UPSTREAMS = (
    Upstream(name="payments", workload="shop/payments", address="127.0.0.1:18082"),
    Upstream(name="mail-relay", workload="infra/mail", address="10.0.0.7:80"),
)


def test_the_application_learns_where_it_lives() -> None:
    command = app_command(["server", "--port=${PORT}", "${HOME}"], "/srv", {"MARK": "v2"}, UPSTREAMS, PORTS, {})
    assert command.argv == ("server", "--port=20002", "${HOME}")
    assert command.cwd == "/srv"
    assert command.env == {
        "PYTHONUNBUFFERED": "1",
        "MARK": "v2",
        "PORT": "20002",
        "PAYMENTS_URL": "http://127.0.0.1:20004",
        "PAYMENTS_HOST": "127.0.0.1",
        "PAYMENTS_PORT": "20004",
        "MAIL_RELAY_URL": "http://127.0.0.1:20005",
        "MAIL_RELAY_HOST": "127.0.0.1",
        "MAIL_RELAY_PORT": "20005",
    }


def test_what_is_told_can_be_named_in_the_command_and_in_the_variables() -> None:
    env = {
        "LISTEN": "0.0.0.0:${PORT}",
        "WHO": "${SKYCAP_SANDBOX} ${SKYCAP_ROUTING_KEY}",
        "PAYMENTS_URL": "redis://:${PORT}@${PAYMENTS_HOST}:${PAYMENTS_PORT}/0",
        "LEFT": "${HOME} $PORT ${LISTEN}",
    }
    shadow = Shadow("agent-42", "Key.42", 3)
    argv = ["run", "--bind=${PORT}", "${PAYMENTS_URL}", "${MAIL_RELAY_HOST}:${MAIL_RELAY_PORT}", "${SKYCAP_SANDBOX}"]
    command = app_command(argv, "/srv", env, UPSTREAMS, PORTS, {"HOME": "/root"}, shadow)
    url = "redis://:20002@127.0.0.1:20004/0"
    assert command.argv == ("run", "--bind=20002", url, "127.0.0.1:20005", "agent-42")
    assert {name: command.env[name] for name in env} == {
        "LISTEN": "0.0.0.0:20002",
        "WHO": "agent-42 Key.42",
        "PAYMENTS_URL": url,
        "LEFT": "${HOME} $PORT ${LISTEN}",
    }
    assert (command.env["SKYCAP_SANDBOX"], command.env["SKYCAP_ROUTING_KEY"]) == ("agent-42", "Key.42")


def test_the_baseline_is_told_of_no_sandbox() -> None:
    inherited = {"SKYCAP_SANDBOX": "of the parent", "SKYCAP_ROUTING_KEY": "likewise"}
    command = app_command(["${SKYCAP_SANDBOX}"], "", {}, (), CopyPorts(1, 2), inherited)
    assert command.argv == ("${SKYCAP_SANDBOX}",)
    assert not {"SKYCAP_SANDBOX", "SKYCAP_ROUTING_KEY"} & set(command.env)


def test_the_scheme_of_an_upstream() -> None:
    upstreams = (
        Upstream(name="cache", workload="a/b", address="h:1", scheme="redis"),
        Upstream(name="broker", workload="a/b", address="h:1", scheme="none"),
    )
    env = app_command(["x"], "", {}, upstreams, PORTS, {}).env
    assert (env["CACHE_URL"], env["BROKER_URL"]) == ("redis://127.0.0.1:20004", "127.0.0.1:20005")


def test_who_wins_in_the_environment() -> None:
    inherited = {
        "A": "inherited",
        "B": "inherited",
        "PORT": "inherited",
        "PYTHONUNBUFFERED": "",
        "SKYCAP_REGISTRY": "x",
    }
    env = {"B": "env", "SKYCAP_REVISION": "env"}
    ports = CopyPorts(20001, 20002)
    command = app_command(["server"], "", env, (), ports, inherited)
    assert command.env == {
        "A": "inherited",
        "B": "env",
        "PORT": "20002",
        "PYTHONUNBUFFERED": "",
        "SKYCAP_REVISION": "env",
    }


def test_the_variables_that_nobody_else_may_set_are_told_whatever_is_set() -> None:
    shadow = Shadow("agent-42", "Key.42", 3)
    env = app_command(["server"], "", dict.fromkeys(RESERVED, "mine"), (), CopyPorts(1, 2), {}, shadow).env
    assert {name: env[name] for name in RESERVED} == {
        "PORT": "2",
        "SKYCAP_SANDBOX": "agent-42",
        "SKYCAP_ROUTING_KEY": "Key.42",
    }


def test_the_sidecar_of_a_shadow_never_talks_to_the_registry() -> None:
    shadow = Shadow("agent-42", "Key.42", 3)
    command = sidecar_command(
        "shop/users",
        UPSTREAMS,
        PORTS,
        "/state",
        {"A": "1", "SKYCAP_REGISTRY": "x", "SKYCAP_KEY_NAMES": "k"},
        shadow=shadow,
    )
    assert command.argv == (
        *(*program("proxy"), "--workload", "shop/users"),
        *("--sandbox", "agent-42", "--routing-key", "Key.42", "--revision", "3"),
        *("--inbound", "127.0.0.1:20001=localhost:20002"),
        *("--outbound", "127.0.0.1:20004=127.0.0.1:18082"),
        *("--outbound", "127.0.0.1:20005=10.0.0.7:80"),
    )
    assert command.env == {"A": "1", "SKYCAP_KEY_NAMES": "k"}
    assert command.cwd == "/state"


def test_the_sidecar_of_a_baseline_asks_the_registry() -> None:
    command = sidecar_command(
        "shop/users", (), CopyPorts(1001, 1002), "/", {}, registry=RegistryAccess("http://127.0.0.1:7070"), admin=1003
    )
    assert command.argv[3:] == (
        *("--workload", "shop/users", "--registry", "http://127.0.0.1:7070"),
        *("--inbound", "127.0.0.1:1001=localhost:1002", "--admin", "127.0.0.1:1003"),
    )


@pytest.mark.parametrize("known", [False, True])
def test_the_sidecar_of_a_baseline_knows_a_shadow_by_its_process(known: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("controlplane.launch.plan.PEERS_ARE_KNOWN", known)
    command = sidecar_command("shop/users", UPSTREAMS, PORTS, "/", {})
    assert ("--peer-keys" in command.argv) is known


def test_all_ports_of_a_copy() -> None:
    assert PORTS.all() == (20001, 20002, 20004, 20005)
