"""A service of several ports: a request with the key reaches the shadow on the port that it was sent to."""

from __future__ import annotations

from typing import Any

import pytest

from tests.kubernetes.documents import apply, container, service
from tests.kubernetes.installation import Installation

PROGRAM = """
import http.server as h, os, threading

class Handler(h.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(f"{os.environ.get('WHO', 'baseline')} {self.server.server_port}".encode())

servers = [h.ThreadingHTTPServer(("0.0.0.0", int(port)), Handler) for port in os.environ["PORTS"].split()]
for server in servers[1:]:
    threading.Thread(target=server.serve_forever).start()
servers[0].serve_forever()
"""


def desk(space: str) -> list[dict[str, Any]]:
    """Two ports, one of them by its name; a third that no Service leads to."""
    ports = [{"name": "http", "containerPort": 8080}, {"name": "admin", "containerPort": 9090}, {"containerPort": 7070}]
    app = container(
        "python3", "-c", PROGRAM, ports=ports, env=[{"name": "PORTS", "value": "8080 9090 7070"}],
        readinessProbe={"httpGet": {"path": "/", "port": "http"}, "periodSeconds": 1},
    )  # fmt: skip
    template = {"spec": {"terminationGracePeriodSeconds": 1, "containers": [app]}}
    return service("desk", space, template, {80: "http", 81: "admin"})


@pytest.mark.parametrize("space", [{}, {"skycap.dev/mode": "explicit"}], indirect=True, ids=["transparent", "explicit"])
def test_every_port_of_the_service_leads_to_the_shadow(
    installed: Installation, space: str, request: pytest.FixtureRequest
) -> None:
    apply(installed, *desk(space))
    installed.kubectl("-n", space, "rollout", "status", "deployment/desk", "--timeout=120s")
    installed.apply("wide", {"workload": f"{space}/desk", "env": {"WHO": "shadow"}})
    installed.ready("wide")
    for port, number in ((80, 8080), (81, 9090)):
        keyed = installed.request("desk", "/", key="wide", namespace=space, port=port)
        assert (keyed.body, keyed.served_by) == (f"shadow {number}", f"{space}/desk;sandbox=wide;rev=1")
        assert installed.request("desk", "/", namespace=space, port=port).body == f"baseline {number}"
    moved = installed.sandbox("wide")["status"]["forks"][0]["ports"]
    assert set(moved) == ({"8080", "9090"} if "explicit" in request.node.name else set())


def test_a_port_that_has_another_number_in_the_shadow(installed: Installation, space: str) -> None:
    """The Service names it, and so the shadow may have it where it likes."""
    apply(installed, *desk(space))
    installed.kubectl("-n", space, "rollout", "status", "deployment/desk", "--timeout=120s")
    moved = [{"$patch": "replace"}, {"name": "http", "containerPort": 8080}, {"name": "admin", "containerPort": 9999}]
    patch = {"spec": {"containers": [{"name": "app", "ports": moved}]}}
    installed.apply(
        "moved", {"workload": f"{space}/desk", "env": {"WHO": "shadow", "PORTS": "8080 9999"}, "patch": patch}
    )
    installed.ready("moved")
    assert installed.sandbox("moved")["status"]["forks"][0]["ports"] == {"9090": 9999}
    assert installed.request("desk", "/", key="moved", namespace=space, port=81).body == "shadow 9999"
    assert installed.request("desk", "/", key="moved", namespace=space, port=80).body == "shadow 8080"
