"""IPv6 addresses that lead to IPv4 ones."""

from ipaddress import ip_address

import pytest

from relaywatch.model.places import embedded_ipv4
from relaywatch.targets.exclusions import Exclusions, read_exclusions
from relaywatch.targets.reserved import is_private


@pytest.mark.parametrize(
    ("address", "inner"),
    [
        ("64:ff9b::a00:1", "10.0.0.1"),  # NAT64, RFC 6052
        ("2002:a00:1::1", "10.0.0.1"),  # 6to4, RFC 3056
        ("::10.0.0.1", "10.0.0.1"),  # RFC 4291 section 2.5.5.1
        ("2001:0:4136:e378:8000:63bf:3fff:fdd2", "192.0.2.45"),  # Teredo, the example of RFC 4380
        ("::1", None),
        ("::", None),
        ("2001:db8::1", None),
        ("192.0.2.7", None),
    ],
)
def test_what_an_address_leads_to(address, inner):
    assert inner == (str(found) if (found := embedded_ipv4(ip_address(address))) else None)


@pytest.mark.parametrize(
    ("address", "private"),
    [("64:ff9b::a00:1", True), ("64:ff9b::7f00:1", True), ("2002:c000:0201::1", False), ("fd00::1", True)],
)
def test_private_is_what_leads_to_a_private_host(address, private):
    assert private is is_private(ip_address(address))


def test_an_exclusion_holds_for_what_leads_there(tmp_path):
    path = tmp_path / "never"
    path.write_text("192.0.2.0/24\n")
    exclusions = read_exclusions(path)

    assert ip_address("64:ff9b::c000:201") in exclusions
    assert ip_address("64:ff9b::cb00:7101") not in exclusions
    assert ip_address("2001:db8::1") not in Exclusions()
