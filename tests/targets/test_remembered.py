from ipaddress import ip_address

from hypothesis import given
from hypothesis import strategies as st

from relaywatch.targets.remembered import Remembered


@given(st.sets(st.ip_addresses()), st.ip_addresses())
def test_it_is_a_set_of_addresses(addresses, another):
    remembered = Remembered()
    for address in addresses:
        remembered.add(address)
        remembered.add(address)

    assert len(remembered) == len(addresses)
    assert all(address in remembered for address in addresses)
    assert (another in remembered) is (another in addresses)


def test_a_number_of_one_family_says_nothing_of_the_other():
    remembered = Remembered()
    remembered.add(ip_address("192.0.2.1"))
    assert ip_address(f"::{ip_address('192.0.2.1')}") not in remembered
