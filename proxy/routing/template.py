"""The fields that name a trace in every format that is understood, as a template with holes.

A keyed request gets up to nineteen of them. What they have in common is taken apart once (`parts`), and all of them are
filled in at once: made one by one they would cost more than everything else that is done for a request. What a
protocol makes of a template is kept beside it, as with `proxy.wire.fields.Addition`.

Which formats a request lacks is a set of few bits, so that templates are few; `template` keeps those in use.
"""

from __future__ import annotations

import re
from binascii import b2a_base64
from collections.abc import Callable, Sequence
from functools import lru_cache
from operator import itemgetter
from typing import Final

from proxy.routing.fields import Field

Parts = tuple[bytes, bytes, bytes, bytes, bytes, bytes, bytes, bytes, bytes, bytes]
"""What `parts` says of a trace, in the order of _PARTS."""

_PARTS: Final = ("both", "trace", "span", "low", "parent", "high", "time", "rest", "segment", "request")

_LENGTHS: Final = {"both": 49, "trace": 32, "span": 16, "high": 16, "time": 8, "rest": 24, "segment": 44}
"""Bytes of what is always as long; of each field at most one hole is not."""

_VALUES: Final[dict[bytes, str]] = {
    b"traceparent": "00-{both}-0{flag}",
    b"b3": "{both}-{flag}",
    b"x-b3-traceid": "{trace}",
    b"x-b3-spanid": "{span}",
    b"x-b3-sampled": "{flag}",
    b"uber-trace-id": "{trace}:{span}:0:{flag}",
    b"x-datadog-trace-id": "{low}",
    b"x-datadog-parent-id": "{parent}",
    b"x-datadog-sampling-priority": "{flag}",
    b"x-datadog-tags": "_dd.p.tid={high}",
    b"x-amzn-trace-id": "Root=1-{time}-{rest};Parent={span};Sampled={flag}",
    b"x-cloud-trace-context": "{trace}/{parent};o={flag}",
    b"sentry-trace": "{both}",
    b"elastic-apm-traceparent": "00-{both}-0{flag}",
    b"ot-tracer-traceid": "{trace}",
    b"ot-tracer-spanid": "{span}",
    b"ot-tracer-sampled": "{word}",
    b"request-id": "|{trace}.{span}.",
    b"sw8": "1-{segment}-MQ==-0-c2t5Y2Fw-c2t5Y2Fw-c2t5Y2Fw-c2t5Y2Fw",  # of an instance and a service called `skycap`
    b"x-request-id": "{request}",
}
"""Whether it is sampled, `flag` or `word`, is no hole: there is a template for either."""

WRITTEN: Final = tuple(_VALUES)

MAX_TEMPLATES: Final = 256
"""Kept at a time, 3 KB each: callers of one application send few different sets of formats. A stranger who sends all
of them makes a template for each request of his, in 0.1 ms, and everybody else's as well."""

_HOLE: Final = re.compile(r"\{([a-z]+)\}")


def parts(both: bytes, request_id: bytes) -> Parts:
    """What is filled into a template.

    both:       trace and span as `traceparent` has them, 32 digits, a dash, 16 digits.
    request_id: the value of an `x-request-id`, where one is given.
    """
    assert len(both) == _LENGTHS["both"]  # HTTP/2 writes the lengths of values ahead
    trace, span = both[:32], both[33:]
    # %u and not %d: what mypyc makes of that never lets go of a number from 2**62 on.
    return (
        both, trace, span, b"%u" % int(trace[16:], 16), b"%u" % int(span, 16), trace[:16], trace[:8], trace[8:],
        b2a_base64(trace, newline=False), request_id,
    )  # fmt: skip


class Template:
    """
    fields:   to be given, with a `%b` in place of each hole.
    pick:     what of `parts` goes into the holes, in their order.
    lengths:  of the value of each field: bytes, and which of the filling is to be added, -1 for none.
    lines:    the fields as HTTP/1 writes them, None until it has done so once.
    literals: the same of HTTP/2, and where lengths are to be put among the filling (`proxy.exchange.h2.replies`).
    """

    __slots__ = ("_values", "fields", "lengths", "lines", "literals", "pick")

    def __init__(self, names: Sequence[bytes], sampled: bool) -> None:
        said = {"flag": "1" if sampled else "0", "word": "true" if sampled else "false"}
        holes: list[int] = []
        fields = []
        lengths = []
        for name in names:
            value = _VALUES[name]
            form = _HOLE.sub(lambda hole: said.get(hole[1], "%b"), value).encode()
            length, grows = len(form), -1
            for hole in _HOLE.findall(value):
                if hole not in said:
                    length += _LENGTHS.get(hole, 0) - len("%b")
                    if hole not in _LENGTHS:
                        grows = len(holes)
                    holes.append(_PARTS.index(hole))
            fields.append((name, form))
            lengths.append((length, grows))
        self.fields: Sequence[Field] = fields
        self.lengths: Sequence[tuple[int, int]] = lengths
        self.lines: bytes | None = None
        self.literals: tuple[bytes, list[tuple[int, int, int]]] | None = None
        self._values = b"\n".join([value for _, value in fields])
        self.pick: Callable[[Parts], tuple[bytes, ...]] = (
            itemgetter(*holes) if len(holes) > 1 else itemgetter(slice(holes[0], holes[0] + 1))  # a tuple of one
        )

    def __repr__(self) -> str:
        return f"<Template {', '.join(name.decode() for name, _ in self.fields)}>"

    def values(self, filling: tuple[bytes, ...]) -> list[bytes]:
        """The values of the fields with their holes filled in. filling: what was picked."""
        return (self._values % filling).split(b"\n")

    def filled(self, filling: tuple[bytes, ...]) -> list[Field]:
        """The fields with their holes filled in."""
        return [(name, value) for (name, _), value in zip(self.fields, self.values(filling), strict=True)]


@lru_cache(maxsize=MAX_TEMPLATES)
def template(names: tuple[bytes, ...], sampled: bool) -> Template:
    """The template of the fields with these names, of which at least one has a hole."""
    return Template(names, sampled)
