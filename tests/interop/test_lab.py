"""The lab keeps its own promises: strict cases, isolation, and nothing left behind."""

import json
import re
import secrets
import socket
import ssl
import subprocess
import sys
import threading
from pathlib import Path
from types import MappingProxyType

import pytest
from tests.interop.lab import carriers, cases, names, network, plan, proof, reaching, recorder, swaks, witness
from tests.interop.lab.cases import (
    Envelope,
    Outcome,
    Protocol,
    Reach,
    Request,
    State,
    all_cases,
    mail_cases,
    proxy_cases,
)
from tests.interop.lab.errors import LabError
from tests.interop.lab.world import CHECKOUT, fresh, sweep

ONE = "postfix-open-mynetworks"


@pytest.mark.parametrize("case", all_cases(), ids=lambda case: case.name)
class TestEveryCase:
    def test_is_named_by_a_label_that_a_host_name_can_hold(self, case):
        assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", case.name)
        assert len(case.name) < 64


@pytest.mark.parametrize("case", mail_cases(), ids=lambda case: case.name)
class TestEveryMailCase:
    def test_states_what_its_state_means(self, case):
        outcomes = {envelope.outcome for envelope in proof.envelopes(case)}
        assert (case.truth.state is State.OPEN) == (Outcome.DELIVERED in outcomes)
        assert (case.truth.state is State.CLOSED) == (case.truth.classic is not None)
        assert case.truth.state is not State.DECEIVING or {Outcome.KEPT} == outcomes

    def test_never_expects_closed_or_open_of_another_state(self, case):
        verdict = case.expect.verdict
        assert verdict in {"open", "accepting", "closed", "inconclusive"}
        assert verdict != "open" or case.truth.state is State.OPEN
        assert verdict != "closed" or case.truth.state is State.CLOSED
        assert verdict != "open" or case.expect.advisories
        assert all(re.fullmatch(r"RW-1\d{3}", advisory) for advisory in case.expect.advisories)
        assert () == case.expect.probes + case.expect.ports
        assert case.expect.relay is None


#: The probe that finds what a request has shown.
PROBES = {
    Protocol.SOCKS5: "socks5-connect",
    Protocol.SOCKS5_NAME: "socks5-connect",
    Protocol.SOCKS5_UDP_STRANGER: "socks5-udp",
    Protocol.SNI: "sni-proxy",
}


@pytest.mark.parametrize("case", proxy_cases(), ids=lambda case: case.name)
class TestEveryProxyCase:
    def test_states_what_its_state_means(self, case):
        # Whom it leads to itself is another matter: that is the chain's.
        away = [request for request in case.truth.requests if not request.answer]
        usual = {request.outcome for request in away if not request.source}
        others = {request.outcome for request in away if request.source}
        mean = {
            State.OPEN: Reach.REACHED in usual,
            State.ELSEWHERE: Reach.REACHED in others - usual,
            State.CLOSED: Reach.REACHED not in usual | others,
            State.DECEIVING: {Reach.PRETENDED} == usual | others,
        }
        assert mean[case.truth.state]

    def test_never_expects_closed_or_open_of_another_state(self, case):
        verdict, state = case.expect.verdict, case.truth.state
        assert verdict in {"open", "accepting", "closed", "absent", "inconclusive"}
        assert (verdict == "open") == (state is State.OPEN)
        assert (verdict == "accepting") == (state is State.DECEIVING)
        assert verdict != "open" or (case.expect.advisories and case.expect.probes)
        assert all(re.fullmatch(r"RW-20\d{2}", advisory) for advisory in case.expect.advisories)

    def test_expects_only_what_its_requests_show(self, case):
        reached = [request for request in case.truth.requests if request.outcome is Reach.REACHED]
        assert set(case.expect.probes) <= {
            PROBES.get(request.protocol, request.protocol) for request in reached
        }
        assert set(case.expect.ports) <= {port for request in reached for port in request.destination_ports}

    def test_asks_only_ports_where_something_listens(self, case):
        for request in case.truth.requests:
            if not request.answer and request.outcome is Reach.REACHED:
                assert set(request.destination_ports) <= {*witness.PORTS, *recorder.PORTS}

    def test_proves_a_relay_by_mail_that_goes_through_it(self, case):
        assert bool(case.expect.relay) == any(envelope.via for envelope in case.truth.envelopes)


@pytest.mark.parametrize("case", all_cases(), ids=lambda case: case.name)
class TestEveryTree:
    def test_names_no_other_case_in_its_files(self, case):
        theirs = "|".join(other.name for other in all_cases() if other.name != case.name)
        for path in [path for path in case.files.rglob("*") if path.is_file()]:
            assert [] == re.findall(rf"\b(?:{theirs})\.(?:lab|hosted)\.example", path.read_text())


def test_a_case_with_a_field_that_no_case_has_is_refused_by_its_file_name(tmp_path, monkeypatch):
    monkeypatch.setattr(cases, "SERVERS", tmp_path)
    (tmp_path / "wrong").mkdir()
    (tmp_path / "wrong/case.toml").write_text("softwear = 1\n")
    with pytest.raises(LabError, match=r"wrong/case\.toml"):
        cases.load("wrong", 11)


def test_an_unknown_name_is_refused_with_the_known_ones():
    with pytest.raises(LabError, match=ONE):
        cases.chosen(("nobody",))


def test_more_cases_than_addresses_are_refused(monkeypatch):
    monkeypatch.setattr(cases, "_MOST", 2)
    with pytest.raises(LabError, match="room for 2"):
        all_cases()


def test_the_last_case_that_fits_has_an_address_below_the_broadcast():
    assert 254 == cases._FIRST + cases._MOST - 1


def test_neighbours_come_along_once_however_they_name_each_other():
    found = cases.with_neighbours(cases.chosen(("chain-neighbour-proxy", "chain-neighbour-mail")))
    assert ["chain-neighbour-proxy", "chain-neighbour-mail"] == [case.name for case in found]
    found = cases.with_neighbours(cases.chosen(("chain-neighbour-proxy",)))
    assert ["chain-neighbour-proxy", "chain-neighbour-mail"] == [case.name for case in found]


def test_each_case_has_an_address_of_its_own():
    homes = [plan.home(case) for case in all_cases()]
    assert len(homes) == len({home.address for home in homes}) == len({home.address_6 for home in homes})


def test_names_are_filled_in():
    case = all_cases()[0]
    filled = swaks.fill('"{token}@sink.example"@{hosted} {host} {ip} {pointing}', case, "t0")
    host, ip = plan.host_name(case), plan.home(case).address
    assert f'"t0@sink.example"@{plan.hosted_domain(case)} {host} {ip} {plan.pointing_domain(case)}' == filled


def test_the_zone_names_the_server_as_second_mx_of_a_strangers_domain():
    case = all_cases()[0]
    assert f"mx-host={case.name}.pointing.example,{case.name}.lab.example,20\n" in names.configuration([case])


class TestJournal:
    @pytest.fixture
    def journal(self, tmp_path):
        path = tmp_path / "arrivals.jsonl"
        path.write_text(
            '{"forward_paths": ["bounce-b1@sink.example"]}\n'
            '{"forward_paths": ["bounce-m1@sink.example"]}\n'
            '{"forward_paths": ["m1@sink.example"]}\n'
        )
        return proof.Journal(path)

    def test_tells_a_bounce_from_a_delivery(self, journal):
        assert (None, Outcome.BOUNCED, Outcome.DELIVERED) == tuple(map(journal.outcome, ("x1", "b1", "m1")))


class TestFinding:
    @pytest.mark.parametrize(
        ("stated", "reply", "outcome", "holds"),
        [
            ("refused", "454", "refused", True),
            ("refused", "550", "refused", False),
            ("refused", "", "kept", False),
            ("delivered", "", "kept", False),
            ("stopped", "", "kept", True),
            ("stopped", "", "refused", True),
            ("stopped", "", "delivered", False),
        ],
    )
    def test_holds_only_if_all_is_as_stated(self, stated, reply, outcome, holds):
        envelope = Envelope(outcome=Outcome(stated), reply=reply)
        assert holds == proof.Finding(envelope, outcome, "454 4.7.1 no", "").holds


class TestVisit:
    """What the tool says, what the witness saw, and what both come to."""

    EXITS = ("198.51.100.11", "2001:db8:51::11")
    OURS = MappingProxyType({"source": "198.51.100.11", "answer": "a1b2"})
    DIRECT = MappingProxyType({"source": "203.0.113.10", "answer": "a1b2"})

    def visit(self, protocol, said, arrivals, *, heard="", answer=""):
        request = Request(outcome=Reach.REACHED, protocol=protocol, port=1, answer=answer)
        asked = carriers.Errand(request, "proxy.example", self.EXITS[0], plan.SINK, 40025, "t0")
        told = carriers.Answer(said, "", heard)
        return reaching.Visit(asked, told, tuple(arrivals), self.EXITS)

    @pytest.mark.parametrize(
        ("protocol", "said", "arrivals", "heard", "outcome"),
        [
            ("socks5", "pretended", [OURS], "... a1b2 ...", "reached"),
            ("socks5", "pretended", [OURS], "", "arrived, but no answer came back"),
            ("socks5", "pretended", [DIRECT], "a1b2", "arrived, but from 203.0.113.10"),
            ("socks5", "pretended", [OURS, DIRECT], "a1b2", "arrived, but from 203.0.113.10"),
            ("socks5", "pretended", [], "a1b2", "pretended"),
            ("http-forward", "answered", [], "a page", "answered"),
            ("http-connect", "refused", [], "403", "refused"),
            ("ftp-bounce", "pretended", [OURS], "", "reached"),
            ("turn-udp", "pretended", [OURS], "tot_recv_msgs=2", "reached"),
            ("turn-udp", "pretended", [OURS], "tot_recv_msgs=0", "arrived, but no answer came back"),
            ("socks5-bind", "pretended", [], "brought t0", "reached"),
            ("socks5-bind", "pretended", [], "granted", "pretended"),
        ],
    )
    def test_is_reached_only_if_both_ends_say_so(self, protocol, said, arrivals, heard, outcome):
        visit = self.visit(Protocol(protocol), Reach(said), arrivals, heard=heard)
        assert outcome == visit.outcome

    def test_another_destination_is_reached_if_its_own_words_come_back(self):
        for heard, outcome in (("220 mail.example", "reached"), ("554 no", "pretended")):
            visit = self.visit(
                Protocol.HTTP_CONNECT, Reach.PRETENDED, [], heard=heard, answer="220 mail.example"
            )
            assert outcome == visit.outcome


class TestReadings:
    """What a tool's last words mean."""

    @pytest.mark.parametrize(
        ("protocol", "said", "outcome", "reply"),
        [
            ("http-connect", "< HTTP/1.1 200 OK\ncurl ended 52 200 000 Empty reply", "pretended", ""),
            (
                "http-connect",
                "< HTTP/1.1 200 OK\n* Ignoring Content-Length in CONNECT 200 response\ncurl ended 0 200 200 ",
                "answered",
                "",
            ),
            ("http-connect", "< HTTP/1.1 407 Give\ncurl ended 56 407 000 no", "refused", "407 Give"),
            ("http-connect", "curl ended 7 000 000 Failed to connect", "refused", "Failed to connect"),
            ("http-connect", "", "refused", "curl was ended"),
            ("http-forward", "< HTTP/1.1 302 Found\ncurl ended 0 000 302 ", "answered", ""),
            ("http-forward", "< HTTP/1.1 403 No\ncurl ended 0 000 403 ", "refused", "403 No"),
            ("socks4a", "* SOCKS4a request granted.\ncurl ended 52 000 000 Empty", "pretended", ""),
            ("socks5", "curl ended 97 000 000 Can't complete (2)", "refused", "Can't complete (2)"),
            ("sni", "curl ended 60 000 000 self-signed", "answered", ""),
            ("sni", "curl ended 35 000 000 alert", "refused", "alert"),
            ("http2-connect", "granted 200\n", "pretended", ""),
            ("turn-tcp", "granted\nrefused 447\n", "refused", "447"),
            ("http3-connect", "Received headers: { :status=403", "refused", "403"),
            ("connect-udp", "failure reason: QUIC_TIMEOUT", "refused", "QUIC_TIMEOUT"),
            ("ssh-forward", "x@y: Permission denied (publickey).", "refused", "Permission denied"),
            ("ftp-bounce", "200 PORT ok\n150 Here it comes", "pretended", ""),
            ("ftp-bounce", "230 Login\n500 Illegal PORT command.", "refused", "500 Illegal PORT"),
            ("turn-udp", "0: : success\n", "pretended", ""),
            ("turn-udp", "ERROR: Cannot complete Allocation", "refused", "Cannot complete"),
            ("telnet-gateway", "gateway>Connected", "pretended", ""),
            ("telnet-gateway", "login:", "refused", "login:"),
        ],
    )
    def test_says_outcome_and_reply(self, protocol, said, outcome, reply):
        read, replied = carriers._CARRIERS[Protocol(protocol)].read(said)
        assert outcome == read
        assert outcome != "refused" or replied.startswith(reply)

    def test_every_protocol_has_its_tool(self):
        assert set(Protocol) == set(carriers._CARRIERS)


class TestWitness:
    @pytest.fixture
    def served(self, tmp_path):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server = witness._Tcp("127.0.0.1", 0, witness.Journal(tmp_path / "visitors"), context)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1], tmp_path / "visitors"
        server.shutdown()
        server.server_close()

    @pytest.mark.parametrize(
        ("said", "first"),
        [
            (b"GET /t0 HTTP/1.1\r\nHost: w\r\n\r\n", "HTTP/1.1 200 OK"),
            (b"CONNECT w:443 HTTP/1.1\r\nX: t0\r\n\r\n", "HTTP/1.1 405 Method Not Allowed"),
            (b"t0\n", None),
        ],
    )
    def test_notes_what_was_said_and_answers_with_a_word_of_that_line(self, served, said, first):
        port, journal = served
        with socket.create_connection(("127.0.0.1", port), 5) as link:
            link.sendall(said)
            heard = b"".join(iter(lambda: link.recv(4096), b"")).decode().splitlines()
        line = json.loads(journal.read_text())
        assert (line["answer"], "127.0.0.1", port) == (heard[-1], line["source"], line["port"])
        assert "t0" in line["said"]
        assert heard[0] == (first or line["answer"])


@pytest.fixture(scope="module")
def made(a_place_for_the_lab):
    made = fresh()
    try:
        made.up(cases.chosen((ONE,)))
        yield made
    finally:
        made.down()


@pytest.mark.interop
@pytest.mark.timeout(1200)
@pytest.mark.usefixtures("a_place_for_the_lab")
class TestWorld:
    def ask(self, made, *words):
        done = subprocess.run(
            [*made.as_stranger(), *words], capture_output=True, text=True, timeout=30, check=False
        )
        return done.stdout + done.stderr

    def test_names_resolve_both_ways(self, made):
        home = plan.home(cases.chosen((ONE,))[0])
        assert home.address in self.ask(made, "getent", "ahostsv4", f"{ONE}.lab.example")
        assert f"{ONE}.lab.example" in self.ask(made, "getent", "hosts", home.address_6)

    def test_every_name_under_the_canary_is_the_witness(self, made):
        for name in ("canary.sink.example", "x1.canary.sink.example"):
            said = self.ask(made, "getent", "ahosts", name)
            assert plan.SINK in said
            assert plan.SINK_6 in said

    def test_other_names_do_not_exist(self, made):
        assert "" == self.ask(made, "getent", "hosts", f"{secrets.token_hex(4)}.test")

    def test_no_way_leads_out(self, made):
        script = "import socket; socket.create_connection(('192.0.2.1', 25), 10)"
        assert "unreachable" in self.ask(made, "python3", "-c", script)

    def test_the_stranger_calls_from_its_own_address(self, made):
        script = "import socket, sys; print(socket.create_connection((sys.argv[1], 25), 10).getsockname()[0])"
        home = plan.home(cases.chosen((ONE,))[0])
        assert plan.STRANGER in self.ask(made, "python3", "-c", script, home.address)
        assert plan.STRANGER_6 in self.ask(made, "python3", "-c", script, home.address_6)

    def test_a_server_that_does_not_start_is_noted_with_its_last_words(self, tmp_path, monkeypatch):
        (tmp_path / "broken").mkdir()
        text = (cases.SERVERS / ONE / "case.toml").read_text()
        text = text.replace('start = ["/etc/init.d/postfix start"]', 'start = ["echo no luck; exit 7"]')
        (tmp_path / "broken/case.toml").write_text(text)
        monkeypatch.setattr(cases, "SERVERS", tmp_path)
        made = fresh()
        try:
            made.up([cases.load("broken", 11)])
            assert "no luck" in made.fallen["broken"]
        finally:
            made.down()

    def test_sweeps_away_what_a_killed_owner_left(self):
        script = (
            "import os, signal; from tests.interop.lab import cases, world;"
            "made = world.fresh(); print(made.run_id, flush=True);"
            f"made.up(cases.chosen(('{ONE}',)), owned=True); os.kill(os.getpid(), signal.SIGKILL)"
        )
        command = [sys.executable, "-c", script]
        done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, timeout=600, check=False)
        run_id = done.stdout.strip()
        assert run_id in network.runs(), done.stderr
        sweep()
        assert run_id not in network.runs()

    def test_takes_everything_down(self):
        made = fresh()
        made.up(cases.chosen((ONE,)))
        pids = [pid for name in network.runs()[made.run_id] for pid in network.processes(name)]
        assert len(pids) > 10
        made.down()
        assert made.run_id not in network.runs()
        assert [] == [pid for pid in pids if Path(f"/proc/{pid}/root").exists()]
        assert not made.folder.exists()
        assert [] == list(Path("/etc/netns").glob(f"*{made.run_id}*"))
        assert made.run_id not in Path("/proc/mounts").read_text()
