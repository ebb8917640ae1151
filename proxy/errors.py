"""Every way in which the sidecar itself says no, on one page.

The application's own errors pass through untouched. What stands here are the answers that *we* make: each has a `code`
(sent as `skycap-error`, so that nobody mistakes our answer for the application's), a status, and a hint for the person
or agent who reads it. The `type` of the problem document (RFC 9457) is a URN made from the code: it names the problem
without promising a page.

Whether a failed request may be sent again is not a property of the error but of what has already been
written, so that rule lives with the exchange (`proxy.exchange`).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Failure:
    """One kind of answer that the sidecar makes itself.

    code:   stable, lower case, sent as `skycap-error`.
    status: the HTTP status code (RFC 9110 section 15).
    title:  one phrase, the same for every occurrence (RFC 9457 section 3.1.3).
    hint:   what to do next, or empty.
    """

    code: str
    status: int
    title: str
    hint: str = ""


BAD_REQUEST = Failure("bad-request", 400, "The request is malformed")
HEAD_TOO_LARGE = Failure(
    "head-too-large", 431, "The request head is too large",
    "Send fewer or shorter header fields, or raise --max-head-bytes and --max-header-lines.",
)  # fmt: skip
HEADER_TIMEOUT = Failure("header-timeout", 408, "The request head did not arrive in time")
CONTENT_TIMEOUT = Failure(
    "content-timeout", 408, "The request's content did not arrive in time",
    "Send it faster, or lower --min-upload-rate or raise --stream-timeout if it has to be slow.",
)  # fmt: skip
UNSUPPORTED_TRANSFER_CODING = Failure(
    "unsupported-transfer-coding", 501, "The transfer coding is not supported",
    "Only one final `chunked` is understood (RFC 9112 section 6.1).",
)  # fmt: skip
UNSUPPORTED_METHOD = Failure(
    "unsupported-method", 501, "The method is not supported here",
    "CONNECT is for a forward proxy: a listener given with --outbound LISTEN alone.",
)  # fmt: skip
UNSUPPORTED_VERSION = Failure(
    "unsupported-version", 505, "The version of HTTP is not supported",
    "Send HTTP/1.1; HTTP/2 begins with a preface of its own (RFC 9113 section 3.4).",
)  # fmt: skip
APP_UNREACHABLE = Failure(
    "app-unreachable", 502, "The application cannot be reached",
    "Check that the application runs and listens where the sidecar expects it.",
)  # fmt: skip
TARGET_UNREACHABLE = Failure(
    APP_UNREACHABLE.code, APP_UNREACHABLE.status, "What the application calls cannot be reached",
    "Check that the service that was called runs, and the target of this sidecar's --outbound listener.",
)  # fmt: skip
"""The same on the outbound side, where another application is meant than the sidecar's own."""
UPSTREAM_RESET = Failure(
    "upstream-reset", 502, "The connection was closed before an answer came",
    "Look into the logs of the service that was called: it closed or reset the connection.",
)  # fmt: skip
UPSTREAM_REFUSED = Failure(
    "upstream-refused", 503, "The service did not take the request",
    "Send it again: nothing has looked at it. The service that was called ends, or has too much to do.",
)  # fmt: skip
"""It says so itself (RFC 9113 section 8.7), and has said so each time that the request was sent again."""
CLIENT_ENDED = Failure(
    "client-ended", 502, "The service closed the connection when its client had ended its side",
    "Whoever called did not wait for the answer, most often because of a time-out of its own.",
)  # fmt: skip
"""The end of a client's side is passed on, since a half-close is legal (RFC 9112 section 9.6). Many servers take it for
a client that has left."""
BAD_RESPONSE = Failure(
    "bad-response", 502, "The answer is not valid HTTP",
    "The service answered with something that cannot be forwarded safely; `detail` says what.",
)  # fmt: skip
APP_TIMEOUT = Failure(
    "app-timeout", 504, "No answer came in time",
    "Raise --response-timeout if the call is meant to take this long.",
)  # fmt: skip
SHADOW_UNREACHABLE = Failure(
    "shadow-unreachable", 503, "The sandbox's shadow cannot be reached",
    "Look at the sandbox's state and logs; with `onUnavailable: baseline` the baseline answers instead.",
)  # fmt: skip
SHADOW_PENDING = Failure(
    "shadow-pending", 503, "The sandbox's shadow is not ready yet",
    "Wait until the sandbox is ready, then send the request again.",
)  # fmt: skip
SANDBOX_ENDED = Failure(
    "sandbox-ended", 503, "The sandbox of this routing key has ended",
    "Create the sandbox again, or send the request without its key to reach the baseline.",
)  # fmt: skip
LOOP = Failure(
    "loop", 508, "The request came back to where it has been",
    "A route or an upstream points back at this sidecar.",
)  # fmt: skip
OVERLOADED = Failure(
    "overloaded", 503, "The sidecar cannot open another connection",
    "Raise its limit of open files (`ulimit -n`, LimitNOFILE=), or call it on fewer connections at once.",
)  # fmt: skip
UNEXPECTED_SERVER = Failure(
    "unexpected-server", 421, "Another copy served than was expected",
    "`skycap-served-by` says who did; `skycap explain KEY WORKLOAD` says why.",
)  # fmt: skip
FAULT = Failure(
    "fault", 503, "A stub of the sandbox asks for this fault",
    "`skycap sandbox stub list NAME` shows it; `skycap sandbox stub clear NAME` ends it.",
)  # fmt: skip
"""With the status that was asked for."""
DRAINING = Failure("draining", 503, "The sidecar is shutting down", "Send the request again.")

FAILURES = (
    BAD_REQUEST, HEAD_TOO_LARGE, HEADER_TIMEOUT, CONTENT_TIMEOUT, UNSUPPORTED_TRANSFER_CODING, UNSUPPORTED_METHOD,
    UNSUPPORTED_VERSION, APP_UNREACHABLE, UPSTREAM_RESET, UPSTREAM_REFUSED, CLIENT_ENDED, BAD_RESPONSE, APP_TIMEOUT,
    SHADOW_UNREACHABLE, SHADOW_PENDING, SANDBOX_ENDED, LOOP, OVERLOADED, DRAINING, UNEXPECTED_SERVER, FAULT,
)  # fmt: skip
"""All of them; metrics and documentation are made from this list."""


class Refused(Exception):  # noqa: N818 (it is an answer, not a fault of the program)
    """A message that must not be forwarded: raised by `proxy.wire`, answered in one place.

    detail: one sentence that names what is wrong, and the section of the RFC that says so.
    """

    def __init__(self, failure: Failure, detail: str) -> None:
        super().__init__(detail)
        self.failure = failure
        self.detail = detail


class ContractError(ValueError):
    """A document of the contract that does not fit it. `problems` holds (path, message) pairs, all of them."""

    def __init__(self, problems: list[tuple[str, str]]) -> None:
        super().__init__("; ".join(f"{path}: {message}" if path else message for path, message in problems))
        self.problems = problems
