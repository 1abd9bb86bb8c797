"""Which doors of a host are worth a line: of proxies, those that answered; of a relay, every one."""

from dataclasses import replace

import pytest
from tests.cli.samples import chain_finding, chain_line, door, line, proxy_finding, proxy_line

from relaywatch.cli.language import words_in
from relaywatch.cli.reports import doors
from relaywatch.model.places import Door, Family, Transport
from relaywatch.model.verdicts import Reason, Verdict

EN, KO = words_in("en"), words_in("ko")
ABSENT = door(Verdict.ABSENT, port=1080)
NOTED = door(Verdict.ABSENT, port=81, notes=("speaks smtp",))
FILTERED = door(Verdict.INCONCLUSIVE, port=8080, reasons=(Reason.NO_ANSWER,))
NO_WAY = door(Verdict.INCONCLUSIVE, port=8081, reasons=(Reason.UNREACHABLE, Reason.NO_ANSWER))
HALF = door(Verdict.INCONCLUSIVE, port=8082, reasons=(Reason.NO_ANSWER, Reason.TIMEOUT))
OPEN = door(Verdict.OPEN, port=3128)
CLOSED = door(Verdict.CLOSED, port=80)
DATAGRAMS = door(Verdict.ABSENT, port=3478, transport=Transport.UDP)
QUIC = door(Verdict.ABSENT, port=443, transport=Transport.QUIC)
ALL = (ABSENT, NOTED, FILTERED, NO_WAY, HALF, OPEN, CLOSED, DATAGRAMS, QUIC)


def test_of_proxies_those_that_answered_are_told():
    assert (NOTED, HALF, OPEN, CLOSED) == doors.telling_doors(proxy_line(doors=ALL))
    assert "81, 8082, 3128, 80" == doors.told_ports(proxy_line(doors=ALL))


def test_of_relays_every_door_is_told():
    assert ALL == doors.telling_doors(line(doors=ALL))
    assert [] == list(doors.other_doors(line(doors=ALL), EN))


def test_the_others_take_a_line_for_each_kind():
    assert [
        "No proxy answers at: 1080, 3478/udp, 443/quic",
        "Silent, as behind a filter: 8080, 8081",
    ] == list(doors.other_doors(proxy_line(doors=ALL), EN))
    assert ["프록시가 응답하지 않는 포트: 1080"] == list(doors.other_doors(proxy_line(doors=(ABSENT,)), KO))
    assert [] == list(doors.other_doors(proxy_line(), EN))


def test_a_door_that_we_meant_to_ask_and_never_heard_is_silent():
    quic = door(
        Verdict.INCONCLUSIVE,
        port=443,
        transport=Transport.QUIC,
        reasons=(Reason.INCOMPLETE, Reason.NO_ANSWER),
        planned=2,
    )
    asked = replace(quic, port=444, asked=1)
    incomplete = replace(quic, port=445, reasons=(Reason.INCOMPLETE,))
    found = proxy_line(doors=(quic, asked, incomplete))

    assert (asked, incomplete) == doors.telling_doors(found)
    assert ["Silent, as behind a filter: 443/quic"] == list(doors.other_doors(found, EN))


def test_a_port_of_both_families_is_named_once():
    six = door(Verdict.ABSENT, port=1080, family=Family.IPV6)
    both = (OPEN, door(Verdict.CLOSED, port=3128, family=Family.IPV6))

    assert ["No proxy answers at: 1080"] == list(doors.other_doors(proxy_line(doors=(ABSENT, six)), EN))
    assert "3128" == doors.told_ports(proxy_line(doors=both))


def test_no_door_is_told_twice_and_none_is_left_out():
    told = {one.port for one in doors.telling_doors(proxy_line(doors=ALL))}
    others = " ".join(doors.other_doors(proxy_line(doors=ALL), EN))

    assert {one.port for one in ALL} - told == {1080, 3478, 443, 8080, 8081}
    assert all(str(port) in others for port in {one.port for one in ALL} - told)
    assert not any(f" {port}," in f"{others}," for port in told)


def test_a_chain_is_called_by_its_way():
    [behind] = chain_line().doors
    of_the_engine = Door(25, Transport.PLAIN, Family.IPV4, via="socks4", through="1080 to 192.0.2.7")

    assert "25/plain/ipv4 via http-connect 3128 to 127.0.0.1" == doors.door_name(behind)
    assert doors.door_name(behind) == doors.door_name(chain_finding())
    assert " via socks4 1080 to 192.0.2.7" == doors.chain_of(of_the_engine)
    assert "3128/plain/ipv4" == doors.door_name(OPEN)


@pytest.mark.parametrize(
    ("exit_address", "said"),
    [
        (None, ""),
        ("192.0.2.7", "192.0.2.7"),
        ("198.51.100.9", "198.51.100.9, another address than its own"),
    ],
)
def test_an_exit_that_is_not_the_entry_is_said_to_be_another(exit_address, said):
    assert said == doors.exit_of(proxy_line(), proxy_finding(exit_address=exit_address), EN)
