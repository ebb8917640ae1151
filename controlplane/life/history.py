"""The specs that a sandbox had: told, compared, and gone back to."""

from __future__ import annotations

from controlplane.life.refusals import NotFound
from controlplane.life.sandboxes import Sandboxes
from controlplane.model.desired import Past
from controlplane.model.history import Differences, SpecRevision, differences, history, specs
from controlplane.model.problem import invalid
from controlplane.model.sandbox import Sandbox, Spec


class History:
    """Of all sandboxes."""

    def __init__(self, sandboxes: Sandboxes) -> None:
        self._sandboxes = sandboxes

    def __repr__(self) -> str:
        return f"<History of {self._sandboxes!r}>"

    def of(self, name: str) -> list[SpecRevision]:
        """The newest first. Raises NotFound."""
        record = self._sandboxes.record(name)
        return history(record.desired, record.served)

    def compare(self, name: str, before: int | None, after: int | None) -> Differences:
        """What became different. before: the spec before `after` when left out; after: the one that is wanted.

        Raises NotFound; DocumentError for a revision that is not kept.
        """
        kept = self._specs(name)
        new = kept[-1] if after is None else _with(kept, after, "?to")
        if before is not None:
            old = _with(kept, before, "?from")
        else:
            place = kept.index(new)
            if not place:
                raise NotFound(f"nothing is kept from before revision {new.first} of sandbox {name!r}")
            old = kept[place - 1]
        return Differences(
            from_revision=before or old.last, to_revision=after or new.last, changes=differences(old.spec, new.spec)
        )

    async def rollback(self, name: str, revision: int | None) -> Sandbox:
        """Make a new revision with the spec of an old one; its labels, owner and description stay.

        revision: the newest one before that has served, when left out.
        Raises NotFound, DocumentError and what `Sandboxes.apply` raises.
        """

        async def back(found: Sandbox | None) -> Sandbox:
            if found is None:
                raise NotFound(f"there is no sandbox {name!r}")
            return found.model_copy(update={"spec": self._spec(name, revision), "status": None})

        return await self._sandboxes.change(name, back)

    def _spec(self, name: str, revision: int | None) -> Spec:
        """The one to go back to."""
        *before, current = self._specs(name)
        if revision is None:
            served = [one for one in before if one.served and one.spec != current.spec]
            if not served:
                raise invalid("revision", f"no spec before the current one has served: {_kept([*before, current])}")
            return served[-1].spec
        spec = _with([*before, current], revision, "revision").spec
        if spec == current.spec:
            message = f"{revision} has the same spec as the current revision {current.last}: nothing to go back to"
            raise invalid("revision", message)
        return spec

    def _specs(self, name: str) -> tuple[Past, ...]:
        record = self._sandboxes.record(name)
        return specs(record.desired, record.served)


def _with(kept: tuple[Past, ...] | list[Past], revision: int, path: str) -> Past:
    found = next((one for one in kept if one.first <= revision <= one.last), None)
    if found is None:
        raise invalid(path, f"revision {revision} is not kept: {_kept(kept)}")
    return found


def _kept(kept: tuple[Past, ...] | list[Past]) -> str:
    told = (str(one.first) if one.first == one.last else f"{one.first} to {one.last}" for one in kept)
    return f"there are {', '.join(told)}" if len(kept) > 1 else f"there is only revision {kept[0].last}"
