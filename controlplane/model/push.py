"""Pushed files, as they are sent and answered: `POST /v1/sandboxes/NAME/push`.

A push changes files of one fork, and nothing else of the sandbox. It is taken whole or not at all. A content is named
by its digest when it was uploaded before (`PUT /v1/files/DIGEST`), else it comes along, as text or in base64.
"""

from __future__ import annotations

import base64
import binascii
from functools import partial
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, Field, StringConstraints, ValidationError, model_validator

from controlplane.model.fields import misspelt
from controlplane.model.problem import refused
from controlplane.model.sandbox import Digest, Phase, Reported, Resource
from controlplane.model.workload import Arguments, WorkloadName

MAX_ASKED = 5000
"""Files that one question may name: what a folder holds, most of it as in the baseline."""
MAX_PUSHED = 2000
"""Files that one push may change: as many as a fork may have (`controlplane.files.tree`)."""
MAX_SENT_CHARACTERS = 1 << 20
"""Of one content or diff that comes along: no more than a body is anyway."""

_R = TypeVar("_R", bound=Resource)


def _base64(text: str) -> str:
    try:
        base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("is not base64 (RFC 4648)") from None
    return text


Path = Annotated[str, StringConstraints(min_length=1, max_length=1024)]
Sent = Annotated[str, StringConstraints(max_length=MAX_SENT_CHARACTERS)]


class FileName(Resource):
    """A file that somebody has, without its content."""

    path: Path = Field(description="relative to the work folder, with / between its parts")
    digest: Digest = Field(description="SHA-256 of what it holds")
    size: Annotated[int, Field(ge=0)] = Field(description="bytes")
    executable: bool = Field(default=False, description="it may be run")


class Question(Resource):
    """Which of these files have to be sent?"""

    workload: WorkloadName = Field(description="whose files they are, NAMESPACE/NAME")
    files: Annotated[tuple[FileName, ...], Field(max_length=MAX_ASKED)] = Field(description="all that there are")


class Needed(Reported):
    """changed: paths that are otherwise in the sandbox by now. missing: digests of those that must be uploaded."""

    changed: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()


class SentFile(Resource):
    """A file as it shall be: exactly one of `digest`, `text` and `base64` says what it holds."""

    path: Path = Field(description="relative to the work folder, with / between its parts")
    digest: Digest | None = Field(default=None, description="SHA-256 of what it holds, which was uploaded before")
    text: Sent | None = Field(default=None, description="what it holds, in UTF-8")
    base64: Annotated[Sent, AfterValidator(_base64)] | None = Field(
        default=None, description="what it holds, in base64"
    )
    executable: bool | None = Field(default=None, description="it may be run; absent: as it was, else not")

    @model_validator(mode="after")
    def _one_content(self) -> SentFile:
        if sum(value is not None for value in (self.digest, self.text, self.base64)) != 1:
            raise ValueError("say what it holds with exactly one of digest, text and base64")
        return self

    def content(self) -> bytes | None:
        """What came along; None: it was uploaded before."""
        if self.text is not None:
            return self.text.encode()
        return base64.b64decode(self.base64) if self.base64 is not None else None


class Push(Resource):
    """A change of the files of one fork. A sandbox or a fork that is not there yet is made: it runs the baseline's
    command.
    """

    workload: WorkloadName = Field(description="whose files they are, NAMESPACE/NAME")
    files: Annotated[tuple[SentFile, ...], Field(max_length=MAX_PUSHED)] = Field(
        default=(), description="files that are new or different"
    )
    removed: Annotated[tuple[Path, ...], Field(max_length=MAX_PUSHED)] = Field(
        default=(), description="files that are to be gone"
    )
    diff: Sent | None = Field(default=None, description="a unified diff against what the sandbox has now")
    build: Arguments | None = Field(
        default=None,
        description="run in the work folder before the service; absent: as before, empty: none from now on",
    )


class ChangedFile(Reported):
    path: str
    change: Literal["added", "changed", "removed", "restored"]


class Failure(Reported):
    """Why the pushed revision does not serve. log: the last lines that it, or its build, wrote."""

    message: str
    log: str = ""


class Pushed(Reported):
    """What became of a push.

    revision:      of the fork that has these files; one that changed nothing has made none.
    digest:        of all pushed files of the fork together.
    files_changed: by this push, compared with what the fork had before it.
    phase:         of the sandbox. While it is Pending the revision is still being started.
    failure:       absent while nothing has gone wrong; the revision before it, if there is one, serves on.
    """

    sandbox: str
    workload: str
    revision: int
    digest: str
    files_changed: tuple[ChangedFile, ...] = ()
    phase: Phase
    failure: Failure | None = None


class PushedFile(Reported):
    """A file in which a fork differs from its baseline. diff: unified; absent where one of the two is no text."""

    workload: str
    path: str
    change: Literal["added", "changed", "removed"]
    size: int = 0
    digest: str | None = None
    executable: bool = False
    diff: str | None = None


def parse_push(document: Any) -> Push:
    """Raises DocumentError with every problem."""
    return _parse(Push, document)


def parse_question(document: Any) -> Question:
    """Raises DocumentError with every problem."""
    return _parse(Question, document)


def _parse(kind: type[_R], document: Any) -> _R:
    try:
        return kind.model_validate(document, by_alias=True, by_name=False)
    except ValidationError as error:
        raise refused(error, partial(misspelt, kind)) from None
