import subprocess
from dataclasses import replace
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path, PurePosixPath

import dns.message
import dns.rcode
import dns.rdatatype
import pytest

from relaywatch.audit.addresses import AddressSet
from relaywatch.audit.server import load_servers
from relaywatch.audit.setup import Setup
from relaywatch.audit.trees import FolderTree, TextTree
from relaywatch.model.errors import UsageError
from relaywatch.model.evidence import Weakness
from relaywatch.model.results import ResultLine
from relaywatch.model.verdicts import Judgement, Reason, Vantage, Verdict
from relaywatch.runs import proving, sandbox
from relaywatch.runs.placing import Placing
from relaywatch.runs.proof_strangers import strangers_for
from relaywatch.runs.proofs import Proof, SignedInAt, SignedInUsers, Stage, Tried
from relaywatch.runs.reporting import TargetReport
from relaywatch.runs.sandbox import Listener
from relaywatch.runs.sandbox_names import Names
from relaywatch.runs.starting import SPEAKS, STARTED, starting
from relaywatch.script.signing_in import SigningIn


def tried(client, *verdicts, cut=False, reasons=()):
    lines = [
        ResultLine(
            target="198.51.100.10",
            name=None,
            weakness=Weakness.OPEN_RELAY,
            verdict=verdict,
            reasons=reasons,
            software=None,
            findings=(),
            doors=(),
            attempts=1,
            began=datetime(2026, 11, 24, tzinfo=UTC),
            seconds=1.0,
            vantage=Vantage.OUTSIDE,
        )
        for verdict in verdicts
    ]
    judgement = Judgement(weakness=Weakness.OPEN_RELAY, verdict=Verdict.CLOSED)
    reports = tuple(TargetReport(line=line, judgement=judgement) for line in lines)
    return Tried(client=client, reports=reports, is_cut_short=cut)


BEFORE = Stage(
    stranger=tried("203.0.113.10", Verdict.OPEN),
    controls=(tried("127.0.0.1", Verdict.OPEN), tried("10.1.0.9", Verdict.OPEN)),
)
AFTER = Stage(
    stranger=tried("203.0.113.10", Verdict.CLOSED, Verdict.ABSENT),
    controls=(tried("127.0.0.1", Verdict.OPEN), tried("10.1.0.9", Verdict.CLOSED)),
)
PROOF = Proof(server="postfix", path="main.cf", before=BEFORE, after=AFTER, allowed=frozenset({"127.0.0.1"}))


def test_open_before_closed_after_and_the_control_kept_is_a_proof():
    assert PROOF.holds


@pytest.mark.parametrize(
    "stranger", [tried("203.0.113.10", Verdict.ABSENT), Tried(client="203.0.113.10", is_out_of_reach=True)]
)
def test_whom_nobody_listens_to_is_refused(stranger):
    assert replace(PROOF, after=replace(AFTER, stranger=stranger)).holds


def test_its_own_machine_is_one_client_by_whatever_address():
    before, after = (
        replace(tried(client, Verdict.OPEN), is_own_machine=True) for client in ("::1", "127.0.0.1")
    )
    proof = replace(
        PROOF,
        before=replace(BEFORE, controls=(before,)),
        after=replace(AFTER, controls=(after,)),
        allowed=frozenset(),
    )
    assert proof.holds


def test_that_only_credentials_are_left_is_no_proof_and_is_told():
    asked = tried("127.0.0.1", Verdict.CLOSED, reasons=(Reason.AUTH_REQUIRED,))
    proof = replace(PROOF, after=replace(AFTER, controls=(asked,)))
    assert proof.is_left_to_credentials
    assert not proof.holds
    assert not PROOF.is_left_to_credentials
    assert not replace(PROOF, after=None).is_left_to_credentials


@pytest.mark.parametrize(
    "changed",
    [
        {"before": replace(BEFORE, stranger=tried("203.0.113.10", Verdict.ACCEPTING))},
        {"after": replace(AFTER, stranger=tried("203.0.113.10", Verdict.INCONCLUSIVE))},
        {"after": replace(AFTER, stranger=tried("203.0.113.10"))},
        {"after": replace(AFTER, stranger=tried("203.0.113.10", Verdict.CLOSED, cut=True))},
        {"after": replace(AFTER, controls=())},
        {"after": Stage(trouble="it doesn't start")},
        {"after": None},
        {"allowed": frozenset({"10.1.0.9"})},
        {"allowed": frozenset()},
        {"before": replace(BEFORE, controls=())},
    ],
)
def test_anything_less_is_none(changed):
    assert not replace(PROOF, **changed).holds


# --- users who sign in -----------------------------------------------------------------------------

THROUGH, REFUSED, OFFERED, NOWHERE = (
    SigningIn.THROUGH,
    SigningIn.REFUSED,
    SigningIn.OFFERED,
    SigningIn.NOT_OFFERED,
)


def signing_in(before, after, *, has_login=True):
    def stage(one, outcomes):
        at = [SignedInAt(port=port, protocol="smtp", outcome=outcome) for port, outcome in outcomes.items()]
        return replace(one, signed_in=tuple(at))

    return replace(PROOF, before=stage(BEFORE, before), after=stage(AFTER, after), has_login=has_login)


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ({25: THROUGH, 587: THROUGH}, {25: THROUGH, 587: THROUGH}, "kept"),
        ({25: THROUGH, 587: THROUGH}, {25: THROUGH, 587: REFUSED}, "lost"),
        ({25: THROUGH, 587: THROUGH}, {25: THROUGH}, "lost"),
        ({25: NOWHERE}, {25: THROUGH}, "kept"),
        ({25: REFUSED}, {25: REFUSED}, "refused"),
        ({25: NOWHERE}, {25: REFUSED}, "refused"),
        ({25: NOWHERE}, {}, "not-offered"),
    ],
)
def test_what_the_mend_does_to_users_who_sign_in(before, after, expected):
    proof = signing_in(before, after)
    assert proof.signed_in == expected
    assert proof.holds is (expected in {"kept", "not-offered"})


def test_without_credentials_it_is_told_whether_there_could_be_some():
    assert signing_in({25: OFFERED}, {25: OFFERED}, has_login=False).signed_in is SignedInUsers.UNTRIED
    assert signing_in({25: NOWHERE}, {1080: OFFERED}, has_login=False).signed_in is SignedInUsers.UNTRIED
    assert signing_in({25: NOWHERE}, {}, has_login=False).signed_in is SignedInUsers.NOT_OFFERED
    assert signing_in({25: OFFERED}, {}, has_login=False).holds


@pytest.mark.parametrize("after", [None, Stage(trouble="it doesn't start")])
def test_without_a_mend_nothing_is_known_of_it(after):
    assert replace(signing_in({25: THROUGH}, {}), after=after).signed_in is SignedInUsers.UNTRIED


def test_a_protocol_in_which_we_do_not_sign_in_is_untried():
    asked = tried("127.0.0.1", Verdict.CLOSED, reasons=(Reason.AUTH_REQUIRED,))
    proof = replace(PROOF, after=replace(AFTER, controls=(asked,)), has_login=True)
    assert proof.signed_in is SignedInUsers.UNTRIED


def test_where_only_credentials_are_left_the_owner_s_are_his_client():
    asked = tried("127.0.0.1", Verdict.CLOSED, reasons=(Reason.AUTH_REQUIRED,))
    kept = signing_in({25: THROUGH}, {25: THROUGH})
    left = replace(kept, after=replace(kept.after, controls=(asked,)))
    assert not left.holds  # a network that he allows is lost
    assert replace(left, allowed=frozenset()).holds
    lost = replace(left, allowed=frozenset(), after=replace(left.after, signed_in=()))
    assert not lost.holds


def test_a_wildcard_is_at_both_addresses():
    listeners = [Listener(address=ip_address(place), port=25) for place in ("::", "0.0.0.0", "192.0.2.7")]
    found = [str(one.address) for one in proving._doors(listeners)]
    assert found == ["198.51.100.10", "192.0.2.7", "2001:db8:51::10"]


# --- names -----------------------------------------------------------------------------------------


def answer(names, name, kind):
    return dns.message.from_wire(names.answer(dns.message.make_query(name, kind).to_wire()))


def test_names_lead_where_they_are_told_and_back():
    names = Names()
    names.add_host("server.example", (ip_address("198.51.100.10"), ip_address("2001:db8:51::10")))
    names.add_exchanges("shop.example", {"server.example": 10})
    assert answer(names, "server.example", "A").answer[0][0].address == "198.51.100.10"
    assert answer(names, "server.example", "AAAA").answer[0][0].address == "2001:db8:51::10"
    assert str(answer(names, "10.100.51.198.in-addr.arpa", "PTR").answer[0][0]) == "server.example."
    assert str(answer(names, "shop.example", "MX").answer[0][0]) == "10 server.example."


def test_what_is_unknown_does_not_exist_and_what_is_known_may_lack_a_type():
    names = Names()
    names.add_host("server.example", (ip_address("198.51.100.10"),), has_reverse=False)
    assert answer(names, "elsewhere.example", "A").rcode() == dns.rcode.NXDOMAIN
    none = answer(names, "server.example", "MX")
    assert (none.rcode(), none.answer) == (dns.rcode.NOERROR, [])


@pytest.mark.parametrize("octets", [b"", b"\0" * 11, b"\xff" * 60])
def test_what_is_no_query_gets_no_answer(octets):
    assert Names().answer(octets) is None


def test_an_answer_gets_no_answer():
    response = dns.message.make_response(dns.message.make_query("a.example", dns.rdatatype.A))
    assert Names().answer(response.to_wire()) is None


# --- placing ---------------------------------------------------------------------------------------


def placing(files, main, server="postfix", tree=None):
    known = load_servers()[server]
    given = tree or TextTree(files)
    setup = Setup(tree=given, main=PurePosixPath(main), home=PurePosixPath(known.home))
    return Placing(setup, known, given)


def test_a_copied_folder_is_laid_where_the_server_looks():
    files = {"/main.cf": "mynetworks = 127.0.0.0/8\n", "/master.cf": "", "/sub/table": "a OK\n"}
    found = placing(files, "/main.cf").files(is_installed=False)
    assert set(map(str, found)) == {
        "/etc/postfix/main.cf",
        "/etc/postfix/master.cf",
        "/etc/postfix/sub/table",
    }


def test_a_copied_system_keeps_its_paths():
    files = {"/copy/etc/postfix/main.cf": "mynetworks = 127.0.0.0/8\n", "/copy/etc/postfix/x": ""}
    one = placing(files, "/copy/etc/postfix/main.cf")
    assert set(map(str, one.files(is_installed=False))) == {"/etc/postfix/main.cf", "/etc/postfix/x"}
    assert str(one.of(PurePosixPath("/copy/var/lib/table"))) == "/var/lib/table"


def test_what_an_include_names_above_everything_is_laid_below_the_root():
    for main in ("/etc/squid/squid.conf", "/squid.conf"):
        given = {main: "include ../../../../../tmp/more.conf\n", "/tmp/more.conf": "http_port 1\n"}
        laid = placing(given, main, "squid").files(is_installed=False)
        assert {"/etc/squid/squid.conf", "/tmp/more.conf"} <= set(map(str, laid))
        assert not any(".." in path.parts for path in laid)


def test_of_a_whole_etc_only_what_was_read_is_laid():
    files = {"/danted.conf": "", "/passwd": "root:x:0:0\n"}
    assert set(map(str, placing(files, "/danted.conf", "dante").files(is_installed=False))) == {
        "/etc/danted.conf"
    }


def test_of_this_machine_s_own_only_what_the_mend_changes_is_laid(tmp_path):
    (tmp_path / "main.cf").write_text("mynetworks = 0.0.0.0/0\n")
    tree = FolderTree(Path("/"), PurePosixPath(tmp_path))
    main = str(tmp_path / "main.cf")
    assert placing({}, main, tree=tree).files(is_installed=True) == {}
    mended = TextTree({main: "mynetworks = 127.0.0.0/8\n"}, tree)
    (found,) = placing({}, main, tree=mended).files(is_installed=True).values()
    assert found[0] == b"mynetworks = 127.0.0.0/8\n"


def test_modes_are_kept_but_for_others_writing(tmp_path):
    (tmp_path / "main.cf").write_text("")
    (tmp_path / "run.sh").write_text("")
    (tmp_path / "run.sh").chmod(0o777)
    (tmp_path / "key.pem").write_text("")
    (tmp_path / "key.pem").chmod(0o600)
    found = placing({}, "/main.cf", tree=FolderTree(tmp_path)).files(is_installed=False)
    modes = {path.name: mode for path, (_, mode) in found.items()}
    assert (modes["run.sh"], modes["key.pem"]) == (0o755, 0o600)


# --- starting and clients --------------------------------------------------------------------------


def test_every_server_that_can_be_started_is_one_of_ours():
    assert STARTED & set(load_servers())
    assert proving.can_prove(load_servers()["postfix"])


def test_a_main_file_s_name_is_no_shell():
    text = starting("squid", "/etc/a'; reboot")
    said = subprocess.run(
        ["sh", "-c", text.partition("\n")[0] + '; printf %s "$MAIN"'],
        capture_output=True,
        text=True,
        check=True,
    )
    assert said.stdout == "/etc/a'; reboot"


def test_a_command_line_s_words_are_no_shell_either():
    text = starting("microsocks", "/x", [("-i", "::", ";", "reboot")])
    assert "\nmicrosocks -i :: ';' reboot & " in text


def test_what_a_server_can_speak_is_all_that_is_asked_of_it():
    proxy = frozenset({Weakness.OPEN_PROXY})
    assert set(proving._probes(proxy, SPEAKS["coturn"], takes_datagrams=True)) == {"turn-tcp", "turn-udp"}
    assert proving._probes(proxy, SPEAKS["openssh"], takes_datagrams=False) == ("ssh-forward",)
    assert "http3-connect" not in proving._probes(proxy, None, takes_datagrams=False)
    assert set(SPEAKS) <= STARTED


# --- who the stranger is ---------------------------------------------------------------------------


def strangers(text, allowed=()):
    known = load_servers()["squid"]
    setup = Setup(
        tree=TextTree({"/squid.conf": text}),
        main=PurePosixPath("/squid.conf"),
        home=PurePosixPath(known.home),
        allowed=AddressSet.of(allowed),
    )
    return tuple(map(str, strangers_for(known, setup)))


def test_the_usual_stranger_comes_from_documentation_s_networks():
    assert strangers("http_port 1\nhttp_access allow all\n") == ("203.0.113.10", "2001:db8:113::10")


@pytest.mark.parametrize(
    ("networks", "expected"),
    [
        ("203.0.113.0/24", ("192.0.2.10", "2001:db8:113::10")),
        ("203.0.113.10", ("192.0.2.10", "2001:db8:113::10")),
        ("203.0.113.0/24 192.0.2.0/24 2001:db8::/32", ("198.18.113.10", "3fff:113::10")),
        ("203.0.0.0/8", ("203.0.113.10", "2001:db8:113::10")),
    ],
)
def test_whom_the_configuration_knows_is_no_stranger(networks, expected):
    text = f"http_port 1\nacl ours src {networks}\nhttp_access allow ours\nhttp_access deny all\n"
    assert strangers(text) == expected


def test_he_comes_from_where_a_mistake_lets_somebody_in():
    text = "http_port 1\nacl ours src 100.0.0.0/6\nhttp_access allow ours\nhttp_access deny all\n"
    assert strangers(text) == ("100.0.0.9", "2001:db8:113::10")
    assert strangers(text, ["100.0.0.0/8"])[0] == "101.0.0.9"


def test_whom_somebody_allows_is_no_stranger():
    assert strangers("http_port 1\nhttp_access allow all\n", ["203.0.113.0/24"])[0] == "192.0.2.10"


def test_a_client_comes_out_of_each_network_that_is_allowed():
    allowed = AddressSet.of(["10.1.0.0/16", "192.0.2.7/32", "127.0.0.0/8", "fd00::/64"])
    assert list(map(str, proving._clients(allowed))) == ["10.1.0.9", "192.0.2.7", "fd00::9"]


def test_the_stranger_must_be_one():
    with pytest.raises(UsageError, match=r"203\.0\.113\.10"):
        list(proving._clients(AddressSet.of(["203.0.113.0/24"])))


def test_without_root_it_is_refused(monkeypatch):
    monkeypatch.setattr(sandbox.os, "geteuid", lambda: 1000)
    with pytest.raises(UsageError, match="root"):
        sandbox.require()


def test_without_its_tools_it_is_refused(monkeypatch):
    monkeypatch.setattr(sandbox.os, "geteuid", lambda: 0)
    monkeypatch.setattr(sandbox.shutil, "which", lambda _: None)
    monkeypatch.setattr(sandbox.sys, "platform", "linux")
    with pytest.raises(UsageError, match="unshare"):
        sandbox.require()


@pytest.mark.parametrize(
    ("places", "expected"),
    [
        (["0.0.0.0", "::"], ["127.0.0.1", "::1"]),
        (["::"], ["::1", "127.0.0.1"]),
        (["127.0.0.1"], ["127.0.0.1"]),
        (["192.0.2.7"], ["192.0.2.7"]),
        ([], []),
    ],
)
def test_the_server_s_own_machine_is_where_it_listens_for_itself(places, expected):
    listeners = [Listener(address=ip_address(place), port=25) for place in places]
    assert list(map(str, proving._local(listeners))) == expected


def test_own_domains_are_names_only():
    assert list(proving._domain("shop.example")) == ["shop.example"]
    assert not [*proving._domain("192.0.2.1"), *proving._domain("[192.0.2.1]"), *proving._domain("localhost")]
