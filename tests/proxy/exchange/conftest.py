"""Playbooks that are checked for leaks when the test is over."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.proxy.exchange.playbook import Playbook

MakeBook = Callable[..., Playbook]


@pytest.fixture(params=[0, 1], ids=["whole", "bytewise"])
def step(request: pytest.FixtureRequest) -> int:
    """How many bytes a played peer delivers at a time, 0 for all."""
    value: int = request.param
    return value


@pytest.fixture
def make_book() -> Iterator[MakeBook]:
    """Makes playbooks; each must end without leaving anything behind."""
    books: list[Playbook] = []

    def make(**arguments: Any) -> Playbook:
        book = Playbook(**arguments)
        books.append(book)
        return book

    yield make
    for book in books:
        book.ends_clean()


@pytest.fixture
def book(make_book: MakeBook) -> Playbook:
    """A sidecar with an empty table."""
    return make_book()
