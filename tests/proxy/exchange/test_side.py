"""Sides: what they have when nobody says more."""

from __future__ import annotations

from inspect import signature

from proxy.exchange.side import SideParts
from tests.proxy.exchange.playbook import RecordedStream


def test_without_sockets_a_reset_is_an_abort() -> None:
    """Only who has sockets can make it more than that (`proxy.net.reset`)."""
    parameters = signature(SideParts).parameters
    stream = RecordedStream()
    parameters["reset"].default(stream)
    assert stream.calls == ["abort"]
    assert parameters["spans"].default is None
