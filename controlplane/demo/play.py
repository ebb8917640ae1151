"""The demo's play: what is done, and what has to come of it.

Two engineers change `users` at the same time. One adds a loyalty tier, the other accounts in several currencies,
whose first attempt breaks what `payments` expects. Each pushes a diff, and both send the same request through the shop
that everybody shares, each with a routing key of their own. Feedback says what broke, another diff mends it, an
assertion proves that the mended copy served, and a link hands it on. The scenes are the same for the audience and for
`--check`: each one looks at what really came back and says every way in which it is not what it has to be.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

from controlplane.asking.answer import Answer, send
from controlplane.asking.served_by import FIELD, Hop
from controlplane.client import Client
from controlplane.model.assertion import Claim
from controlplane.model.feedback import Verdict
from controlplane.model.handoff import PreviewRequest
from controlplane.model.push import Push
from controlplane.model.sandbox import Phase, Sandbox

NAMESPACE = "shop"
USERS = f"{NAMESPACE}/users"
CHECKOUT = "/checkout?user=ada&item=tea"

LOYALTY = "loyalty"
CURRENCIES = "currencies"

TREE = (
    ("frontend", 0), ("users", 1), ("catalog", 1), ("users", 2), ("orders", 1), ("payments", 2), ("users", 3),
    ("rates", 3),
)  # fmt: skip
"""Who takes part in a checkout and how many calls deep, in the order of the calls."""

GRPC = "rates"
"""The one that is called by gRPC."""

CHANGES = Path(__file__).with_name("changes")
"""What the two push: a diff each, and one that mends."""

READY_SECONDS = 30.0
"""For one shadow; it takes one on an idle machine."""

TOLD_SECONDS = 10.0
"""Until what the sidecars saw is at the registry; it takes a third of a second."""
LOOK_SECONDS = 0.1

_T = TypeVar("_T")


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
    """A diff was pushed to a sandbox, which was waited for. lines: those that it adds and takes away."""

    name: str
    lines: tuple[str, ...]
    sandbox: Sandbox


@dataclass(frozen=True, slots=True)
class Told(Scene):
    """The registry was asked about a sandbox, and this is what it says."""

    heading: str
    lines: tuple[str, ...]


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
        for name in (LOYALTY, CURRENCIES):
            forked = await self._push(
                f"a diff makes the sandbox {name}, and its users are ready", name, name, revision=1
            )
            yield forked
            if forked.problems:
                return
        yield await self._ask("without a key the baseline answers, untouched", "", _baseline)
        yield await self._ask(
            f"key {LOYALTY} reaches its users through every service", LOYALTY, _paid(LOYALTY, 1, "10.80 EUR", "gold")
        )
        yield await self._grpc()
        yield await self._ask(f"key {CURRENCIES}: payments refuses, and its own words come back", CURRENCIES, _refused)
        yield await self._feedback()
        fixed = await self._push("the fix is revision 2 under the same key", CURRENCIES, "fix", revision=2)
        yield fixed
        if fixed.problems:
            return
        yield await self._ask(
            f"key {CURRENCIES}: the same request now passes", CURRENCIES, _paid(CURRENCIES, 2, "11.28 CHF", "standard")
        )
        yield await self._ask(f"key {LOYALTY} noticed nothing", LOYALTY, _paid(LOYALTY, 1, "10.80 EUR", "gold"))
        yield await self._proof()
        yield await self._link()

    async def _push(self, title: str, name: str, change: str, revision: int) -> Forked:
        started = time.monotonic()
        diff = (CHANGES / f"{change}.diff").read_text()
        pushed = await self._registry.push(name, Push(workload=USERS, diff=diff), READY_SECONDS)
        sandbox = await self._registry.wait(name, READY_SECONDS)
        problems = _unready(sandbox, revision)
        if [file.path for file in pushed.files_changed] != ["users.py"]:
            problems.append(f"the push changed {[file.path for file in pushed.files_changed]}, not users.py")
        lines = tuple(line for line in diff.splitlines() if line[:1] in "+-" and line[:3] not in ("+++", "---"))
        return Forked(title, tuple(problems), time.monotonic() - started, name, lines, sandbox)

    async def _feedback(self) -> Told:
        started = time.monotonic()
        found = await _until(lambda: self._registry.feedback(CURRENCIES), lambda one: one.verdict is Verdict.FAILING)
        problems = [] if found.verdict is Verdict.FAILING else [f"the verdict is {found.verdict.value}, not failing"]
        if "shop/payments failed (400)" not in found.summary or "ada's currency must be" not in found.summary:
            problems.append(f"this does not name payments and its words: {found.summary}")
        title = f"feedback on {CURRENCIES} names payments, its words and the suspect"
        return Told(title, tuple(problems), time.monotonic() - started, "What feedback makes of it", (found.summary,))

    async def _grpc(self) -> Scene:
        """What the sidecars saw of the last request with the key of LOYALTY."""
        started = time.monotonic()
        wanted = {"workload": f"{NAMESPACE}/{GRPC}"}
        page = await _until(lambda: self._registry.traffic(LOYALTY, wanted), lambda page: bool(page.items))
        seen = {(hop.protocol, hop.grpc_status) for hop in page.items}
        problems = (
            () if seen == {("h2", 0)} else (f"{GRPC} was called as {seen or 'nothing'}, not by gRPC with status 0",)
        )
        return Scene(f"{GRPC} was called by gRPC, and the key reached it", problems, time.monotonic() - started)

    async def _proof(self) -> Told:
        started = time.monotonic()
        claim = Claim(workload=USERS, revision=2, requests=3)
        judged = await _until(lambda: self._registry.assert_routed(CURRENCIES, claim), lambda one: one.holds)
        problems = () if judged.holds else (judged.sentence, *judged.objections)
        title = "the assertion holds: revision 2 served, and nothing else in its name"
        return Told(title, problems, time.monotonic() - started, "The proof", (judged.sentence,))

    async def _link(self) -> Told:
        started = time.monotonic()
        wanted = PreviewRequest(workload=f"{NAMESPACE}/frontend", note="ada pays in francs")
        made = await self._registry.create_preview(CURRENCIES, wanted)
        # A browser takes what is below localhost for this machine; not every resolver does.
        where = urlsplit(made.url or "")
        here, named = f"http://127.0.0.1:{where.port}/health", [("host", where.netloc)]
        # The gateway is told of the link a moment later than we are.
        live = await _until(lambda: send("GET", here, "", named), lambda answer: answer.status == 200)
        leads = dict(live.headers).get("skycap-sandbox", "")
        problems = [] if leads == CURRENCIES else [f"the link answers {live.status} and leads to {leads or 'nobody'}"]
        lines = (made.url or "", "leads a browser into the change, for whoever has it, until the sandbox ends.")
        title = "a link for a reviewer leads into the change"
        return Told(title, tuple(problems), time.monotonic() - started, "A link for the reviewer", lines)

    async def _ask(self, title: str, key: str, problems: Callable[[Answer], list[str]]) -> Asked:
        answer = await send("POST", self._url, key)
        return Asked(title, tuple(problems(answer)), answer.seconds, key, answer)


async def _until(ask: Callable[[], Awaitable[_T]], good: Callable[[_T], bool]) -> _T:
    """What the registry answers as soon as that is good, or after TOLD_SECONDS."""
    deadline = time.monotonic() + TOLD_SECONDS
    while True:
        found = await ask()
        if good(found) or time.monotonic() > deadline:
            return found
        await asyncio.sleep(LOOK_SECONDS)


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
    problems = _hops(answer, CURRENCIES, 1, failed=("frontend", "orders", "payments"))
    if answer.status != 400:
        problems.append(f"status {answer.status}, not 400")
    if answer.error:
        problems.append(f"a sidecar answered ({answer.error}), not payments")
    said = receipt(answer)
    if said.get("service") != "payments" or "currency must be" not in str(said.get("error")):
        problems.append(f"these are not the words of payments: {answer.text}")
    return problems


def _hops(answer: Answer, sandbox: str, revision: int, failed: tuple[str, ...] = ()) -> list[str]:
    if answer.malformed:
        return [answer.malformed]
    names = dict.fromkeys(name for name, _ in TREE)  # the field names each of them once
    expected = tuple(
        Hop(USERS, sandbox, revision)
        if name == "users"
        else Hop(f"{NAMESPACE}/{name}", status=400 if name in failed else 0)
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
