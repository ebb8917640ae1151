"""The gateway: turns a preview link into a sandbox's routing key, for whoever has the link.

    TOKEN--PREVIEW.DOMAIN/path     the host names the link
    GATEWAY/~skycap/TOKEN/path     sets a cookie that names it, for where there are no such hosts, and leads to /path
    /~skycap/...                   of either: the pages about the sandbox, which the registry has

A link leads to one workload, that is to the sidecar in front of it, which does the rest. What a stranger sends of keys
and of `skycap-...` fields is taken off; what the application is told of its client's host is its own, and what it says
of that host leads back to the preview. Whoever has no link learns nothing: no such link, one that has expired and one
that was revoked are the same page.
"""

from __future__ import annotations

import hmac
import re
from base64 import b64decode
from binascii import Error as NotBase64
from collections.abc import Callable
from typing import Final

from proxy.contract.previews import OWN_PATH, TOKEN_CHARACTERS, TOKEN_FIELD, Link, token_hash
from proxy.contract.routes import Endpoint
from proxy.errors import BAD_REQUEST, TARGET_UNREACHABLE, UNSUPPORTED_METHOD, Refused
from proxy.exchange.passage import NOTHING, Passage
from proxy.exchange.plan import POOLS, REPLY, Plan, Reply
from proxy.exchange.ports import Clock, Pool
from proxy.exchange.rewriting import Rewriter
from proxy.exchange.side import Side, SideParts
from proxy.routing.decision import Action
from proxy.routing.links import LinkTable
from proxy.wire.edit import OURS
from proxy.wire.fields import NOTHING_ADDED, Addition, Field
from proxy.wire.framing import NO_BODY
from proxy.wire.head import RequestHead, ResponseHead, field_values

LINK_COOKIE: Final = b"skycap-preview"
LOGIN_COOKIE: Final = b"skycap-login"

_OWN: Final = OWN_PATH.encode()
_OPENED: Final = re.compile(re.escape(_OWN) + rb"([a-z2-7]{%d})((?:/.*)?)" % TOKEN_CHARACTERS)
_LABEL: Final = re.compile(rb"([a-z2-7]{%d})--([a-z0-9-]+)" % TOKEN_CHARACTERS)

_SAFE: Final = frozenset({b"GET", b"HEAD", b"OPTIONS"})
"""Methods that change nothing (RFC 9110 section 9.2.1)."""

_REQUEST: Final = OURS | {
    b"host", b"origin", b"referer", b"cookie", b"accept-encoding", b"x-forwarded-host", b"x-forwarded-proto",
}  # fmt: skip
"""Of a request: taken off, and written anew where it has to be."""

_AUTHORIZATION: Final = frozenset({b"authorization"})

_STAMPED: Final = frozenset({b"skycap-sandbox", b"skycap-revision", b"referrer-policy", b"x-robots-tag"})

_FRAMING: Final = frozenset(
    {b"content-length", b"transfer-encoding", b"trailer", b"accept-ranges", b"etag", b"content-md5", b"content-digest"}
)
"""Of an answer whose body is changed: what says how long it is, and which bytes."""

_TEXT: Final = re.compile(rb"(?:text/(?:html|css|javascript|xml)|application/(?:xhtml\+xml|json|javascript))\b")
_PAGE: Final = re.compile(rb"(?:text/html|application/xhtml\+xml)\b")

_DOMAIN: Final = re.compile(rb";[ \t]*domain=[^;]*", re.IGNORECASE)

_LEADS: Final = (b"location", b"content-location")

_HTML: Final = (
    (b"content-type", b"text/html; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"referrer-policy", b"no-referrer"),
    (b"content-security-policy", b"default-src 'none'; style-src 'unsafe-inline'"),
)


def _page(title: str, text: str) -> bytes:
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{title}</title><style>:root{{color-scheme:light dark}}body{{font:16px/1.5 system-ui,sans-serif;"
        f"max-width:34rem;margin:18vh auto;padding:0 1.5rem}}h1{{font-size:1.4rem}}</style>"
        f"<main><h1>{title}</h1><p>{text}</p></main></html>\n"
    ).encode()


NOT_FOUND: Final = Reply(404, _HTML, _page("There is nothing here", "This link leads nowhere, or not any more."))
FORBIDDEN: Final = Reply(403, _HTML, _page("Not from there", "The request comes from another site's page."))
LOGIN: Final = Reply(
    401,
    (*_HTML, (b"www-authenticate", b'Basic realm="preview", charset="UTF-8"')),
    _page("A password is needed", "Whoever gave you this link has the password for it; any user name will do."),
)


class PreviewPlan(Plan):
    """The plan for a link."""

    __slots__ = ("link", "stamp")

    def __init__(self, link: Link, tally: list[int], pool: Pool) -> None:
        super().__init__(
            POOLS,
            Action.FORWARD,
            tally,
            failure=TARGET_UNREACHABLE,
            detail=f"{link.workload}, which this preview leads to, does not accept connections",
            pools=(pool,),
            key=link.key,
        )
        self.link = link
        self.stamp: tuple[Field, ...] = (
            (b"skycap-sandbox", link.sandbox.encode()),
            (b"skycap-revision", b"%d" % link.revision),
            (b"referrer-policy", b"same-origin"),  # the host is the link: no other site is to read it
            (b"x-robots-tag", b"noindex"),
        )


class Gateway(Side):
    """
    links:         that are served.
    domain:        below which the hosts of links are.
    now:           seconds since 1970.
    registry:      which has the pages about a sandbox, None where there is none.
    authorization: the value of that field for the registry.
    """

    def __init__(
        self,
        parts: SideParts,
        *,
        links: LinkTable,
        domain: str,
        now: Clock,
        registry: Pool | None,
        authorization: Callable[[], str],
    ) -> None:
        super().__init__(parts, default_host=domain, default_pool=None)
        self._links = links
        self._below = b"." + domain.lower().encode()
        self._now = now
        self._registry = registry
        self._authorization = authorization
        self._drop = _REQUEST | parts.carriers.fields
        self._plans: dict[str, PreviewPlan] = {}
        self._not_found = self._answering(NOT_FOUND)
        links.watchers.append(self._plans.clear)

    def endpoints_in_use(self) -> set[Endpoint]:
        """The targets of links that were followed."""
        return {plan.link.target for plan in self._plans.values()}

    def admit(self, passage: Passage, head: RequestHead) -> Plan:
        if head.method == b"CONNECT":
            raise Refused(UNSUPPORTED_METHOD, "CONNECT is for forward proxies; this listener is a gateway")
        host = _host(head)
        path = _path(head)
        cookies = _cookies(head)
        token, named = self._named(host)
        if not named:
            opened = _OPENED.fullmatch(path)
            if opened is not None:
                return self._open(opened[1], opened[2], _scheme(head))
            token = cookies.get(LINK_COOKIE, b"")
        link = self._find(token)
        if link is None or (named and named.decode() != link.preview):
            return self._not_found
        passage.drop = self._drop
        if link.login and not _is(cookies.get(LOGIN_COOKIE, b""), link.login):
            asked = _basic(head)
            if not asked or not _is(asked, link.login):
                return self._answering(LOGIN)
            passage.drop |= _AUTHORIZATION
            if head.method == b"GET" and b"text/html" in b",".join(field_values(head, b"accept")):
                return self._answering(_redirect(path, _cookie(LOGIN_COOKIE, asked, self._left(link), _scheme(head))))
        if path.startswith(_OWN):
            return self._about(passage, head, host, token)
        return self._preview(passage, head, link, host, cookies)

    def _named(self, host: bytes) -> tuple[bytes, bytes]:
        """Token and preview that a host names, b"" when it is none of a link."""
        name = host.lower().partition(b":")[0].removesuffix(b".")
        label = _LABEL.fullmatch(name.removesuffix(self._below)) if name.endswith(self._below) else None
        return (label[1], label[2]) if label is not None else (b"", b"")

    def _find(self, token: bytes) -> Link | None:
        if len(token) != TOKEN_CHARACTERS:
            return None
        link = self._links.lookup(token_hash(token.decode("latin-1")))
        return link if link is not None and link.expires > self._now() else None

    def _left(self, link: Link) -> int:
        """Seconds until it expires."""
        return max(1, int(link.expires - self._now()))

    def _open(self, token: bytes, rest: bytes, scheme: bytes) -> Plan:
        """A link in the form of a path: the rest goes by its cookie."""
        link = self._find(token)
        if link is None:
            return self._not_found
        return self._answering(_redirect(rest, _cookie(LINK_COOKIE, token, self._left(link), scheme)))

    def _preview(
        self, passage: Passage, head: RequestHead, link: Link, host: bytes, cookies: dict[bytes, bytes]
    ) -> Plan:
        plan = self._plans.get(link.hash)
        if plan is None:
            plan = PreviewPlan(link, self.counters.requests["forward"], self.pools(link.target))
            self._plans[link.hash] = plan
        passage.told = True
        scheme, target = _scheme(head), str(link.target).encode()
        # The absolute form's own host is written (`proxy.wire.edit`), and the application is called as the preview.
        fields = [
            *(() if head.authority else ((b"host", target),)),
            *self.carriers.normalised(head, link.key),
            (b"accept-encoding", b"identity"),
            (b"x-forwarded-host", host),
            (b"x-forwarded-proto", scheme),
        ]
        kept = b"; ".join(b"%b=%b" % pair for pair in cookies.items() if pair[0] not in (LINK_COOKIE, LOGIN_COOKIE))
        if kept:
            fields.append((b"cookie", kept))
        ours = b"%b://%b" % (scheme, host)
        for name in (b"origin", b"referer"):
            for value in field_values(head, name):
                own = value == ours or value.startswith(ours + b"/")
                fields.append((name, b"http://" + target + value[len(ours) :] if own else value))
        passage.fields = fields
        return plan

    def _about(self, passage: Passage, head: RequestHead, host: bytes, token: bytes) -> Plan:
        """The registry has the pages about a sandbox, and is told by which link they are asked for."""
        if self._registry is None:
            return self._not_found
        if head.method not in _SAFE and field_values(head, b"origin") != [b"%b://%b" % (_scheme(head), host)]:
            return self._answering(FORBIDDEN)
        passage.drop |= _AUTHORIZATION | _FETCH
        passage.fields = (
            (b"host", str(self._registry.endpoint).encode()),
            (b"authorization", self._authorization().encode()),
            (TOKEN_FIELD.encode(), token),
            (b"x-forwarded-host", host),
            (b"x-forwarded-proto", _scheme(head)),
        )
        return Plan(
            POOLS,
            Action.FORWARD,
            self.counters.requests["forward"],
            failure=TARGET_UNREACHABLE,
            detail="the registry, which has this page, does not accept connections",
            pools=(self._registry,),
        )

    def answer(self, passage: Passage, head: ResponseHead) -> tuple[Addition, frozenset[bytes]]:
        plan = passage.plan
        if not isinstance(plan, PreviewPlan):
            return NOTHING_ADDED, NOTHING
        request, target = passage.head, str(plan.link.target).encode()
        host = _host(request)
        fields, drop = list(plan.stamp), _STAMPED
        for name in _LEADS:
            for value in field_values(head, name):
                fields.append((name, _led_back(value, target, b"%b://%b" % (_scheme(request), host))))
                drop |= {name}
        cookies = field_values(head, b"set-cookie")
        if any(map(_DOMAIN.search, cookies)):
            fields += [(b"set-cookie", _DOMAIN.sub(b"", cookie)) for cookie in cookies]
            drop |= {b"set-cookie"}
        if self._is_text(request, head):
            passage.rewriter = Rewriter(target, host, self._banner(plan.link, request, head))
            drop |= _FRAMING
        return Addition(fields), drop

    def _is_text(self, request: RequestHead, head: ResponseHead) -> bool:
        """Its body is read by who follows links in it, and it is whole."""
        if request.http10 or request.method == b"HEAD" or head.body == NO_BODY or head.status in (204, 206, 304):
            return False
        return _TEXT.match(_media_type(head)) is not None and b"\r\ncontent-encoding:" not in head.low

    def _banner(self, link: Link, request: RequestHead, head: ResponseHead) -> bytes:
        """What says what one looks at. In a document that is shown as a page only, and not in a piece of one."""
        shown = field_values(request, b"sec-fetch-dest") or field_values(request, b"accept")
        page = shown and (shown[0] == b"document" or shown[0].startswith(b"text/html"))
        if self._registry is None or not page or not _PAGE.match(_media_type(head)):
            return b""
        return b'<script async src="%bbanner.js" data-sandbox="%b" data-revision="%d" data-preview="%b"></script>' % (
            _OWN, link.sandbox.encode(), link.revision, link.preview.encode(),
        )  # fmt: skip

    def _answering(self, reply: Reply) -> Plan:
        return Plan(
            REPLY, Action.FORWARD, self.counters.requests["forward"], failure=BAD_REQUEST, detail="", reply=reply
        )


_FETCH: Final = frozenset({b"sec-fetch-site", b"sec-fetch-mode", b"sec-fetch-dest", b"sec-fetch-user"})
"""What a browser says of a page is of the gateway's origin, and judged here."""


def _host(head: RequestHead) -> bytes:
    """As the client names it."""
    return head.authority or b"".join(field_values(head, b"host"))


def _scheme(head: RequestHead) -> bytes:
    """Of the client's URL: somebody may end its TLS in front of us."""
    return b"https" if field_values(head, b"x-forwarded-proto")[:1] == [b"https"] else b"http"


def _path(head: RequestHead) -> bytes:
    target = head.target
    return target.partition(b"://")[2][len(head.authority) :] if head.authority else target


def _cookies(head: RequestHead) -> dict[bytes, bytes]:
    """By name, the first of each, which belongs to the longest path (RFC 6265 section 5.4)."""
    found: dict[bytes, bytes] = {}
    for value in field_values(head, b"cookie"):
        for pair in value.split(b";"):
            name, _, content = pair.strip(b" \t").partition(b"=")
            if name:
                found.setdefault(name, content)
    return found


def _cookie(name: bytes, value: bytes, seconds: int, scheme: bytes) -> bytes:
    secure = b"; Secure" if scheme == b"https" else b""
    return b"%b=%b; Path=/; Max-Age=%d; HttpOnly; SameSite=Lax%b" % (name, value, seconds, secure)


def _redirect(path: bytes, cookie: bytes) -> Reply:
    """path: of this host, whatever it looks like: two slashes would name another one."""
    safe = path if path.startswith(b"/") and path[1:2] not in (b"/", b"\\") else b"/"
    return Reply(
        303,
        ((b"location", safe), (b"set-cookie", cookie), (b"cache-control", b"no-store"),
         (b"referrer-policy", b"no-referrer")),
    )  # fmt: skip


def _basic(head: RequestHead) -> bytes:
    """The password of RFC 7617, b"" without one."""
    scheme, _, said = b"".join(field_values(head, b"authorization")).partition(b" ")
    if scheme.lower() != b"basic":
        return b""
    try:
        return b64decode(said.strip(), validate=True).partition(b":")[2]
    except NotBase64:
        return b""


def _is(secret: bytes, hashed: str) -> bool:
    return len(secret) == TOKEN_CHARACTERS and hmac.compare_digest(token_hash(secret.decode("latin-1")), hashed)


def _media_type(head: ResponseHead) -> bytes:
    return b"".join(field_values(head, b"content-type")).lower()


def _led_back(value: bytes, target: bytes, ours: bytes) -> bytes:
    """A URI of the target's host as one of ours; any other as it is."""
    scheme, slashes, rest = value.partition(b"//")
    if slashes and scheme.lower() in (b"", b"http:", b"https:") and rest[: len(target)].lower() == target.lower():
        path = rest[len(target) :]
        if not path or path[:1] in b"/?#":
            return ours + path
    return value
