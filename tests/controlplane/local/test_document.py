from __future__ import annotations

from pathlib import Path

import pytest

from controlplane import documents
from controlplane.local.document import read_file
from proxy.base.problems import ConfigurationError

GOOD = """\
apiVersion: skycap.dev/v1alpha1
kind: Environment
metadata: {name: shop}
spec:
  services:
  - name: users
    command: &command [python, users.py]
  - name: orders
    command: *command
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "shop.yaml"


def problems(file: Path) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        read_file(file)
    assert all(problem.startswith(f"{file}:") for problem in caught.value.problems)
    return [problem.removeprefix(f"{file}:").removeprefix(" ") for problem in caught.value.problems]


def test_a_file(file: Path) -> None:
    file.write_text(GOOD)
    assert [service.name for service in read_file(file).spec.services] == ["users", "orders"]


def test_json_is_yaml(file: Path) -> None:
    file.write_text(
        '{"apiVersion": "skycap.dev/v1alpha1", "kind": "Environment", "metadata": {"name": "shop"},'
        ' "spec": {"services": [{"name": "users", "command": ["users"]}]}}'
    )
    assert read_file(file).name == "shop"


def test_files_that_cannot_be_read(file: Path) -> None:
    assert problems(file) == ["cannot be read: No such file or directory"]
    file.mkdir()
    assert problems(file) == ["cannot be read: Is a directory"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (b"a: b: c\n", "1:5: mapping values are not allowed in this context"),
        (b"services:\n- {name: users\n", "3:1: did not find expected ',' or '}'"),
        (b"a: 1\nb:\n  c: 1\n  c: 2\n", "4:3: 'c' stands twice"),
        (
            b"a: !!python/object:os.system {}\n",
            "1:4: the tag 'tag:yaml.org,2002:python/object:os.system' is not",
        ),
        (b"{[1]: 2}\n", "1:2: a key must be text"),
        (b"a: *nowhere\n", "1:4: found undefined alias 'nowhere'"),
        (b"a: 1\n---\nb: 2\n", "holds 2 documents: one environment per file"),
        (b"\xff\xfe\xfa", "1: is not UTF-8"),
        (b"a: \x00\n", "1: is not text: control characters are not allowed"),
        (b"[" * 1000, "is nested too deeply"),
    ],
)
def test_what_is_not_yaml_says_where(file: Path, text: bytes, problem: str) -> None:
    file.write_bytes(text)
    (found,) = problems(file)
    assert found.startswith(problem)
    assert "\n" not in found


def test_an_empty_file(file: Path) -> None:
    file.touch()
    assert problems(file) == ["must be an object, not nothing"]


def test_every_problem_of_the_document_is_a_line(file: Path) -> None:
    file.write_text(
        GOOD.replace("kind: Environment", "kind: Sandbox").replace("name: orders", "name: users\n    prot: 1")
    )
    assert problems(file) == [
        "kind: 'Sandbox' is not 'Environment'",
        "spec.services[1].prot: unknown field (did you mean 'port'?)",
        "spec.services[1].name: repeats 'users' of spec.services[0].name",
    ]


def test_a_file_of_any_size_is_not_read(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "MAX_BYTES", 100)
    file.write_text(GOOD)
    assert problems(file) == ["has more than 100 bytes"]
