"""The demo's play: what is done, and what has to come of it.

Two engineers change `users` at the same time. One adds a loyalty tier, the other accounts in several currencies,
whose first attempt breaks what `payments` expects. Both send the same request through the shop that everybody
shares, each with a routing key of their own. The scenes are the same for the audience and for `--check`: each one
looks at what really came back and says every way in which it is not what it has to be.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, Self

from controlplane.asking.answer import Answer, send
from controlplane.asking.served_by import FIELD, Hop
from controlplane.client import Client
from controlplane.model.sandbox import Phase, Sandbox
from controlplane.rest import API_VERSION, SANDBOX

NAMESPACE = "shop"
CHECKOUT = "/checkout?user=ada&item=tea"

LOYALTY = "loyalty"
CURRENCIES = "currencies"

TREE = (
    ("frontend", 0), ("users", 1), ("catalog", 1), ("users", 2), ("orders", 1), ("payments", 2), ("users", 3),
)  # fmt: skip
"""Who takes part in a checkout and how many calls deep, in the order of the calls."""

READY_SECONDS = 30.0
"""For one shadow; it takes one on an idle machine."""


@dataclass(frozen=True, slots=True)
class Scene:
    """One step, played. `problems` has one line for everything that is not as it has to be."""

    title: str
    problems: tuple[str, ...]
    seconds: float

    def with_problems(self, more: Iterable[str]) -> Self:
        """The same scene, with what else there is to say about its failure."""
        return replace(self, problems=(*self.problems, *more))


@dataclass(frozen=True, slots=True)
class Forked(Scene):
    """A sandbox was applied and waited for."""

    name: str
    file: str
    sandbox: Sandbox


@dataclass(frozen=True, slots=True)
class Asked(Scene):
    """The checkout was requested with `key`, "" for none."""

    key: str
    answer: Answer


class Play:
    """The scenes, one after the other.

    registry: a client of the environment's registry.
    shop:     the URL of the frontend's sidecar.
    """

    def __init__(self, registry: Client, shop: str) -> None:
        self._registry = registry
        self._url = f"{shop}{CHECKOUT}"

    async def scenes(self) -> AsyncIterator[Scene]:
        """Play. Ends early when a sandbox does not become ready: nothing after it would mean anything.

        Raises RegistryError and NoAnswerError when the registry or the shop does not answer at all.
        """
        for name, file in ((LOYALTY, "users_v2.py"), (CURRENCIES, "users_v3_buggy.py")):
            forked = await self._fork(f"sandbox {name} forks users and is ready", name, file, revision=1)
            yield forked
            if forked.problems:
                return
        yield await self._ask("without a key the baseline answers, untouched", "", _baseline)
        yield await self._ask(
            f"key {LOYALTY} reaches its users through every service", LOYALTY, _paid(LOYALTY, 1, "10.80 EUR", "gold")
        )
        yield await self._ask(f"key {CURRENCIES}: payments refuses, and its own words come back", CURRENCIES, _refused)
        fixed = await self._fork(
            "the fix is revision 2 under the same key", CURRENCIES, "users_v3_fixed.py", revision=2
        )
        yield fixed
        if fixed.problems:
            return
        yield await self._ask(
            f"key {CURRENCIES}: the same request now passes", CURRENCIES, _paid(CURRENCIES, 2, "11.28 CHF", "standard")
        )
        yield await self._ask(f"key {LOYALTY} noticed nothing", LOYALTY, _paid(LOYALTY, 1, "10.80 EUR", "gold"))

    async def _fork(self, title: str, name: str, file: str, revision: int) -> Forked:
        started = time.monotonic()
        # The interpreter that runs this has what the shop needs; the `python` of the PATH may not.
        fork = {"workload": f"{NAMESPACE}/users", "command": [sys.executable, file]}
        await self._registry.apply(
            {"apiVersion": API_VERSION, "kind": SANDBOX, "metadata": {"name": name}, "spec": {"forks": [fork]}}
        )
        sandbox = await self._registry.wait(name, READY_SECONDS)
        return Forked(title, tuple(_unready(sandbox, revision)), time.monotonic() - started, name, file, sandbox)

    async def _ask(self, title: str, key: str, problems: Callable[[Answer], list[str]]) -> Asked:
        answer = await send("POST", self._url, key)
        return Asked(title, tuple(problems(answer)), answer.seconds, key, answer)


def _unready(sandbox: Sandbox, revision: int) -> list[str]:
    status = sandbox.status
    if status is None:
        return ["the registry says nothing of its status"]
    problems = [fork.message for fork in status.forks if fork.message]
    if status.phase is not Phase.READY:
        problems.insert(0, f"phase {status.phase.value} after {READY_SECONDS:g} s, not {Phase.READY.value}")
    if status.revision != revision:
        problems.append(f"revision {status.revision}, not {revision}")
    return problems


def _baseline(answer: Answer) -> list[str]:
    added = sorted({name for name, _ in answer.headers if name.lower().startswith("skycap-")})
    problems = [f"{name} was added to an answer without a key" for name in added]
    return problems + _receipt(answer, "12.00 EUR", "standard")


def _paid(sandbox: str, revision: int, charged: str, tier: str) -> Callable[[Answer], list[str]]:
    return lambda answer: _hops(answer, sandbox, revision) + _receipt(answer, charged, tier)


def _refused(answer: Answer) -> list[str]:
    problems = _hops(answer, CURRENCIES, 1)
    if answer.status != 400:
        problems.append(f"status {answer.status}, not 400")
    if answer.error:
        problems.append(f"a sidecar answered ({answer.error}), not payments")
    said = receipt(answer)
    if said.get("service") != "payments" or "currency must be" not in str(said.get("error")):
        problems.append(f"these are not the words of payments: {answer.text}")
    return problems


def _hops(answer: Answer, sandbox: str, revision: int) -> list[str]:
    if answer.malformed:
        return [answer.malformed]
    names = dict.fromkeys(name for name, _ in TREE)  # the field names each of them once
    expected = tuple(
        Hop(f"{NAMESPACE}/{name}", sandbox, revision) if name == "users" else Hop(f"{NAMESPACE}/{name}")
        for name in names
    )
    if answer.hops == expected:
        return []
    return [f"{FIELD} names {_listed(answer.hops)}, not {_listed(expected)}"]


def _receipt(answer: Answer, charged: str, tier: str) -> list[str]:
    problems = [] if answer.status == 200 else [f"status {answer.status}, not 200: {answer.text}"]
    said = receipt(answer)
    for name, expected in (("charged", charged), ("tier", tier)):
        if answer.status == 200 and said.get(name) != expected:
            problems.append(f"{name} is {said.get(name)!r}, not {expected!r}")
    return problems


def receipt(answer: Answer) -> dict[str, Any]:
    """The JSON object that the shop answered, empty when it is none."""
    try:
        document = json.loads(answer.text or "")
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def _listed(hops: tuple[Hop, ...]) -> str:
    return ", ".join(f"{hop.workload} ({hop})" for hop in hops) or "nobody"
