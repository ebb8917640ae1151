"""Addresses at which no shadow may be, whichever way they are written.

An IPv4 address can hide inside an IPv6 address: a router or the kernel unwraps it, and the connection goes where the
inner address says. So each of these forms is judged by what is inside:

    ::ffff:a.b.c.d          mapped                RFC 4291 section 2.5.5.2
    ::a.b.c.d               compatible            RFC 4291 section 2.5.5.1
    ::ffff:0:a.b.c.d        translated            RFC 2765 section 2.1
    64:ff9b::a.b.c.d        NAT64                 RFC 6052 section 2.1
    64:ff9b:1::/48          NAT64, local use      RFC 8215; RFC 6052 section 2.2: bits 48-63 and 72-87, or the last 32
    2002:aabb:ccdd::/48     6to4                  RFC 3056 section 2
    2001:0::/32             Teredo                RFC 4380 section 4: the last 32 bits, inverted
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

Address = IPv4Address | IPv6Address

_LAST_32_BITS = (
    IPv6Network("::/96"),
    IPv6Network("::ffff:0:0/96"),
    IPv6Network("::ffff:0:0:0/96"),
    IPv6Network("64:ff9b::/96"),
)
_LOCAL_NAT64 = IPv6Network("64:ff9b:1::/48")
_THIS_NETWORK = IPv4Network("0.0.0.0/8")  # RFC 1122 section 3.2.1.3
_METADATA = (
    IPv4Address("100.100.100.200"),  # Alibaba Cloud
    IPv4Address("168.63.129.16"),  # Azure, the machine's agent
    IPv4Address("192.0.0.192"),  # Oracle Cloud
    IPv6Address("fd00:ec2::254"),  # Amazon EC2
    IPv6Address("fd20:ce::254"),  # Google Cloud
)
"""Where clouds tell their machines secrets, beside 169.254.169.254, which is link-local."""


def forms(address: Address) -> Iterator[Address]:
    """The address itself, and each one that it may be unwrapped to."""
    yield address
    if isinstance(address, IPv4Address):
        return
    number = int(address)
    if any(address in network for network in _LAST_32_BITS) and number > 1:  # :: and ::1 wrap nothing
        yield IPv4Address(number & 0xFFFFFFFF)
    if address in _LOCAL_NAT64:
        places = (number >> 64 & 0xFFFF) << 16 | number >> 40 & 0xFFFF, number & 0xFFFFFFFF
        yield from (IPv4Address(inner) for inner in places if inner >> 24)  # the other place holds zeros
    if address.sixtofour is not None:
        yield address.sixtofour
    if address.teredo is not None:
        yield address.teredo[1]


def is_link_local(address: Address) -> bool:
    """169.254.0.0/16 and fe80::/10: where cloud metadata lives, and no shadow does."""
    return any(form.is_link_local for form in forms(address))


def why_no_shadow(address: Address) -> str:
    """Why no shadow may be at this address, to stand behind it; "" when one may."""
    if is_link_local(address):
        return "is link-local, where no shadow may be"
    if any(form.is_unspecified or form in _THIS_NETWORK for form in forms(address)):
        return "means whichever machine asks: name one address"
    if any(form.is_multicast or str(form) == "255.255.255.255" for form in forms(address)):
        return "means many machines at once: name one address"
    if any(form in _METADATA for form in forms(address)):
        return "is where a cloud tells its machines secrets, and no shadow may be"
    return ""
