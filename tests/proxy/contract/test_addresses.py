from __future__ import annotations

from ipaddress import ip_address

import pytest

from proxy.contract.addresses import forms, is_link_local, why_no_shadow

LINK_LOCAL = "is link-local, where no shadow may be"
ANY = "means whichever machine asks: name one address"
MANY = "means many machines at once: name one address"
SECRETS = "is where a cloud tells its machines secrets, and no shadow may be"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("169.254.169.254", LINK_LOCAL),
        ("fe80::1", LINK_LOCAL),
        ("::ffff:169.254.169.254", LINK_LOCAL),
        ("::169.254.169.254", LINK_LOCAL),
        ("::ffff:0:169.254.169.254", LINK_LOCAL),
        ("64:ff9b::169.254.169.254", LINK_LOCAL),
        ("64:ff9b:1::169.254.169.254", LINK_LOCAL),
        ("64:ff9b:1:a9fe:a9:fe00::", LINK_LOCAL),
        ("2002:a9fe:a9fe::1", LINK_LOCAL),
        ("2001:0:4136:e378:8000:63bf:5601:5601", LINK_LOCAL),
        ("0.0.0.0", ANY),
        ("0.1.2.3", ANY),
        ("::", ANY),
        ("::ffff:0.0.0.0", ANY),
        ("64:ff9b::", ANY),
        ("224.0.0.1", MANY),
        ("255.255.255.255", MANY),
        ("ff02::1", MANY),
        ("::ffff:224.0.0.1", MANY),
        ("100.100.100.200", SECRETS),
        ("::ffff:100.100.100.200", SECRETS),
        ("168.63.129.16", SECRETS),
        ("fd00:ec2::254", SECRETS),
        ("127.0.0.1", ""),
        ("::1", ""),
        ("10.1.2.3", ""),
        ("::ffff:10.1.2.3", ""),
        ("64:ff9b::10.1.2.3", ""),
        ("2001:db8::1", ""),
        ("fd00::1", ""),
        ("240.0.0.1", ""),
    ],
)
def test_where_no_shadow_may_be(text: str, why: str) -> None:
    assert why_no_shadow(ip_address(text)) == why
    assert is_link_local(ip_address(text)) is (why == LINK_LOCAL)


def test_what_an_address_may_be_unwrapped_to() -> None:
    assert [str(form) for form in forms(ip_address("64:ff9b:1:a9fe:a9:fe00::"))] == [
        "64:ff9b:1:a9fe:a9:fe00::", "169.254.169.254",
    ]  # fmt: skip
    assert [str(form) for form in forms(ip_address("64:ff9b:1::10.1.2.3"))] == ["64:ff9b:1::a01:203", "10.1.2.3"]
    assert [str(form) for form in forms(ip_address("::1"))] == ["::1"]
