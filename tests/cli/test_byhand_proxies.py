"""Commands towards a host of the reader's own: each is what a shell takes apart into the words that were meant."""

import shlex
import subprocess
from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.cli.samples import proxy_finding, proxy_line

from relaywatch.cli.reports import byhand, byhand_proxies
from relaywatch.cli.reports.byhand_proxies import YOUR_HOST, proxy_command
from relaywatch.model.places import Transport
from relaywatch.runs.run import choose_probes

TABLES = {
    Transport.PLAIN: byhand_proxies._PLAIN,
    Transport.TLS: byhand_proxies._TLS,
    Transport.UDP: byhand_proxies._DATAGRAMS,
}
ROWS = [(transport, probe) for transport, table in TABLES.items() for probe in table]
TOOLS = {"ncat", "curl", "telnet", "ssh", "turnutils_uclient", "openssl"}


def asked(probe, transport=Transport.PLAIN, target="192.0.2.7", **more):
    found = proxy_finding(probe=probe, transport=transport, **more)
    return proxy_command(proxy_line(target=target, findings=(found,)), found)


@pytest.mark.parametrize(("transport", "probe"), ROWS)
def test_every_command_is_a_tool_and_its_words(transport, probe):
    words = shlex.split(asked(probe, transport))

    assert words[0] in TOOLS
    assert not any(mark in word for word in words for mark in "{}")
    assert any("192.0.2.7" in word for word in words)
    assert any("3128" in word for word in words)


@pytest.mark.parametrize(("transport", "probe"), [row for row in ROWS if row[1] != "telnet-gateway"])
def test_every_command_leads_to_a_host_of_the_reader_s_and_nowhere_else(transport, probe):
    words = shlex.split(asked(probe, transport))

    assert any(YOUR_HOST in word for word in words)
    assert not any("203.0.113.5" in word for word in words)


def test_every_row_is_of_a_probe_that_there_is():
    assert {probe for _, probe in ROWS} <= {probe.name for probe in choose_probes(())}


def test_the_commands_that_are_typed_most():
    assert "ncat --proxy 192.0.2.7:3128 --proxy-type http YOUR-HOST 40025" == asked("http-connect")
    assert "curl -x socks5h://192.0.2.7:1080 http://YOUR-HOST:443/" == asked(
        "socks5-connect", port=1080, destination_ports=(80, 443)
    )
    assert "curl -H 'Host: YOUR-HOST:40025' http://192.0.2.7:80/" == asked("http-misrouting", port=80)
    assert "openssl s_client -connect 192.0.2.7:443 -servername YOUR-HOST" == asked(
        "sni-proxy", Transport.TLS, port=443
    )
    assert "turnutils_uclient -p 3478 -e YOUR-HOST 192.0.2.7" == asked("turn-udp", Transport.UDP, port=3478)


def test_where_no_port_of_ours_is_known_the_usual_one_is_asked_for():
    assert asked("http-forward", destination_ports=()).endswith(" http://YOUR-HOST:80/")


@pytest.mark.parametrize(("transport", "probe"), ROWS)
def test_an_ipv6_target_stands_in_brackets_where_a_port_follows(transport, probe):
    words = shlex.split(asked(probe, transport, target="2001:db8::7"))
    naming = [word for word in words if "2001:db8::7" in word]

    assert naming
    assert all("[2001:db8::7]:3128" in word or word.endswith("2001:db8::7") for word in naming)


@pytest.mark.parametrize(
    ("probe", "transport"),
    [
        ("ftp-bounce", Transport.PLAIN),
        ("http3-connect", Transport.QUIC),
        ("socks5-connect", Transport.TLS),
        ("http-connect", Transport.STARTTLS),
        ("sni-proxy", Transport.PLAIN),
    ],
)
def test_what_no_usual_tool_can_ask_has_no_command(probe, transport):
    assert asked(probe, transport) is None


HOSTILE = [
    "$(reboot)",
    "`reboot`",
    "a;reboot",
    "a b",
    "a'b\"c",
    "a|b>c&",
    "{host}{port}",
    "a\nb",
    "*",
    "~root",
]


@pytest.mark.parametrize("target", HOSTILE)
@pytest.mark.parametrize(("transport", "probe"), ROWS)
def test_a_hostile_target_stays_one_word(transport, probe, target):
    words = shlex.split(asked(probe, transport, target=target))
    usual = shlex.split(asked(probe, transport))

    assert [word.replace("192.0.2.7", target) for word in usual] == words


@given(st.text(st.characters(exclude_characters=":\0"), min_size=1), st.sampled_from(ROWS))
def test_whatever_the_target_is_called(target, row):
    transport, probe = row
    words = shlex.split(asked(probe, transport, target=target))

    assert [word.replace("192.0.2.7", target) for word in shlex.split(asked(probe, transport))] == words


def test_a_real_shell_agrees():
    """What the shell hands to a program is what shlex says; printf takes the tool's place."""
    commands = [asked(probe, transport, target="$(echo owned) '") for transport, probe in ROWS]
    script = "\n".join(f"printf '%s\\n' {command}" for command in commands)
    said = subprocess.run(["/bin/sh", "-c", script], capture_output=True, text=True, timeout=20, check=True)

    assert list(chain.from_iterable(map(shlex.split, commands))) == said.stdout.splitlines()
    assert "owned" not in said.stdout.replace("$(echo owned)", "")


def test_a_chain_is_asked_again_by_its_target_and_a_proxy_by_its_port():
    chained = proxy_finding(via="http-connect", through="3128 to 127.0.0.1", port=25)

    assert "relaywatch check 192.0.2.7" == byhand.recheck_command(proxy_line(findings=(chained,)))
    assert "relaywatch check 192.0.2.7 --port 3128" == byhand.recheck_command(proxy_line())
