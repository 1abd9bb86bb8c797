import subprocess
import sys
from ipaddress import ip_address, ip_network

import pytest

from relaywatch.engine.vantage import judge_vantage, source_for
from relaywatch.model.verdicts import Vantage


@pytest.mark.parametrize(
    ("target", "source", "networks", "vantage"),
    [
        ("127.0.0.1", "127.0.0.1", [], Vantage.INSIDE),
        ("::1", "::1", [], Vantage.INSIDE),
        ("127.0.0.5", None, [], Vantage.INSIDE),
        ("192.0.2.1", "192.0.2.1", [], Vantage.INSIDE),
        ("192.0.2.1", "192.0.2.9", ["192.0.2.0/24"], Vantage.INSIDE),
        ("192.0.2.1", "8.8.8.8", ["2001:db8::/32", "192.0.2.0/24"], Vantage.OUTSIDE),
        ("192.0.2.1", "2606:4700::1", [], Vantage.OUTSIDE),
        ("192.0.2.1", "203.0.113.5", ["192.0.2.0/24"], Vantage.OUTSIDE),
        ("192.0.2.1", "10.0.0.1", ["192.0.2.0/24"], Vantage.UNKNOWN),
        ("192.0.2.1", "100.64.0.1", [], Vantage.UNKNOWN),
        ("2001:db8::1", "fd00::1", [], Vantage.UNKNOWN),
        ("10.0.0.1", "10.0.0.2", ["10.0.0.0/8"], Vantage.INSIDE),
        ("192.0.2.1", None, ["192.0.2.0/24"], Vantage.UNKNOWN),
    ],
)
def test_vantage(target, source, networks, vantage):
    source_address = ip_address(source) if source else None
    inside = [ip_network(network) for network in networks]

    assert vantage == judge_vantage(ip_address(target), source_address, inside)


def test_the_kernel_names_the_source():
    assert ip_address("127.0.0.1") == source_for(ip_address("127.0.0.1"))


def test_where_no_way_leads_there_is_no_source():
    program = (
        "from ipaddress import ip_address; from relaywatch.engine.vantage import source_for;"
        "print(source_for(ip_address('255.255.255.255')))"  # a broadcast, which a plain socket may not
    )
    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert "None\n" == finished.stdout
