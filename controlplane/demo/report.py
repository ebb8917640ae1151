"""The demo as a list of steps: a line for each with `--check`, ok or FAILED, and the JSON of both forms."""

from __future__ import annotations

from typing import Any

from controlplane.cli.output import Output
from controlplane.demo.play import Scene
from controlplane.terminal import Text
from proxy.base.text import printable


class Report:
    """Collects the scenes and, if it is `printing`, prints a line for each as it ends."""

    def __init__(self, output: Output, printing: bool) -> None:
        self._output = output
        self._printing = printing
        self._scenes: list[Scene] = []

    @property
    def good(self) -> bool:
        return not any(scene.problems for scene in self._scenes)

    def add(self, scene: Scene) -> None:
        self._scenes.append(scene)
        if not self._printing:
            return
        line = Text("FAILED  " if scene.problems else "ok      ", style="bold red" if scene.problems else "green")
        line.append(f"{scene.title:66} {scene.seconds:6.2f} s")
        self._output.say(line)
        for problem in scene.problems:
            self._output.say(f"        {printable(problem)}", "red")

    def document(self) -> dict[str, Any]:
        """The stable JSON shape."""
        steps = [
            {
                "step": scene.title,
                "ok": not scene.problems,
                "problems": list(scene.problems),
                "seconds": round(scene.seconds, 3),
            }
            for scene in self._scenes
        ]
        return {"ok": self.good, "steps": steps}
