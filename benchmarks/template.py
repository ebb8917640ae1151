"""Configuration files from templates: `@NAME@` is a value, `# each KIND` to `# end` is repeated.

nginx, HAProxy and Envoy all take `#` for a comment, so a template reads like the file that it becomes. The lines
of a section appear once for every item of that kind, each with its own values on top of the common ones.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

Values = Mapping[str, object]

_PLACEHOLDER = re.compile(r"@([A-Z_0-9]+)@")
_EACH = re.compile(r"\s*# each ([a-z]+)\s*")
_END = re.compile(r"\s*# end\s*")


def render(template: str, values: Values, sections: Mapping[str, Sequence[Values]] | None = None) -> str:
    """The text with everything filled in. Raises KeyError for a placeholder without a value and ValueError for
    sections that do not close, do not open, or nest; a kind without items vanishes."""
    items = sections or {}
    out: list[str] = []
    kind = ""
    held: list[str] = []
    for line in template.splitlines():
        if each := _EACH.fullmatch(line):
            if kind:
                raise ValueError(f"section `{each[1]}` opens within `{kind}`")
            kind, held = each[1], []
        elif _END.fullmatch(line):
            if not kind:
                raise ValueError("a section ends that never began")
            out += [_fill(text, {**values, **item}) for item in items.get(kind, ()) for text in held]
            kind = ""
        elif kind:
            held.append(line)
        else:
            out.append(_fill(line, values))
    if kind:
        raise ValueError(f"section `{kind}` does not end")
    return "\n".join(out) + "\n"


def _fill(line: str, values: Values) -> str:
    return _PLACEHOLDER.sub(lambda match: str(values[match[1]]), line)
