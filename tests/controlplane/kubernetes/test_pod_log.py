"""The lines of a pod's containers, as the kubelet gives them with their times."""

from __future__ import annotations

from datetime import UTC, datetime

from controlplane.kubernetes.pod_log import containers_of, merged
from controlplane.model.copy_log import ALWAYS, Window

AT = datetime(2030, 1, 1, 12, tzinfo=UTC).timestamp()
WEB = (
    "2030-01-01T12:00:00.100000000Z starting\n2030-01-01T12:00:02.5Z GET /\n2030-01-01T12:00:04.123456789Z Traceback\n"
)
HELPER = "2030-01-01T12:00:01Z helped\n2030-01-01T12:00:02.5Z helped again\n"


def test_one_container_needs_no_name() -> None:
    assert merged({"web": WEB}, 10, ALWAYS) == "starting\nGET /\nTraceback"
    assert merged({"web": WEB}, 2, ALWAYS) == "GET /\nTraceback"
    assert merged({"web": ""}, 2, ALWAYS) == ""


def test_several_are_one_text_by_time() -> None:
    found = merged({"web": WEB, "helper": HELPER}, 4, ALWAYS)
    assert found.splitlines() == ["helper: helped", "web: GET /", "helper: helped again", "web: Traceback"]


def test_a_window_is_exact() -> None:
    assert merged({"web": WEB, "helper": HELPER}, 10, Window(AT + 1, AT + 2)) == "helper: helped"
    assert merged({"web": WEB}, 10, Window(AT + 4.2)) == ""


def test_what_has_no_time_is_not_lost() -> None:
    """The kubelet's own sentence, for instance, when a container has no log yet."""
    assert merged({"web": "unable to retrieve container logs"}, 10, ALWAYS) == "unable to retrieve container logs"


def test_our_own_containers_are_not_the_applications() -> None:
    init = [{"name": "skycap-proxy"}, {"name": "skycap-intercept"}, {"name": "migrate"}]
    assert containers_of({"spec": {"initContainers": init, "containers": [{"name": "web"}]}}) == ["migrate", "web"]
