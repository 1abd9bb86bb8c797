from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relaywatch.targets.numbers import network_around, network_text, number_in, number_of


@given(st.ip_addresses())
def test_the_number_of_a_text_is_that_of_its_address(address):
    assert number_in(address) == number_of(str(address))


@pytest.mark.parametrize(
    "text", ["mail.example.org", "", "192.0.2", "192.0.2.7\0", "2001:db8::7%eth0", "\udcff", ":"]
)
def test_what_is_no_address_stays_itself(text):
    assert text == number_of(text)


def test_families_are_apart():
    assert number_of("0.0.0.1") != number_of("::1")
    assert number_of("255.255.255.255") < number_of("::")


@pytest.mark.parametrize(
    ("text", "network"),
    [
        ("192.0.2.7", "192.0.2.0/24"),
        ("0.0.0.0", "0.0.0.0/24"),
        ("255.255.255.255", "255.255.255.0/24"),
        ("2001:db8:1:2::7", "2001:db8:1::/48"),
        ("::1", "::/48"),
    ],
)
def test_the_network_around(text, network):
    assert network == network_text(network_around(number_of(text)))
    assert network == network_text(network_around(number_in(ip_address(text))))
