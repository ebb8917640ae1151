"""Named productions of HTTP/1.1, as byte patterns. Everything else in `proxy.wire` is made of these.

Two rules hold for all of them. `[0-9]`, never `\\d`, and `int()` only after a `fullmatch`: Python's own idea of a
number (`+5`, `5_0`, ` 5 `, other scripts' digits) is wider than RFC 9110's, and every difference is a way to make
two parsers disagree. Repeats are possessive (`++`, `*+`): a head that does not match fails in linear time. Those of
a group are written `(?>(?:...)*)`, which means the same: CPython before 3.11.5 does not go back when the last round of
a possessive one has matched in part (python/cpython#106052).
"""

from __future__ import annotations

import re

TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]"
"""One tchar (RFC 9110 section 5.6.2)."""

MAX_METHOD = 1024
"""Characters; the longest that is registered has 17 (UPDATEREDIRECTREF), and private ones may be longer."""

METHOD = TOKEN + rb"{1,%d}+" % MAX_METHOD

FIELD_VALUE = rb"[ -\xff]*+(?>(?:[\x01-\x09\x0b\x0c\x0e-\x1f][ -\xff]*+)*)"
"""What is left of a field line behind its colon, optional white space included: everything but CR, LF and NUL, which
RFC 9110 section 5.5 declares invalid and dangerous; it lets a recipient keep other control characters, and so do we.
Written as runs of one range, which `re` walks at half the cost per byte of `[^\\r\\n\\0]`."""

REST_OF_LINE = rb"(?=.*+(?<=\r)\n)[^\r]*+"
"""A FIELD_VALUE in front of its CRLF, except that NUL is to be looked for elsewhere: the first LF has a CR before it,
and that is the first CR. Each half is a run that `re` walks with one comparison per byte."""

FIELD_LINE = TOKEN + rb"++:" + FIELD_VALUE + rb"\r\n"
"""RFC 9112 section 5: no space between name and colon, no folding."""

TARGET = rb"[!-\"$-~]++"
"""Visible ASCII without `#`: a fragment is never sent (RFC 9110 section 7.1)."""

HOST = (
    rb"(?:[a-z0-9\-._~!$&'()*+;=%]*+|\[[0-9a-f:.]++\]|\[v[0-9a-f]++\.[a-z0-9\-._~!$&'()*+,;=:]++\])"
    rb"(?::[0-9]{0,5}+)?"
)
"""uri-host [":" port] (RFC 9110 section 7.2, RFC 3986 section 3.2.2), in lower case: no path, no userinfo. Without
the comma that RFC 3986 allows in a name: no name has one, and two Host fields that were joined do."""

CONTENT_LENGTH = re.compile(rb"[0-9]{1,18}")
"""1*DIGIT (RFC 9110 section 8.6); 18 digits are an exabyte and fit every implementation's integer."""

CODINGS = re.compile(TOKEN + rb"++(?>(?:[ \t]*+,[ \t]*+" + TOKEN + rb"++)*)")
"""A list of transfer codings without parameters and without empty members."""

CHUNK_SIZE = rb"([0-9A-Fa-f]{1,15})"
"""1*HEXDIG (RFC 9112 section 7.1), capped where the number stops fitting 64 bits in any signed parser."""

_QUOTED_STRING = rb"\"(?>(?:[\t !#-\[\]-~\x80-\xff]|\\[\t -~\x80-\xff])*)\""
"""RFC 9110 section 5.6.4."""

CHUNK_EXTENSIONS = (
    rb"(?>(?:[ \t]*+;[ \t]*+" + TOKEN + rb"++(?>(?:[ \t]*+=[ \t]*+(?:" + TOKEN + rb"++|" + _QUOTED_STRING + rb"))?))*)"
)
"""Behind a chunk size (RFC 9112 section 7.1.1). What is outside of it is a place where two parsers may disagree on
where the line ends."""

BARE_LINE_END = re.compile(rb"(?<!\r)\n|\r(?!\n|\Z)")
"""CR or LF alone. A CR that is last may still get its LF."""
