"""The demo as a person reads it, 80 columns wide."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Sequence

from controlplane.cli.output import Output
from controlplane.demo.play import CURRENCIES, GRPC, LOYALTY, TREE, Asked, Forked, Scene, Told, receipt
from controlplane.local.events import Ended, Event, Ready, Stopped, Stopping
from controlplane.terminal import Text
from proxy.base.text import printable

SHOP = """
  frontend --> users
           --> catalog --> users
           --> orders  --> payments --> users
                                    --> rates (gRPC)
"""

FORWARDS = {
    "frontend": "all tracing headers",
    "catalog": "only x-request-id",
    "orders": "only traceparent",
    "payments": "only B3",
    GRPC: "(called by gRPC)",
}

WIDTH = 80

STYLES = {LOYALTY: "bold magenta", CURRENCIES: "bold cyan"}

SHOWN = """
- Two versions of users ran at once. Nobody met either of them without its key.
- catalog, orders and payments forward no routing key: the sidecars carried it
  across them, by the one tracing header that each of them does forward.
- Every answer to a key says who served it, so no test passes on the wrong code.
- The failing service's own words came back, with the suspect. Pushing a diff
  was the fix: no build, no image, the baseline's files never touched.
- An assertion proved it, and a link hands it to whoever reviews it.
"""


class Story:
    """Tells the scenes as they come. Requests are told together, side by side, once the last of them is answered."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._asked: list[Asked] = []
        self._waiting = output.waiting()

    def opening(self) -> None:
        self._say("Skycap demo: one shop for everybody, two engineers who change the same service", "bold")
        self._say(SHOP)
        self._waiting.start("starting")

    def observe(self, event: Event) -> None:
        """What happens in the environment, as far as the audience should know."""
        if isinstance(event, Ready):
            self._waiting.update(f"starting: {event.process} is ready")
        elif isinstance(event, Ended):
            self._say(f"{event.process} {event.how}; it is started again", "bold red")
        elif isinstance(event, Stopping):
            self._waiting.stop()
            self._say("\nStopping: requests in flight may finish first.")
        elif isinstance(event, Stopped):
            self._say("Nothing is left running.")

    def tell(self, scene: Scene) -> None:
        self._waiting.stop()
        if isinstance(scene, Asked):
            self._asked.append(scene)
        elif isinstance(scene, Forked):
            self.told()
            self._forked(scene)
        elif isinstance(scene, Told):
            self.told()
            self._heading(scene.heading)
            for line in scene.lines:
                self._lines(printable(line))
        elif not scene.problems:
            self._say(f"Six services run, a sidecar beside each, and the registry ({scene.seconds:.1f} s).")
        for problem in scene.problems:
            self._say(f"NOT AS IT SHOULD BE: {scene.title}: {printable(problem)}", "bold red")

    def told(self) -> None:
        """Tell the requests that wait for their neighbours."""
        asked, self._asked = self._asked, []
        if not asked:
            return
        self._heading("The same request, " + ("again" if asked[0].key else "without a key and with each of the two"))
        self._side_by_side(asked)
        for scene in asked:
            if scene.answer.status >= 400:
                self._heading(f"What payments really answered to the key {scene.key}")
                self._verbatim(scene)

    def closing(self, url: str, registry: str, program: str) -> None:
        """What was shown, and the commands to try. `registry` is "" when it is where everybody looks for it."""
        self._heading("What this showed")
        self._say(SHOWN.strip("\n"))
        self._heading("It is all still running: try it")
        where = f" --registry {registry}" if registry else ""
        for line in (
            f"curl -X POST '{url}'",
            f"curl -X POST -i -H 'baggage: routing-key={LOYALTY}' \\\n    '{url}'",
            f"{program} request -X POST {CURRENCIES} \\\n    '{url}'",
            f"{program} sandbox list{where}",
            f"{program} sandbox logs {CURRENCIES}{where}",
        ):
            self._say(f"  {line}")
        self._say()
        self._say("Ctrl-C stops everything.")

    def _forked(self, scene: Forked) -> None:
        revision = scene.sandbox.status.revision if scene.sandbox.status else 0
        if revision == 1 and scene.name == LOYALTY:
            self._heading("Two diffs of users, pushed: one process each, nothing else is copied")
        elif revision != 1:
            self._heading("The fix, under the same key")
        line = Text(f"  {scene.name:12}", style=STYLES[scene.name])
        line.append(f"revision {revision}   ready {scene.seconds:.1f} s after the push")
        self._say(line)
        for change in scene.lines:
            text = f"    {printable(change)}"
            self._say(text if len(text) <= WIDTH else f"{text[: WIDTH - 3]}...", "green" if change[0] == "+" else "red")

    def _side_by_side(self, asked: Sequence[Asked]) -> None:
        keys = (f"key {scene.key}" if scene.key else "no key" for scene in asked)
        rows = [[Text(title, style="bold") for title in ("hop", *keys, "headers it hands on")]]
        for name, depth in TREE:
            cells = [_served(scene, name) for scene in asked]
            rows.append([Text("  " * depth + name), *cells, Text(FORWARDS.get(name, ""), style="dim")])
        rows.append([Text("status", style="bold"), *map(_status, asked)])
        rows.append([Text("charged", style="bold"), *(_charged(scene) for scene in asked)])
        self._grid(rows)
        if not asked[0].key:
            self._say()
            self._say("  Without a key nothing is added to the answer: the baseline served it, as ever.", "dim")

    def _lines(self, text: str) -> None:
        """A long text, without cutting what has no spaces."""
        for line in textwrap.wrap(text, WIDTH - 2, break_long_words=False, break_on_hyphens=False):
            self._say(f"  {line}")

    def _verbatim(self, scene: Asked) -> None:
        self._say(f"  HTTP {scene.answer.status} {printable(scene.answer.reason)}", "bold red")
        said = receipt(scene.answer)
        text = json.dumps(said, indent=2, ensure_ascii=False) if said else scene.answer.text or ""
        for line in printable(text).splitlines():
            self._say(f"  {line}", "red")

    def _grid(self, rows: Sequence[Sequence[Text]]) -> None:
        widths = [max(len(row[index]) for row in rows if index < len(row)) for index in range(len(rows[0]))]
        for row in rows:
            line = Text("  ")
            for index, (cell, width) in enumerate(zip(row, widths, strict=False)):
                line.append(cell).append(" " * (width - len(cell) + 2) if index < len(row) - 1 else "")
            self._say(line)

    def _heading(self, text: str) -> None:
        self._say()
        self._say(text, "bold")
        self._say()

    def _say(self, text: str | Text = "", style: str = "") -> None:
        self._output.say(text, style)


def _served(scene: Asked, name: str) -> Text:
    if not scene.key:
        return Text("-", style="dim")
    hop = next((hop for hop in scene.answer.hops if hop.workload.partition("/")[2] == name), None)
    if hop is None:
        return Text("?", style="bold red")
    if hop.error:
        return Text(hop.error, style="bold red")
    if hop.sandbox:
        return Text(f"{hop.sandbox} rev {hop.revision}", style=STYLES.get(hop.sandbox, "bold"))
    return Text("baseline" + (f" ({hop.reason})" if hop.reason else ""), style="dim")


def _status(scene: Asked) -> Text:
    status = scene.answer.status
    return Text(str(status), style="bold green" if status < 400 else "bold red")


def _charged(scene: Asked) -> Text:
    said = receipt(scene.answer)
    return Text(str(said["charged"])) if "charged" in said else Text("refused")
