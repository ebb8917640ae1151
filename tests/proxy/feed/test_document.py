"""Routes files as bytes: what is read, what every bad one is told, and with which line."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from proxy.base import strict_yaml
from proxy.base.strict_yaml import FastReader, PureReader
from proxy.contract.routes import decode_routes
from proxy.contract.watch import SNAPSHOT, SYNCED, Event, EventParser
from proxy.errors import ContractError
from proxy.feed import document
from proxy.feed.document import REFUSED, events, items
from tests.proxy.feed.documents import WORKLOAD, route

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True, params=[FastReader, PureReader])
def reader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test with libyaml and without it."""
    monkeypatch.setattr(strict_yaml, "Reader", request.param)


def keys(text: str | bytes) -> list[str]:
    data = text.encode() if isinstance(text, str) else text
    return [found.key for found in decode_routes(items(data))]


def problems(text: str | bytes) -> list[tuple[str, str]]:
    with pytest.raises(ContractError) as caught:
        keys(text)
    return caught.value.problems


FLOW = "{workload: shop/users, key: a, endpoints: [127.0.0.1:9102]}"
JSON = json.dumps({"routes": [route("a")]})


class TestReads:
    @pytest.mark.parametrize(
        "text",
        [
            f"routes:\n- {FLOW}\n",
            f"routes: [{FLOW}]",
            f"{{routes: [{FLOW}]}}",
            f"---\nroutes:\n- {FLOW}\n...\n",
            f"# a comment\nroutes:\n- {FLOW}",
            f"routes:\r\n- {FLOW}\r\n",
            "routes:\n- workload: shop/users\n  key: a\n  endpoints:\n  - 127.0.0.1:9102\n",
            '"routes":\n- "workload": "shop/users"\n  "key": "a"\n  "endpoints": ["127.0.0.1:9102"]\n',
            JSON,
            f"\n\t {JSON}\n",
            json.dumps(json.loads(JSON), indent=2),
            b"\xef\xbb\xbf" + JSON.encode(),
            b"\xef\xbb\xbfroutes:\n- " + FLOW.encode(),
        ],
    )
    def test_one_route_in_every_notation(self, text: str | bytes) -> None:
        assert keys(text) == ["a"]

    @pytest.mark.parametrize("text", ["routes: []", '{"routes":[]}', "routes:\n  []"])
    def test_none(self, text: str) -> None:
        assert keys(text) == []

    def test_anchors(self) -> None:
        shared = "endpoints: &where ['127.0.0.1:1']"
        assert keys(
            f"routes:\n- {{workload: &w shop/users, key: a, {shared}}}\n- {{workload: *w, key: b, endpoints: *where}}\n"
        ) == ["a", "b"]

    def test_the_same_as_the_plain_parser(self) -> None:
        table = {"routes": [route(f"k{n}", port=n + 1, revision=n + 1, onUnavailable="baseline") for n in range(50)]}
        for text in (yaml.safe_dump(table), yaml.safe_dump(table, default_flow_style=True), json.dumps(table)):
            assert list(items(text.encode())) == table["routes"]


class TestRefuses:
    @pytest.mark.parametrize(
        ("text", "found"),
        [
            ("", [("", "must be an object with `routes`, not nothing")]),
            ("# nothing\n", [("", "must be an object with `routes`, not nothing")]),
            ("null", [("", "must be an object with `routes`, not nothing")]),
            ("[]", [("", "must be an object with `routes`, not a list")]),
            ("7", [("", "must be an object with `routes`, not a number")]),
            ("{}", [("routes", "is required and must be a list")]),
            ("{ }", [("routes", "is required and must be a list")]),
            ("routes:", [("routes", "is required and must be a list")]),
            ("routes: {}", [("routes", "is required and must be a list")]),
            ('{"routes": 7}', [("routes", "is required and must be a list")]),
            ("route: []", [("route", "unknown field"), ("routes", "is required and must be a list")]),
            ("routes: []\nroutes: []", [("routes", "stands twice")]),
            ("routes: []\n---\nroutes: []", [("", "holds more than one document")]),
            ("routes: [7, 7]\nx: 1", [
                ("routes[0]", "must be an object, not a number"),
                ("routes[1]", "must be an object, not a number"),
                ("x", "unknown field"),
            ]),
        ],
    )  # fmt: skip
    def test_what_is_no_table(self, text: str, found: list[tuple[str, str]]) -> None:
        assert problems(text) == found

    @pytest.mark.parametrize(
        ("text", "why"),
        [
            ("routes:\n- {workload: shop/users\n", "line 3, column 1: "),
            ("routes:\n  - a\n - b\n", "line 3, column 2: "),
            ("routes:\n\t- a\n", "line 2, column 1: "),
            ("routes: [*unknown]", "line 1, column 10: found undefined alias"),
            ("routes: [&a x, !!python/object:os.system y]", "line 1, column 16: "),
            ("routes:\n- {key: a,\n   key: b}\n", "line 3, column 4: 'key' stands twice in one mapping"),
            ("routes:\n- &a {key: a}\n- {<<: *a}\n", "line 3, column 4: the merge key << is not allowed"),
            ("routes:\n- key: 2026-13-01\n", "line 2, column 8: '2026-13-01' is not the same to all readers"),
            ("routes:\n- revision: 1" + "0" * 5000, "Exceeds the limit"),
            ("routes:\n- key: \0\n", "line 2: is not text: "),
            ("routes: " + "[" * 500 + "]" * 500, "is nested too deeply"),
            ("routes:\n- {[a]: b}\n", "line 2, column 4: a key must be text"),
            (b"routes:\n- {key: \xff}\n", "line 2: is not UTF-8"),
            ("routes:\n".encode("utf-16"), "line 1: is not UTF-8"),
        ],
    )
    def test_what_is_no_yaml(self, text: str | bytes, why: str) -> None:
        path, message = problems(text)[-1]
        assert path == ""
        assert why in message
        assert len(message) < 200

    @pytest.mark.parametrize(
        ("text", "why"),
        [
            ('{"routes": [}', "line 1, column 13: Expecting value"),
            ('{\n"routes":\n[{"key": "a" "b"}]}', "line 3, column 14: Expecting ',' delimiter"),
            ('{"routes": []} x', "line 1, column 16: Extra data"),
            ('{"routes": [{"key": "a", "key": "b"}]}', "'key' stands twice in one object"),
            ('{"routes": ' + "[" * 200_000, "is nested too deeply"),
            ('{"routes": [1' + "0" * 5000 + "]}", "Exceeds the limit"),
        ],
    )
    def test_what_is_no_json(self, text: str, why: str) -> None:
        [(path, message)] = problems(text)
        assert path == ""
        assert message.startswith(why)

    def test_a_bomb_of_aliases_costs_nothing(self) -> None:
        levels = ["&l0 [x, x, x, x, x, x, x, x, x, x]"]
        levels += [f"&l{n} [{', '.join([f'*l{n - 1}'] * 10)}]" for n in range(1, 30)]
        text = "routes:\n" + "".join(f"- {level}\n" for level in levels)
        assert "the aliases stand for more than" in problems(text)[-1][1]


def parsed(stream: bytes) -> list[tuple[str, Any]]:
    return [(event.name, json.loads(event.data)) for event in EventParser().feed(stream)]


class TestEvents:
    """The file as a watch of one workload."""

    def test_holds_one_workload_in_pieces(self, tmp_path: Path) -> None:
        table = [route(f"k{n}") for n in range(450)] + [route("k", workload="shop/orders")]
        (tmp_path / "routes").write_text(json.dumps({"routes": table}))
        found = parsed(b"".join(events(tmp_path / "routes", WORKLOAD)))
        assert [(name, len(data.get("routes", ()))) for name, data in found] == [
            (SNAPSHOT, 200), (SNAPSHOT, 200), (SNAPSHOT, 50), (SYNCED, 0),
        ]  # fmt: skip
        assert found[-1][1] == {"total": 451}
        assert {item["workload"] for _, data in found[:-1] for item in data["routes"]} == {WORKLOAD}

    def test_problems_are_all_told_up_to_a_limit(self, tmp_path: Path) -> None:
        (tmp_path / "routes").write_text(f"routes: [{', '.join(['7'] * 60)}]")
        [(name, data)] = parsed(b"".join(events(tmp_path / "routes", WORKLOAD)))
        assert name == REFUSED
        assert len(data["problems"]) == document.MAX_PROBLEMS + 1
        assert data["problems"][0] == ["routes[0]", "must be an object, not a number"]
        assert data["problems"][-1] == ["", "and 10 problems more"]

    @pytest.mark.parametrize(
        ("make", "why"),
        [
            (lambda _: None, "cannot be read: No such file or directory"),
            (lambda path: path.mkdir(), "is not a regular file"),
            (lambda path: os.mkfifo(path), "is not a regular file"),
            (lambda path: path.symlink_to(path), "cannot be read: Too many levels of symbolic links"),
        ],
    )
    def test_what_cannot_be_read(self, tmp_path: Path, make: Any, why: str) -> None:
        make(tmp_path / "routes")
        assert parsed(b"".join(events(tmp_path / "routes", WORKLOAD))) == [(REFUSED, {"problems": [["", why]]})]

    def test_a_file_has_a_limit(self, tmp_path: Path) -> None:
        with (tmp_path / "routes").open("wb") as file:
            file.truncate(document.MAX_FILE_BYTES + 1)
        assert parsed(b"".join(events(tmp_path / "routes", WORKLOAD))) == [
            (REFUSED, {"problems": [["", "has more than 64 MiB"]]})
        ]

    def test_the_reading_process_says_the_same(self, tmp_path: Path) -> None:
        (tmp_path / "routes").write_text(yaml.safe_dump({"routes": [route(f"k{n}") for n in range(250)]}))
        command = [sys.executable, "-m", "proxy.feed.document", str(tmp_path / "routes"), WORKLOAD]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, timeout=50)
        assert done.stdout == b"".join(events(tmp_path / "routes", WORKLOAD))
        assert done.stderr == b""

    def test_the_reading_process_runs_out_of_memory(self, tmp_path: Path) -> None:
        with (tmp_path / "routes").open("wb") as file:
            file.truncate(document.MAX_FILE_BYTES)
        command = [sys.executable, "-m", "proxy.feed.document", str(tmp_path / "routes"), WORKLOAD]
        limited = lambda: resource.setrlimit(resource.RLIMIT_AS, (140 << 20, 140 << 20))  # noqa: E731
        done = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, timeout=50, preexec_fn=limited)
        assert parsed(done.stdout) == [(REFUSED, {"problems": [["", "does not fit into memory"]]})]


def test_an_event_is_one_line() -> None:
    assert document._event("put", {"a": "b\nc"}) == b'event: put\ndata: {"a":"b\\nc"}\n\n'
    assert EventParser().feed(document._event("put", 1)) == [Event("put", "1")]
