"""What a cluster shows, as baselines."""

from __future__ import annotations

from typing import Any

from controlplane.kubernetes.catalogue import definitions


def deployment(name: str = "users", **probe: Any) -> dict[str, Any]:
    container: dict[str, Any] = {"name": "web", "ports": [{"name": "http", "containerPort": 8080}]}
    container |= {"readinessProbe": {"httpGet": probe}} if probe else {}
    template = {"metadata": {"labels": {"app": name}}, "spec": {"containers": [container]}}
    return {"metadata": {"namespace": "shop", "name": name}, "spec": {"template": template}}


def service(name: str, app: str, port: int, namespace: str = "shop", **more: Any) -> dict[str, Any]:
    spec = {"selector": {"app": app}, "ports": [{"port": port, **more}]}
    return {"metadata": {"namespace": namespace, "name": name}, "spec": spec}


def test_a_service_is_its_address() -> None:
    (found,) = definitions(
        [deployment(path="/health", port="http")], [service("users", "users", 80, targetPort="http")]
    )
    assert (found.workload, found.address, found.readiness.path) == ("shop/users", "users.shop.svc:80", "/health")


def test_what_nobody_leads_to_is_none() -> None:
    others = [service("users", "users", 80, "bank"), service("orders", "orders", 80)]
    others += [
        service("dns", "users", 53, protocol="UDP"),
        {"metadata": {"namespace": "shop", "name": "x"}, "spec": {}},
    ]
    assert definitions([deployment()], others) == []


def test_the_first_service_by_name_and_a_probe_of_another_port() -> None:
    services = [service("users", "users", 80, targetPort=8080), service("api", "users", 9000)]
    (found,) = definitions([deployment(path="/live", port=9901)], services)
    assert (found.address, found.readiness.path) == ("api.shop.svc:9000", None)
    (found,) = definitions([deployment(path="/live", port=8080)], services[:1])
    assert (found.address, found.readiness.path) == ("users.shop.svc:80", "/live")
