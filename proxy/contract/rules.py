"""Rules of a routing key: what becomes of its requests on the way, instead of what would (`rules` events of the watch).

    {"key": "agent-42", "rules": [RULE, ...]}      all rules of one key, in their order; an empty list ends them

    RULE: {"name": "no-stock", "workload": "shop/catalog" | "host": "api.example.com",
           "match": {"method": "GET", "path": "/items/*", "headers": {"x-tenant": "blue"}},
           "effect": "respond" | "status" | "reset" | "timeout" | "delay",
           "status": 503, "headers": [["content-type", "text/plain"]], "body": "...", "delayMs": 250,
           "percent": 100, "times": 3}

A rule of a `workload` is applied at the inbound side of its sidecars, one of a `host` at the outbound side of whoever
calls it. The first rule that matches, and is not spent, is the one. `percent` of the requests that match are concerned,
evenly, the first of them included; after `times` of them the rule is spent, at each sidecar for itself. 0: no limit.

Rules are read leniently: a field that is not known says nothing, a rule whose effect is not known is left out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from proxy.contract.names import DNS_LABEL, ROUTING_KEY, WORKLOAD
from proxy.errors import ContractError

RESPOND: Final = "respond"
STATUS: Final = "status"
RESET: Final = "reset"
TIMEOUT: Final = "timeout"
DELAY: Final = "delay"
EFFECTS: Final = frozenset({RESPOND, STATUS, RESET, TIMEOUT, DELAY})

MAX_RULES = 32
"""Of one key."""
MAX_BODY = 16 * 1024
"""Characters of an answer's body. More is a service of its own, which a fork can be."""
MAX_HEADERS = 32
MAX_DELAY_MS = 120_000
"""Two minutes: longer than clients wait that were not told to."""

NAME: Final = re.compile(DNS_LABEL)
METHOD: Final = re.compile(r"[A-Z][A-Z0-9_-]{0,31}")
PATH: Final = re.compile(r"/[!-~]{0,1023}")
HOST: Final = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?(?::[0-9]{1,5})?")
FIELD_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}")
FIELD_VALUE: Final = re.compile(r"(?:[!-~](?:[ -~\t]{0,4094}[!-~])?)?")


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule. workload or host: the other is "".

    method:  "" for any. path: of the target without its query, `*` for anything; "" for any.
    headers: names in lower case with the value that they must have, `*` for any.
    effect:  what is done. status, fields, body: of RESPOND, and the status of STATUS.
    delay_ms: before RESPOND; of DELAY, before the request goes on.
    """

    name: str
    effect: str
    workload: str = ""
    host: str = ""
    method: str = ""
    path: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    status: int = 200
    fields: tuple[tuple[str, str], ...] = ()
    body: str = ""
    delay_ms: int = 0
    percent: int = 100
    times: int = 0


def encode_rule(rule: Rule) -> dict[str, Any]:
    """As it is told."""
    place = {"workload": rule.workload} if rule.workload else {"host": rule.host}
    match: dict[str, Any] = {}
    if rule.method:
        match["method"] = rule.method
    if rule.path:
        match["path"] = rule.path
    if rule.headers:
        match["headers"] = dict(rule.headers)
    return {
        "name": rule.name,
        **place,
        "match": match,
        "effect": rule.effect,
        "status": rule.status,
        "headers": [list(field) for field in rule.fields],
        "body": rule.body,
        "delayMs": rule.delay_ms,
        "percent": rule.percent,
        "times": rule.times,
    }


def decode_rules(document: object) -> tuple[str, tuple[Rule, ...]]:
    """The key, and its rules as far as they are known here. Raises ContractError for what is no event of rules."""
    key = document.get("key") if isinstance(document, Mapping) else None
    listed = document.get("rules") if isinstance(document, Mapping) else None
    if not isinstance(key, str) or not ROUTING_KEY.fullmatch(key):
        raise ContractError([("key", "rules without a legal key")])
    if not isinstance(listed, list) or len(listed) > MAX_RULES:
        raise ContractError([("rules", f"must be a list of up to {MAX_RULES} rules")])
    return key, tuple(rule for item in listed if (rule := _decode(item)) is not None)


def _decode(item: object) -> Rule | None:
    """None: a rule that this version cannot carry out, or that makes no sense."""
    if not isinstance(item, Mapping) or item.get("effect") not in EFFECTS:
        return None
    match = item.get("match", {})
    if not isinstance(match, Mapping):
        return None
    try:
        rule = Rule(
            name=_text(item.get("name"), NAME),
            effect=str(item["effect"]),
            workload=_text(item.get("workload", ""), WORKLOAD, empty=True),
            host=_text(item.get("host", ""), HOST, empty=True),
            method=_text(match.get("method", ""), METHOD, empty=True),
            path=_text(match.get("path", ""), PATH, empty=True),
            headers=_fields(match.get("headers", {})),
            status=_number(item.get("status", 200), 200, 599),
            fields=_fields(item.get("headers", [])),
            body=_body(item.get("body", "")),
            delay_ms=_number(item.get("delayMs", 0), 0, MAX_DELAY_MS),
            percent=_number(item.get("percent", 100), 1, 100),
            times=_number(item.get("times", 0), 0, 2**31),
        )
    except ValueError:
        return None
    return rule if bool(rule.workload) != bool(rule.host) else None


def _text(value: object, form: re.Pattern[str], *, empty: bool = False) -> str:
    if not isinstance(value, str) or not (form.fullmatch(value) or (empty and not value)):
        raise ValueError(value)
    return value


def _number(value: object, least: int, most: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise ValueError(value)
    return value


def _body(value: object) -> str:
    if not isinstance(value, str) or len(value) > MAX_BODY:
        raise ValueError(value)
    return value


def _fields(value: object) -> tuple[tuple[str, str], ...]:
    pairs: Sequence[Any] = (
        list(value.items()) if isinstance(value, Mapping) else value if isinstance(value, list) else []
    )
    if len(pairs) > MAX_HEADERS:
        raise ValueError(value)
    fields = []
    for pair in pairs:
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise ValueError(pair)
        fields.append((_text(pair[0], FIELD_NAME).lower(), _text(pair[1], FIELD_VALUE, empty=True)))
    return tuple(fields)
