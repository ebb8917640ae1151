"""The grammar of the names that cross the contract.

workload     `namespace/name`, both DNS labels (RFC 1123 section 2.1), as Kubernetes writes them
routing key  1 to 63 characters of `[A-Za-z0-9._-]`: legal unescaped in `baggage`, `tracestate`, a header, a
             host name's left-most part and a Kubernetes label value
"""

from __future__ import annotations

import re

DNS_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
WORKLOAD = re.compile(rf"{DNS_LABEL}/{DNS_LABEL}")
SANDBOX = re.compile(DNS_LABEL)
ROUTING_KEY = re.compile(r"[A-Za-z0-9._-]{1,63}")

DEFAULT_KEY_NAMES = ("routing-key", "sd-routing-key")
"""Members of `baggage` and `tracestate` that carry the key, in order of precedence."""
