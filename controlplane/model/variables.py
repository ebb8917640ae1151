"""The environment variables by which a copy of a workload learns where it lives. Pure.

    PORT                the port that the application shall listen on
    PAYMENTS_URL        where it reaches its upstream `payments`: its own sidecar's outbound side,
                        `http://127.0.0.1:41233`, with the upstream's scheme in place of `http`
    PAYMENTS_HOST       the same in two parts
    PAYMENTS_PORT
    SKYCAP_SANDBOX      a shadow's sandbox; not set in the baseline
    SKYCAP_ROUTING_KEY  a shadow's routing key; likewise

Each of them can be named as `${PORT}` in an argument of the command and in the value of a variable. Any other `${...}`
is left as it is: a shell or the application may know it.

Those of an upstream may be set, by the environment file or by a fork, because many a database's address has more in it:
`postgresql://app:secret@${DB_HOST}:${DB_PORT}/shop`. One that names none of them leads past the sidecar, which loses
the routing key; `bypasses` finds it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

PORT = "PORT"
SANDBOX = "SKYCAP_SANDBOX"
ROUTING_KEY = "SKYCAP_ROUTING_KEY"

RESERVED = {
    PORT: "the port to listen on",
    SANDBOX: "the sandbox of a shadow",
    ROUTING_KEY: "the routing key of a shadow",
}
"""What nobody else may set, and what each says."""

NO_SCHEME = "none"
"""The scheme of an upstream whose `_URL` is HOST:PORT and nothing else."""

_NAMED = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


def upstream_variables(name: str, scheme: str, host: str, port: int) -> dict[str, str]:
    """Those of the upstream `name`: upper case, `_` for `-`. host: an IPv4 address or a name."""
    prefix = _prefix(name)
    address = f"{host}:{port}"
    return {
        f"{prefix}_URL": address if scheme == NO_SCHEME else f"{scheme}://{address}",
        f"{prefix}_HOST": host,
        f"{prefix}_PORT": str(port),
    }


def substituted(text: str, values: Mapping[str, str]) -> str:
    """The text with every `${NAME}` that `values` has replaced, once: what a value brings is not looked at again."""
    return _NAMED.sub(lambda found: values.get(found[1], found[0]), text)


def bypasses(env: Mapping[str, str], upstreams: Iterable[str]) -> Iterator[tuple[str, str]]:
    """The variables in `env` by which calls to an upstream go past the sidecar, each with the upstream's name."""
    for name in upstreams:
        prefix = _prefix(name)
        for variable in (f"{prefix}_URL", f"{prefix}_PORT"):
            named = set(_NAMED.findall(env.get(variable, "")))
            if variable in env and not named & {f"{prefix}_URL", f"{prefix}_PORT"}:
                yield variable, name


def _prefix(name: str) -> str:
    return name.upper().replace("-", "_")
