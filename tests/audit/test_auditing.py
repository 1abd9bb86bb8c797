"""What is found where, and what a report says of it, by way of the simplest server."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path, PurePosixPath

import pytest

from relaywatch.audit import audit
from relaywatch.audit import auditing as core
from relaywatch.audit.addresses import AddressSet
from relaywatch.audit.auditing import report, setups
from relaywatch.audit.claims import Claim, ClaimKind
from relaywatch.audit.conditions import Way
from relaywatch.audit.findings import AuditVerdict, Cause, Gap, GapKind, Position
from relaywatch.audit.server import Mark, Server, Service, load_servers, no_mend, recognised
from relaywatch.audit.servers.tinyproxy import SERVER
from relaywatch.audit.setup import FrontEnd, Setup
from relaywatch.audit.text import SourceFile
from relaywatch.audit.trees import TextTree
from relaywatch.audit.witness import witness
from relaywatch.model.errors import UsageError
from relaywatch.model.evidence import Weakness

from .auditing import audited, only, seen, setup_of

OPEN = "Port 8888\n"
CLOSED = "Port 8888\nAllow 127.0.0.1\n"


@pytest.mark.parametrize(
    ("text", "verdict", "found"),
    [
        (OPEN, "open", [("open", "tp-no-allow", 0)]),
        (CLOSED, "closed", []),
        ("Deny 192.0.2.0/24\n", "closed", []),
        ("Allow 0.0.0.0/0\n", "open", [("open", "tp-allow-wide", 1)]),
        ("Allow 127.0.0.1\nAllow 8.0.0.0/8\n", "open-if", [("open-if", "tp-allow-wide", 2)]),
        ("Allow .example.net\n", "open-if", [("open-if", "tp-allow-name", 1)]),
        ("Deny 0.0.0.0/0\nAllow 0.0.0.0/0\n", "closed", []),
        ("Deny 0.0.0.0/1\nAllow 0.0.0.0/0\n", "open-if", [("open-if", "tp-allow-wide", 2)]),
        ("Deny 0.0.0.0/1\nDeny 128.0.0.0/2\nDeny 192.0.0.0/2\nAllow 0.0.0.0/0\n", "closed", []),
        ("Allow ::/0\n", "open", [("open", "tp-allow-wide", 1)]),
        ("Allow localhost\n", "open-if", [("open-if", "tp-allow-name", 1)]),
        ("BasicAuth who what\n", "closed", []),
        ('ReverseOnly Yes\nReversePath "/" "http://192.0.2.1/"\n', "closed", []),
        ("Listen 127.0.0.1\n", "closed", []),
        ("Listen localhost\n", "down", [("down", "tp-syntax", 1)]),
        ("Listen 192.0.2.1\nListen 127.0.0.1\n", "open", [("open", "tp-no-allow", 0)]),
        ("Colour blue\n", "down", [("down", "tp-syntax", 1)]),
        ("ConnectPort 443\nConnectPort 25\n", "open", [("open", "tp-no-allow", 0)]),
        ('Filter "/etc/f"\nFilterDefaultDeny Yes\n', "down", [("down", "tp-no-filter", 1)]),
        ("Allow 127.0.0.1\n?!\n", "down", [("down", "tp-syntax", 2)]),
    ],
)
def test_what_a_configuration_comes_to(text, verdict, found):
    told = audited(SERVER, text)
    assert told.verdict.value == verdict
    assert seen(told) == found


def test_a_missing_main_file_is_unknown():
    told = audited(SERVER, {"/etc/tinyproxy/other.conf": ""}, main="/etc/tinyproxy/tinyproxy.conf")
    assert told.verdict is AuditVerdict.UNKNOWN
    assert [gap.kind for gap in told.gaps] == [GapKind.MISSING]


def test_the_owners_networks_are_no_strangers():
    assert audited(SERVER, "Allow 8.0.0.0/8\n", allowed=["8.0.0.0/8"]).verdict is AuditVerdict.CLOSED


def test_who_comes_through_a_gateway_is_let_in_by_a_private_range():
    gateway = FrontEnd(addresses=AddressSet.of(["172.18.0.1"]), name="docker")
    told = audited(SERVER, "Allow 172.16.0.0/12\n", front_ends=[gateway])
    finding = only(told)
    assert finding.verdict is AuditVerdict.OPEN_IF
    assert finding.witness == "through docker; destination elsewhere.example:25 by CONNECT"


NEAR = FrontEnd(addresses=AddressSet.of(["127.0.0.1"]), name="haproxy", reaches_loopback=True)


def test_who_is_in_front_on_the_same_machine_reaches_loopback():
    text = "Listen 127.0.0.1\nAllow 127.0.0.1\n"
    assert audited(SERVER, text, front_ends=[NEAR]).verdict is AuditVerdict.OPEN_IF
    assert (
        audited(SERVER, text, front_ends=[replace(NEAR, reaches_loopback=False)]).verdict
        is AuditVerdict.CLOSED
    )
    elsewhere = replace(NEAR, ports=frozenset({25}))
    assert audited(SERVER, text, front_ends=[elsewhere]).verdict is AuditVerdict.CLOSED


def test_whoever_is_let_in_on_loopback_comes_through_what_is_in_front():
    told = audited(SERVER, "Listen 127.0.0.1\n", front_ends=[NEAR])
    assert only(told).verdict is AuditVerdict.OPEN_IF, "and not open: nobody comes straight"
    assert only(told).witness.startswith("through haproxy; ")
    straight = "Listen 127.0.0.1\nAllow 8.0.0.0/8\n"
    assert audited(SERVER, straight, front_ends=[NEAR]).verdict is AuditVerdict.CLOSED


def test_the_report_says_what_was_read_and_where():
    told = audited(SERVER, OPEN)
    assert told.path == "/etc/tinyproxy/tinyproxy.conf"
    assert told.files == ("/etc/tinyproxy/tinyproxy.conf",)
    assert told.services[0].name == "*:8888"
    assert told.services[0].position == Position("/etc/tinyproxy/tinyproxy.conf", 1)
    assert only(told).position == Position("/etc/tinyproxy/tinyproxy.conf", 0)


# --- reports of servers that we make up ---------------------------------------------------------------


def told_by(*services: Service, gaps: tuple[Gap, ...] = (), **more):
    def evaluate(setup: Setup):
        for gap in gaps:
            setup.note(gap)
        yield from services

    server = replace(SERVER, evaluate=evaluate)
    return report(server, setup_of(server, "", **more))


def service(*ways: Way, name: str = "*:1", **more) -> Service:
    return Service(name=name, weakness=Weakness.OPEN_RELAY, passing=ways, **more)


BROKEN = Cause("Allow all", Position("/f", 3), "tp-allow-wide")
CLAIMED = Way(frozenset({Claim(ClaimKind.HELO, "x")}), causes=(BROKEN,))
GAP = Gap(GapKind.BINARY, "table")


def test_the_worst_listener_is_the_servers_verdict():
    down = service(name="*:2", down=Cause("bad", None, "tp-syntax"))
    closed = service(name="*:3")
    assert told_by(closed).verdict is AuditVerdict.CLOSED
    assert told_by(closed, down).verdict is AuditVerdict.DOWN
    assert told_by(closed, down, service(Way(gaps=frozenset({GAP})))).verdict is AuditVerdict.UNKNOWN
    assert told_by(closed, down, service(CLAIMED)).verdict is AuditVerdict.OPEN_IF
    assert told_by(closed, service(CLAIMED), service(Way(causes=(BROKEN,)))).verdict is AuditVerdict.OPEN


def test_with_something_unread_nothing_is_closed():
    assert told_by(service(), gaps=(GAP,)).verdict is AuditVerdict.UNKNOWN
    assert told_by(service(CLAIMED), gaps=(GAP,)).verdict is AuditVerdict.OPEN_IF
    assert told_by().verdict is AuditVerdict.UNKNOWN


def test_without_a_listener_it_is_unknown_and_the_reason_is_told():
    told = told_by()
    assert [(gap.kind, str(gap.position)) for gap in told.gaps] == [
        (GapKind.NO_LISTENER, "/etc/tinyproxy/tinyproxy.conf")
    ]
    assert [gap.kind for gap in told_by(gaps=(GAP,)).gaps] == [GAP.kind], "another reason is enough"


def test_what_may_decide_is_told_before_what_cannot():
    aside = Gap(GapKind.DIRECTIVE, "colour")

    def evaluate(setup: Setup):
        setup.set_aside(aside)
        setup.note(GAP)
        yield service()

    told = report(replace(SERVER, evaluate=evaluate), setup_of(SERVER, ""))
    assert (told.gaps, told.harmless) == ((GAP, aside), (aside,))


def test_of_two_findings_at_one_line_the_worse_is_told():
    for ways in ((CLAIMED, Way(causes=(BROKEN,))), (Way(causes=(BROKEN,)), CLAIMED)):
        assert seen(told_by(service(*ways))) == [("open", "tp-allow-wide", 3)]


def test_a_way_without_a_rule_is_what_nobody_evaluated():
    assert seen(told_by(service(Way(gaps=frozenset({GAP}))))) == [("unknown", "not-evaluated", 0)]
    first = Cause("first", Position("/f", 1))
    assert seen(told_by(service(Way(causes=(first,))))) == [("open", "not-evaluated", 1)]


def test_many_findings_are_cut_and_the_worst_are_kept():
    ways = [Way(CLAIMED.claims, causes=(replace(BROKEN, position=Position("/f", n)),)) for n in range(1, 40)]
    worst = Way(causes=(replace(BROKEN, position=Position("/f", 40)),))
    told = told_by(service(*ways, worst))
    assert len(told.findings) == 20
    assert told.findings[0].line == 40


def test_a_fault_of_ours_is_told_and_never_closed(caplog):
    def evaluate(setup: Setup):
        setup.note(GAP)
        yield service()
        raise ZeroDivisionError("oh")

    told = report(replace(SERVER, evaluate=evaluate), setup_of(SERVER, ""))
    assert told.verdict is AuditVerdict.UNKNOWN
    assert told.error == "ZeroDivisionError: oh"
    assert told.gaps == (GAP,)
    assert "went wrong" in caplog.text


# --- what is found where ------------------------------------------------------------------------------


def found_in(files: dict[str, str], server: str | None = None) -> list[tuple[str, str]]:
    return [(str(setup.main), known.name) for setup, known in setups(TextTree(files), server)]


def test_servers_are_found_by_name_and_by_what_stands_in_a_file():
    files = {
        "/etc/tinyproxy/tinyproxy.conf": "",
        "/etc/odd.conf": "ConnectPort 443\n",
        "/etc/other.conf": "colour = blue\n",
        "/etc/tinyproxy/README": "ConnectPort 443\n",
    }
    assert found_in(files) == [("/etc/odd.conf", "tinyproxy"), ("/etc/tinyproxy/tinyproxy.conf", "tinyproxy")]


def test_a_named_servers_file_is_any_file_alone_or_one_of_its_marks():
    assert found_in({"/x": ""}, "tinyproxy") == [("/x", "tinyproxy")]
    assert found_in({"/x": "", "/y.conf": ""}, "tinyproxy") == [("/y.conf", "tinyproxy")]
    assert found_in({"/x": ""}) == []
    with pytest.raises(UsageError, match="no server is called 'nonesuch'; there are: "):
        found_in({"/x": ""}, "nonesuch")


def test_an_unreadable_file_is_nobodys_unless_its_name_tells(tmp_path):
    (tmp_path / "folder.conf").mkdir()
    (tmp_path / "broken.conf").symlink_to("nowhere")
    (tmp_path / "tinyproxy.conf").symlink_to("nowhere")
    told = list(audit([tmp_path]))
    assert [one.path for one in told] == [f"{tmp_path}/tinyproxy.conf"]
    assert told[0].verdict is AuditVerdict.UNKNOWN


def test_paths_are_audited_in_their_order(tmp_path):
    for name, text in (("b", OPEN), ("a", CLOSED)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "tinyproxy.conf").write_text(text)
    told = list(audit([tmp_path / "b", str(tmp_path / "a")]))
    assert [one.verdict.value for one in told] == ["open", "closed"]
    (tmp_path / "c").mkdir()
    with pytest.raises(UsageError, match="no configuration of a server that we know"):
        list(audit([tmp_path / "c"]))


def test_every_server_is_well_formed():
    for name, server in load_servers().items():
        assert server.name == name
        assert server.marks
        assert PurePosixPath(server.home).is_absolute()
        assert server.reload is not None


def test_a_server_is_named_for_its_module(tmp_path, monkeypatch):
    package = tmp_path / "odd_servers"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "empty.py").write_text("")
    (package / "right.py").write_text(
        "from relaywatch.audit.server import Server\n"
        "SERVER = Server(name='right', home='/', marks=(), evaluate=lambda setup: ())\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert list(load_servers("odd_servers")) == ["right"]
    (package / "wrong.py").write_text((package / "right.py").read_text())
    load_servers.cache_clear()
    with pytest.raises(LookupError, match="server 'right' in module 'wrong'"):
        load_servers("odd_servers")
    load_servers.cache_clear()


def test_a_file_is_read_only_where_its_name_may_be_ones():
    reads = []

    def read() -> SourceFile:
        reads.append(1)
        return SourceFile.of("f", b"MaxClients 1\n")

    def known(*marks: Mark) -> Server:
        return Server(name="x", home="/", marks=marks, evaluate=lambda _setup: ())

    holding = Mark(name="mail/*.cf", holds=re.compile("^MaxClients", re.MULTILINE))
    other = Mark(name="mail/*.cf", holds=re.compile("^Nothing", re.MULTILINE))
    path = PurePosixPath("/etc/mail/a.cf")
    assert list(recognised([known(other, holding), known(holding), known(other)], path, read))
    assert reads == [1]
    assert not list(recognised([known(holding)], PurePosixPath("/etc/a.cf"), read))
    assert reads == [1]
    assert list(no_mend(setup_of(SERVER, ""), None)) == []  # type: ignore[arg-type]


def test_absolute_links_of_each_copied_machine_are_followed_in_it(tmp_path):
    for name, text in (("a", OPEN), ("b", CLOSED)):
        (tmp_path / name / "etc/tinyproxy").mkdir(parents=True)
        (tmp_path / name / "etc/alternatives").mkdir()
        (tmp_path / name / "etc/alternatives/tp").write_text(text)
        (tmp_path / name / "etc/tinyproxy/tinyproxy.conf").symlink_to("/etc/alternatives/tp")
    assert [told.verdict.value for told in audit([tmp_path])] == ["open", "closed"]
    assert [told.verdict.value for told in audit([tmp_path / "a"])] == ["open"]
    assert [told.verdict.value for told in audit([tmp_path / "a/etc"])] == ["open"]
    assert [told.verdict.value for told in audit([tmp_path / "a/etc/tinyproxy"])] == ["unknown"], (
        "it is outside"
    )


def test_the_vhosts_of_each_copied_machine_are_read_wherever_its_system_keeps_them(tmp_path):
    proxy = "Listen 8080\nProxyRequests On\n<Proxy *>\nRequire all granted\n</Proxy>\n"
    for name, text in (("a", proxy), ("b", "# nothing\n")):
        (tmp_path / name / "etc/httpd/conf").mkdir(parents=True)
        (tmp_path / name / "etc/httpd/conf.d").mkdir()
        (tmp_path / name / "etc/httpd/conf.d/one.conf").write_text(text)
        main = "ServerRoot /etc/httpd\nListen 80\nLoadModule proxy_module m\nLoadModule proxy_http_module m\nIncludeOptional conf.d/*.conf\n"
        (tmp_path / name / "etc/httpd/conf/httpd.conf").write_text(main)
    told = {one.path: one for one in audit([tmp_path]) if one.path.endswith("httpd.conf")}
    first, second = (told[f"{tmp_path}/{name}/etc/httpd/conf/httpd.conf"] for name in ("a", "b"))
    assert first.verdict is AuditVerdict.OPEN
    assert second.verdict is AuditVerdict.CLOSED, [second.gaps, second.files]
    assert f"{tmp_path}/b/etc/httpd/conf.d/one.conf" in second.files


def test_a_home_that_may_not_be_looked_into_is_left_out_and_told(tmp_path, monkeypatch):
    (tmp_path / "usr/local/etc/tinyproxy").mkdir(parents=True)
    (tmp_path / "usr/local/etc/tinyproxy/tinyproxy.conf").write_text(CLOSED)
    stat = Path.stat

    def refused(path, **more):
        if str(path).endswith("etc/squid"):
            raise PermissionError(13, "Permission denied")
        return stat(path, **more)

    monkeypatch.setattr(Path, "stat", refused)
    left_out: dict[str, None] = {}
    found = core.system_setups(root=tmp_path, left_out=left_out)
    assert [(str(setup.main), known.name) for setup, known in found] == [
        ("/usr/local/etc/tinyproxy/tinyproxy.conf", "tinyproxy")
    ]
    assert list(left_out) == [f"{tmp_path}/etc/squid", f"{tmp_path}/usr/local/etc/squid"]


def test_files_of_a_folder_are_looked_at_once(tmp_path: Path, monkeypatch):
    for number in range(50):
        (tmp_path / f"{number}.conf").write_text("x\n")
    calls = []
    files = core.open_tree(tmp_path).files

    class Counted(TextTree):
        def files(self):
            calls.append(1)
            return files()

    list(setups(Counted({}), "tinyproxy"))
    assert calls == [1]


# --- what the stranger says ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("weakness", "claims", "text"),
    [
        ("open-relay", [], "from 198.51.100.7; MAIL FROM:<anybody@anywhere.example>; RCPT TO:<someone@elsewhere.example>"),
        (
            "open-relay",
            [Claim(ClaimKind.HELO, "own.example"), Claim(ClaimKind.REVERSE_PATH, "a@own.example")],
            "from 198.51.100.7; EHLO own.example; MAIL FROM:<a@own.example>; RCPT TO:<someone@elsewhere.example>",
        ),
        ("open-relay", [Claim(ClaimKind.HELO, "x", negated=True)], "from 198.51.100.7; MAIL FROM:<anybody@anywhere.example>; RCPT TO:<someone@elsewhere.example>"),
        ("open-proxy", [Claim(ClaimKind.CLIENT_ADDRESS, "8.0.0.0/8")], "from 8.0.0.0/8; destination elsewhere.example:443"),
        ("open-proxy", [Claim(ClaimKind.FRONT_END, "docker")], "through docker; destination elsewhere.example:443"),
        ("open-proxy", [Claim(ClaimKind.DESTINATION, "elsewhere.example:25")], "from 198.51.100.7; destination elsewhere.example:25"),
        ("open-proxy", [Claim(ClaimKind.FIELD, "X-Forwarded-For: 127.0.0.1")], "from 198.51.100.7; X-Forwarded-For: 127.0.0.1; destination elsewhere.example:443"),
    ],
)  # fmt: skip
def test_the_witness_is_the_dialogue(weakness, claims, text):
    assert witness(Weakness(weakness), claims) == text
