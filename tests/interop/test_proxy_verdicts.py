"""What relaywatch says of each proxy of the lab, and of the mail behind it, is what its case expects.

One scan asks all hosts at once. Most are asked at the ports of their case; a few at all usual ports, as
somebody asks who knows no more than a name.
"""

import json
from collections.abc import Iterable

import pytest
from tests.interop.lab import plan
from tests.interop.lab.cases import Protocol, Reach, chosen, proxy_cases
from tests.interop.test_verdicts import relaywatch

pytestmark = [pytest.mark.interop, pytest.mark.timeout(2400)]

AT_USUAL_PORTS = frozenset({"squid-open", "squid-stock", "dante-open", "microsocks-on-8080", "nginx-static"})
GIVE_THEMSELVES_AWAY = frozenset(
    {
        *("squid", "tinyproxy", "privoxy", "nginx", "apache", "trafficserver", "envoy", "caddy", "nghttpx"),
        *("mitmproxy", "openssh", "vsftpd", "coturn"),
    }
)
# No page of their own, a yes that says no more, or nobody listening to strangers.
WITHOUT_A_WORD = frozenset(
    {
        *("nginx-sni-open", "nginx-sni-table", "mitmproxy-socks5"),
        *("squid-tls", "privoxy-stock", "privoxy-permit-access"),
    }
)
AT_ONCE = 40  # hosts; most of the time they are waited for
OF_THE_SINK = ("--canary-name", plan.CANARY, "--second-source", plan.SINK)
OPTIONS = (*OF_THE_SINK, "--concurrency", str(AT_ONCE))
OPENED = 400  # connections that a host makes for us at most; one that asks itself without end makes thousands

PERMISSION = """\
[[permission]]
networks = {networks}
domains = {domains}
owner = "the lab"
contact = "postmaster@stranger.example"
until = 2100-01-01
rate = 1000.0
loopback_chains = true
chain_targets = {chain_targets}
"""


def permission(case):
    """Leave to chains too: to the host's own mail, and to a neighbour's that trusts the host."""
    mail = [other for other in chosen(case.neighbours) if not other.is_proxy] if case.neighbours else []
    homes = [plan.home(other) for other in (case, *mail)]
    return PERMISSION.format(
        networks=json.dumps(
            [net for home in homes for net in (f"{home.address}/32", f"{home.address_6}/128")]
        ),
        domains=json.dumps([plan.host_name(other) for other in (case, *mail)]),
        chain_targets=json.dumps([plan.host_name(other) for other in mail]),
    )


def targets(case):
    """How the host is named to a scan."""
    name = plan.host_name(case)
    return [name] if case.name in AT_USUAL_PORTS else [f"{name}:{port}" for port in case.ports]


def scan(lab, cases, folder):
    """Ask all of them in one run; return their lines, by name and weakness."""
    (folder / "targets").write_text("".join(f"{text}\n" for case in cases for text in targets(case)))
    output = folder / "results.jsonl"
    words = ["scan", "targets", "--output", output, "--log", folder / "dialogues", *OPTIONS]
    done = relaywatch(lab, cases, folder, *words, permission=permission)
    assert done.returncode in {0, 1, 3, 4}, done.stderr
    lines = map(json.loads, output.read_text().splitlines())
    return {(line["name"], line["weakness"]): line for line in lines}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("proxies")


@pytest.fixture(scope="module")
def standing(lab):
    return [case for case in lab.cases if case.name not in lab.fallen and case.is_proxy]


@pytest.fixture(scope="module")
def opened_before(lab, standing):
    return {case.name: lab.opened(case) for case in standing}


@pytest.fixture(scope="module")
def lines(lab, standing, opened_before, folder):
    return scan(lab, standing, folder)


@pytest.fixture(scope="module")
def opened(lab, standing, opened_before, lines):
    """How many connections each host has made in the scan, by its name."""
    return {case.name: lab.opened(case) - opened_before[case.name] for case in standing}


@pytest.mark.parametrize("case", proxy_cases(), ids=lambda case: case.name)
def test_the_verdict_of_a_proxy_is_the_one_expected(lab, lines, case):
    assert case.name not in lab.fallen, lab.fallen[case.name]
    line = lines[plan.host_name(case), "open-proxy"]
    evidence, expect = json.dumps(line, indent=2), case.expect
    assert expect.verdict == line["verdict"], evidence
    assert set(expect.reasons) & set(line["reasons"]) or not expect.reasons, evidence
    proved = [found for found in line["findings"] if found["proof"] == "canary-reached"]
    assert (expect.verdict == "open") == bool(proved), evidence
    if proved:
        assert {found["advisory"] for found in proved} & set(expect.advisories), evidence
        assert {found["probe"] for found in proved} & set(expect.probes), evidence
        assert set(expect.ports) <= _ports(proved), evidence


@pytest.mark.parametrize(
    "case", [case for case in proxy_cases() if case.software != "unknown"], ids=lambda case: case.name
)
def test_the_software_is_the_cases_or_not_recognised(lines, case):
    line = lines[plan.host_name(case), "open-proxy"]
    told = line["software"]["name"] if line["software"] else None
    gives_itself_away = case.software in GIVE_THEMSELVES_AWAY and case.name not in WITHOUT_A_WORD
    assert told in ({case.software} if gives_itself_away else {case.software, None}), json.dumps(
        line, indent=2
    )


@pytest.mark.parametrize("case", proxy_cases(), ids=lambda case: case.name)
def test_no_proxy_is_led_to_ask_itself_without_end(opened, case):
    assert opened[case.name] <= OPENED


def strangers(case):
    """Whether a datagram of a stranger to the session was carried, refused, or never tried."""
    tried = [request for request in case.truth.requests if request.protocol is Protocol.SOCKS5_UDP_STRANGER]
    return {request.outcome is Reach.REACHED for request in tried}


@pytest.mark.parametrize(
    "case", [case for case in proxy_cases() if strangers(case)], ids=lambda case: case.name
)
def test_a_relay_of_strangers_datagrams_is_told_from_one_of_the_clients_own(lab, case, tmp_path):
    words = ["check", f"{plan.host_name(case)}:1080", "--probe", "socks5-udp", "--format", "json"]
    done = relaywatch(lab, [case], tmp_path, *words, *OF_THE_SINK, permission=permission)
    (line,) = [line for line in map(json.loads, done.stdout.splitlines()) if line["weakness"] == "open-proxy"]
    proved = {found["advisory"] for found in line["findings"] if found["proof"] == "canary-reached"}
    assert "RW-2010" in proved, done.stderr
    assert strangers(case) == {"RW-2011" in proved}, json.dumps(line, indent=2)


def _ports(findings: Iterable[dict[str, object]]) -> set[int]:
    return {port for found in findings for port in found["destination_ports"]}


@pytest.mark.parametrize(
    "case", [case for case in proxy_cases() if case.expect.relay], ids=lambda case: case.name
)
def test_mail_behind_a_proxy_is_judged_as_expected(lines, case):
    line = lines[plan.host_name(case), "open-relay"]
    evidence, expect = json.dumps(line, indent=2), case.expect.relay
    assert expect.verdict == line["verdict"], evidence
    delivered = [found for found in line["findings"] if found["proof"] == "delivered"]
    assert (expect.verdict == "open") == bool(delivered), evidence
    for found in delivered:
        assert found["advisory"] in expect.advisories, evidence
        assert found["via"] in case.expect.probes, evidence
        assert found["token"], evidence


def test_the_dialogue_of_a_chain_shows_both_legs(lab, lines, folder):
    (case,) = chosen(("chain-own-loopback",))
    assert lines[plan.host_name(case), "open-relay"]
    attempts = (folder / "dialogues").read_text().split("\n--- ")
    here = [text for text in attempts if text.startswith("smtp-relay") and plan.home(case).address in text]
    (proof,) = [text for text in here if "C: CONNECT 127.0.0.1:25 HTTP/1.1" in text and "C: RCPT TO:" in text]
    legs = (
        "C: CONNECT 127.0.0.1:25 HTTP/1.1",
        "S: HTTP/1.1 200",
        "S: 220 ",
        "C: MAIL FROM:",
        "C: .",
        "S: 250 2.0.0",
    )
    places = [proof.find(leg) for leg in legs]
    assert -1 not in places, proof
    assert places[:4] == sorted(places[:4]), proof
