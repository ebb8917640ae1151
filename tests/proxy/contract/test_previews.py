"""Links as they travel: read leniently, but never so that a door stands open."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.contract.previews import MAX_NAME, TOKEN, Link, decode_link, encode_link, new_token, token_hash
from proxy.contract.routes import Endpoint
from proxy.errors import ContractError

LINK = Link(
    "0" * 64, "web", "shop/frontend", Endpoint("127.0.0.1", 18080), "agent-42", "agent-42", 3, 1798761600.5, "f" * 64
)


def test_a_link_comes_back_as_it_was() -> None:
    assert decode_link(encode_link(LINK)) == LINK
    assert decode_link({**encode_link(LINK), "of": "a newer registry"}) == LINK


def test_tokens_are_one_label_and_are_not_guessed() -> None:
    tokens = {new_token() for _ in range(100)}
    assert len(tokens) == 100
    assert all(TOKEN.fullmatch(token) for token in tokens)
    assert len(f"{tokens.pop()}--{'a' * MAX_NAME}") == 63
    assert token_hash("a") == token_hash("a") != token_hash("b")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("hash", "x"), ("hash", None), ("preview", "a--"), ("preview", "a" * (MAX_NAME + 1)), ("workload", "frontend"),
        ("target", "169.254.169.254:80"), ("target", "x"), ("sandbox", ""), ("key", "a b"), ("revision", None),
        ("expires", "soon"), ("login", 1), ("login", "password"), ("login", None),
    ],
)  # fmt: skip
def test_what_is_no_link(field: str, value: Any) -> None:
    with pytest.raises(ContractError):
        decode_link({**encode_link(LINK), field: value})


def test_a_link_is_an_object() -> None:
    with pytest.raises(ContractError):
        decode_link([])
