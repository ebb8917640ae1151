"""The route watch: `GET /v1/watch/routes?workload=shop/users&sidecar=ID`, a `text/event-stream`.

    event: snapshot     data: {"routes": [ROUTE, ...], "ended": [TOMBSTONE, ...]}
    event: synced       data: {"keys": true}                      the snapshot is complete: swap the table
    event: put          data: ROUTE                               one route is new or changed
    event: delete       data: {"workload": ..., "key": ..., "ended": TOMBSTONE}      one route is gone
    event: capture      data: {"all": [KEY, ...], "none": [KEY, ...], "errors": [KEY, ...]}      whose messages are kept
    event: keys         data: {"add": [KEY, ...], "remove": [KEY, ...]}              keys that sandboxes have
    event: rules        data: {"key": KEY, "rules": [RULE, ...]}                     all rules of one key
    : keep-alive                                                  every HEARTBEAT_SECONDS

Every event has an `id:`, the registry's revision, a whole number. On one stream it never goes back; it may
repeat, since one revision can change several routes. A snapshot comes in pieces so that neither side ever
encodes or decodes more than SNAPSHOT_ROUTES routes at a stretch; a reader collects the pieces and replaces its
table at `synced`. A snapshot of no routes is one `snapshot` event with an empty list. A reconnect sends the
last id it *applied* as `Last-Event-ID` and gets either the changes since, followed by `synced`, or a new
snapshot when they are gone or when the registry has never been at that id (its store is older than the
reader's table). A reader reports what it applied with `PUT /v1/sidecars/ID`, so that the control plane knows
when a change is in force everywhere; `sidecar` is that ID, and a watch without it has no name.

A pending ROUTE with `"asleep": true` has a shadow that was stopped because nobody called it. A sidecar at which a
request waits for it says so in its reports, as `"waiting": [KEY, ...]`, until the registry has accepted one; then the
shadow is started. A reader that does not know the field holds the request up as for any pending shadow, and its hop of
the failed request wakes the shadow for the next one.

A TOMBSTONE is a route of state `ended` (`encode_tombstone`). It travels beside the routes and not among them, because
readers from before there were any refuse a state that they do not know, and see a plain end in this way. A `delete`
without one ends the tombstone, too.

`keys` tells the keys of all sandboxes, whichever workloads these fork, so that a sidecar can tell a key without a route
here from one that nobody has. All of them come with every connection, before its `synced`, which says so; without that,
nobody knows. After it come the changes. They are no routes and are not acknowledged: their ids repeat the last one.

`capture` tells, for every workload and in the same way, of which keys hops keep the messages of all answers or of none.
A key that it has not told of, or has told of as `errors`, keeps those of answers that are no good ones.

`rules` (`proxy.contract.rules`) come likewise: those of every key that has some with every connection, before its
`synced`, which replaces what was there; after it the changes. A reader takes those that concern it.

How the contract grows. The path's first segment, `/v1`, names its version. Within a version things are only added:
fields, events, states, parameters. A reader ignores what it does not know: events and fields, parameters of the query,
fields of a report; an unknown state is `pending` (`proxy.contract.routes`). So either side may be older or newer, and
`curl` needs no more than the path. What cannot be added like that is `/v2`, which a registry serves beside `/v1` for at
least one minor version.

The format is that of the HTML standard, section 9.2.6; the parser reads the subset that a registry writes and
treats a line or event over its limit as an error, because an endless line is how a broken peer looks.
"""

from __future__ import annotations

from dataclasses import dataclass

from proxy.errors import ContractError

SNAPSHOT_ROUTES = 200
"""Routes in one snapshot event: about 40 KB of JSON, about 1 ms to decode."""

HEARTBEAT_SECONDS = 15.0
"""Between two comments when nothing happens. Three missed ones mean that the peer is gone."""

MAX_EVENT_BYTES = 4 << 20
"""Of one event. SNAPSHOT_ROUTES routes with 64 host names of 253 characters each are 3.4 MB."""

VERSION = "v1"
WATCH_PATH = f"/{VERSION}/watch/routes"
REPORT_PATH = f"/{VERSION}/sidecars"
"""Without the sidecar's id, which is its last segment."""

SNAPSHOT = "snapshot"
SYNCED = "synced"
PUT = "put"
DELETE = "delete"
KEYS = "keys"
CAPTURE = "capture"

RULES = "rules"

KEYS_IN_EVENT = 2000
"""At most, in one event: 130 KB."""


@dataclass(frozen=True, slots=True)
class Event:
    """One event of the stream. `data` is JSON text; `id` is the last one sent so far, empty if none was."""

    name: str
    data: str
    id: str = ""


def encode_event(event: Event) -> bytes:
    """The bytes of one event. `data` must be one line, as compact JSON is."""
    assert "\n" not in event.data
    ident = f"id: {event.id}\n" if event.id else ""
    return f"event: {event.name}\n{ident}data: {event.data}\n\n".encode()


HEARTBEAT = b": keep-alive\n\n"


class EventParser:
    """Bytes in, events out. Raises ContractError when an event grows past `limit` bytes or is not UTF-8.

    comments: how many comment lines came, that is how often the peer said that it lives.
    """

    def __init__(self, limit: int = MAX_EVENT_BYTES) -> None:
        self.comments = 0
        self._limit = limit
        self._held = b""
        self._name = ""
        self._id = ""
        self._data: list[str] = []
        self._size = 0

    def feed(self, data: bytes) -> list[Event]:
        """The events that `data` completes, in order."""
        lines = (self._held + data).split(b"\n")
        self._held = lines.pop()
        events = []
        for line in lines:
            self._size += len(line) + 1
            if self._size > self._limit:
                break
            event = self._line(line.removesuffix(b"\r"))
            if event is not None:
                events.append(event)
        if self._size + len(self._held) > self._limit:
            raise ContractError([("", f"an event of more than {self._limit} bytes")])
        return events

    def _line(self, line: bytes) -> Event | None:
        if not line:
            event = Event(self._name or "message", "\n".join(self._data), self._id) if self._data else None
            self._name, self._data, self._size = "", [], 0
            return event
        try:
            text = line.decode()
        except UnicodeDecodeError:
            raise ContractError([("", "an event that is not UTF-8")]) from None
        field, _, value = text.partition(":")
        if not field:
            self.comments += 1
        value = value.removeprefix(" ")
        if field == "data":
            self._data.append(value)
        elif field == "event":
            self._name = value
        elif field == "id" and "\0" not in value:
            self._id = value
        return None
