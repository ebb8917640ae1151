"""What this installation has: the ways to start shadows, and where previews are served.

The model knows what can be said; the installation knows what can be done here. What it does not have is refused by
its name, before anything is stored.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from controlplane.files.store import Keeper
from controlplane.launch.absent import AbsentLauncher
from controlplane.launch.logged import LoggedBaselines
from controlplane.launch.port import BaselineOutput, Launcher
from controlplane.life.quota import Quota
from controlplane.model.problem import FieldProblem
from controlplane.model.sandbox import Fork, Spec
from controlplane.model.workload import Workload
from proxy.contract.routes import OnUnavailable


@dataclass(frozen=True, slots=True)
class Installation:
    """launchers: by the name that `Fork.launcher` gives.
    baselines: where what they write is found.
    gateway:   the URL at which previews are served; "" where there is no gateway.
    ended:     what a request with the key of a sandbox that has ended gets.
    forkable:  workloads that can be forked although nobody has registered them: those of a cluster.
    quota:     how many sandboxes there may be.
    limits:    those that processes which we start were to have, "" for none; unlimited: why they have not.
    images:    of a cluster: the folder of its image that a fork's pushed files are laid over; it raises DocumentError
               where nobody says which. None: forks have work folders on this machine.
    keeper:    where pushed files outlive this process and its disk; None: they are on this machine's.
    asked:     how many requests a cluster's API server was sent; None where there is no cluster.
    """

    launchers: Mapping[str, Launcher]
    baselines: BaselineOutput = field(default_factory=LoggedBaselines)
    gateway: str = ""
    ended: OnUnavailable = OnUnavailable.ERROR
    forkable: Callable[[], Collection[str]] = tuple
    quota: Quota = field(default_factory=Quota)
    limits: str = ""
    unlimited: str = ""
    images: Callable[[Fork], str] | None = None
    keeper: Keeper | None = None
    asked: Callable[[], int] | None = None

    def launcher(self, name: str) -> Launcher:
        """The launcher of that name, or one that says that there is none."""
        return self.launchers.get(name) or AbsentLauncher(name, self.launchers)

    def check(
        self, spec: Spec, definition: Callable[[str], Workload | None], unchanged: Callable[[Fork], bool]
    ) -> list[FieldProblem]:
        """Why the sandbox cannot be run here.

        definition: the baseline of a workload, None when nobody registered one.
        unchanged:  whether a fork is as it was: then it is not judged again, for its shadow has been started.
        """
        problems = []
        if spec.previews and not self.gateway:
            message = "previews need a gateway, which this installation does not have: leave them out"
            problems.append(FieldProblem(path="spec.previews", message=message))
        for index, fork in enumerate(spec.forks):
            if not unchanged(fork):
                found = self.launcher(fork.launcher).check(fork, definition(fork.workload))
                problems += [
                    FieldProblem(path=f"spec.forks[{index}].{problem.path}", message=problem.message)
                    for problem in found
                ]
        return problems
