"""Trace context as HTTP/1 writes it, and a head that has all of it as a sidecar had added it.

Reverse proxies pass on what they were sent, and so do handlers that call on with the fields that they were called with.
Such a head names one trace in every format, and to read them one by one costs more than all else that is done for a
request. It is known by its bytes: the lines that are written for its `traceparent` and its `x-request-id`, in their
order, and no other line of trace context. What reorders them or writes them in another case is read one by one.
"""

from __future__ import annotations

import re
from typing import Final

from proxy.routing.context import BESIDE_BOTH, CONTEXT_FIELDS, SAMPLED
from proxy.routing.template import Template, parts
from proxy.routing.trace import text_id
from proxy.wire.fields import lines_of
from proxy.wire.head import RequestHead

_OTHER: Final = re.compile(
    rb"\r\n(?:" + b"|".join(map(re.escape, sorted(CONTEXT_FIELDS - {b"traceparent", b"x-request-id"}))) + rb"):"
)
_FIRST: Final = b"\r\n" + BESIDE_BOTH[0].fields[0][0] + b": "
_CRLF_BYTES: Final = 2
_FLAGS: Final = 54
"""Where the last digit of a `traceparent` stands."""
_ZERO: Final = b"0" * 16


def template_lines(template: Template) -> bytes:
    """The field lines of a template, made once."""
    lines = template.lines
    if lines is None:
        lines = template.lines = lines_of(template.fields)
    return lines


def copied(head: RequestHead) -> list[bytes]:
    """The trace and the request id of a plain head that a sidecar had completed, and which names no others; empty for
    every other head."""
    parent, request_id = head.traceparent, head.request_id
    if parent is None or request_id is None:
        return []
    data, low = head.data, head.low
    start = low.find(_FIRST) + _CRLF_BYTES
    if start < _CRLF_BYTES:
        return []
    given = BESIDE_BOTH[parent[_FLAGS] in SAMPLED]
    lines = template_lines(given) % given.pick(parts(parent[3:52], request_id))
    end = start + len(lines)
    if not data.startswith(lines, start) or parent[3:19] == _ZERO:
        return []
    if data.find(parent, 0, start) < 0 and data.find(parent, end, head.end) < 0:
        return []  # it stands there in upper case, which is malformed (W3C Trace Context section 3.2)
    if _OTHER.search(low, 0, start) is not None or _OTHER.search(low, end - _CRLF_BYTES, head.end) is not None:
        return []
    text = text_id(request_id)
    return [parent[3:35], text] if text else []
