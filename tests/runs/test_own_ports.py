"""Whose connection to a port of the token's own counts: the target's, and no stranger's who scans our ports."""

import asyncio
from datetime import date
from ipaddress import ip_address, ip_network
from types import SimpleNamespace

import pytest

from relaywatch.model.places import Door, Family, Transport
from relaywatch.model.tokens import Token
from relaywatch.runs.target import TargetRun, _Surroundings
from relaywatch.script.brief import CanaryPlaces
from relaywatch.targets.permissions import Permission
from relaywatch.targets.scope import LOOPBACK

TOKEN = Token("t" * 32)
OURS = ip_address("203.0.113.5")
NETWORK = Permission(networks=(ip_network("192.0.2.0/28"),), owner="Example", contact="x", until=date.max)


def admitted(permission, target, ours=OURS, exclusions=()):
    """Open a port as a script's operation does; return the rule by which our sink lets peers in."""
    rules = []
    run = SimpleNamespace(
        permission=permission,
        host=SimpleNamespace(addresses=(ip_address(target),)),
        settings=SimpleNamespace(exclusions=exclusions),
        canaries=CanaryPlaces(addresses=(ours,)),
        keep=lambda _tokens: None,
        ports=SimpleNamespace(open_port=lambda *asked: rules.append(asked)),
    )
    run.permits = lambda address: TargetRun.permits(run, address)
    family = Family.IPV6 if ours.version == 6 else Family.IPV4
    _Surroundings(run, Door(21, Transport.PLAIN, family)).open_port(TOKEN, family)
    ((token, address, admits),) = rules
    assert (TOKEN, ours) == (token, address)
    return lambda peer: admits(ip_address(peer))


@pytest.mark.parametrize(
    ("peer", "counts"),
    [
        pytest.param("192.0.2.7", True, id="the target"),
        pytest.param("192.0.2.9", True, id="another of the permission: a way out of the same site"),
        pytest.param("192.0.2.12", False, id="one that is excluded"),
        pytest.param("192.0.2.77", False, id="beside the permission"),
        pytest.param("198.51.100.200", False, id="a scanner of the whole Internet"),
        pytest.param("203.0.113.5", False, id="ourselves"),
        pytest.param("127.0.0.1", False, id="whoever shares our machine"),
        pytest.param("2001:db8::7", False, id="the other family"),
    ],
)
def test_the_targets_own_connections_count(peer, counts):
    assert counts is admitted(NETWORK, "192.0.2.7", exclusions={ip_address("192.0.2.12")})(peer)


@pytest.mark.parametrize(
    ("peer", "counts"), [("127.0.0.2", True), ("203.0.113.5", True), ("192.0.2.7", False)]
)
def test_on_this_machine_our_own_address_is_the_targets(peer, counts):
    assert counts is admitted(LOOPBACK, "127.0.0.1")(peer)


def test_no_port_is_opened_where_we_have_no_address_of_the_family():
    run = SimpleNamespace(canaries=CanaryPlaces(addresses=(OURS,)))

    async def ask():
        return await _Surroundings(run, Door(21, Transport.PLAIN, Family.IPV6)).open_port(TOKEN, Family.IPV6)

    assert asyncio.run(ask()) is None
