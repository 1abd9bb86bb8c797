"""Compose files: what is published, what hides strangers' addresses, and what the images make of it."""

from __future__ import annotations

import textwrap

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relaywatch.audit.auditing import report
from relaywatch.audit.containers import Composition, read_composition
from relaywatch.audit.findings import AuditVerdict, GapKind
from relaywatch.audit.servers.compose import SERVER
from relaywatch.audit.servers.compose.fronts import Engine, front_ends, read_engine
from relaywatch.audit.setup import FrontEnd, Setup
from relaywatch.audit.trees import NotReadError

from .auditing import audited, mended_texts, mending, seen, setup_of

MAIN = "/srv/compose.yaml"
PERMISSIVE = "mynetworks = 127.0.0.0/8 172.16.0.0/12\nsmtpd_relay_restrictions = permit_mynetworks reject_unauth_destination\ncompatibility_level = 3.6\n"
MASTER = "smtp inet n - y - - smtpd\n"


def files(text: str, **more: str) -> dict[str, str]:
    return {
        MAIN: textwrap.dedent(text),
        **{f"/srv/{name.replace('__', '/')}": other for name, other in more.items()},
    }


def read(text: str, others: dict[str, str] | None = None) -> tuple[Composition, Setup]:
    setup = setup_of(SERVER, {MAIN: textwrap.dedent(text), **(others or {})})
    composition = read_composition(setup)
    assert composition is not None
    return composition, setup


def fronts(text: str, name: str = "mail", others: dict[str, str] | None = None) -> list[FrontEnd]:
    composition, setup = read(text, others)
    return list(front_ends(composition.containers[name], composition, read_engine(setup), setup))


# --- reading ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("port", "host", "ports", "targets", "protocol"),
    [
        ('"25"', "", (), (25,), "tcp"),
        ("25", "", (), (25,), "tcp"),
        ('"25:2525"', "", ("25",), (2525,), "tcp"),
        ('"127.0.0.1:25:2525"', "127.0.0.1", ("25",), (2525,), "tcp"),
        ('"127.0.0.1::25"', "127.0.0.1", (), (25,), "tcp"),
        ('"[::1]:25:25"', "::1", ("25",), (25,), "tcp"),
        ('"1080:1080/udp"', "", ("1080",), (1080,), "udp"),
        ('"8000-8002:9000-9002"', "", ("8000", "8001", "8002"), (9000, 9001, 9002), "tcp"),
        ('"${PORT:-2525}:25"', "", ("2525",), (25,), "tcp"),
        ('"${SMTP}:25"', "", ("2500",), (25,), "tcp"),
        (
            "{target: 25, published: 2525, host_ip: 192.0.2.1, protocol: tcp}",
            "192.0.2.1",
            ("2525",),
            (25,),
            "tcp",
        ),
    ],
)
def test_ports_in_every_form(port, host, ports, targets, protocol):
    composition, setup = read(f"services: {{mail: {{ports: [{port}]}}}}", {"/srv/.env": "SMTP=2500\n"})
    (published,) = composition.containers["mail"].published
    assert (published.host, published.ports, published.targets) == (host, ports, targets)
    assert published.protocol == protocol
    assert not setup.gaps


@pytest.mark.parametrize("port", ['"smtp"', '"1:2:3:4:5"', "{target: x}", "{published: 25}", '"99-1:99-1"'])
def test_ports_that_cannot_be_read_are_gaps(port):
    composition, setup = read(f"services: {{mail: {{ports: [{port}]}}}}")
    assert composition.containers["mail"].published == ()
    assert [gap.kind for gap in setup.gaps] == [GapKind.SYNTAX]


def test_all_that_stands_in_a_service():
    composition, setup = read(
        """
        x-all: &all
          environment: {A: "1", B: "two"}
        services:
          mail:
            <<: *all
            image: boky/postfix
            network_mode: host
            deploy: {replicas: 2}
            env_file: [mail.env, {path: more.env}]
            volumes: ["./postfix:/etc/postfix:ro", "data:/var", "/etc/ssl:/etc/ssl", {type: bind, source: ./x, target: /x}, {type: volume, source: v, target: /v}]
          other:
            networks: {inner: {aliases: [x]}, outer: null}
            environment: ["C=3", "D", "E=$$x"]
            env_file: none.env
        networks:
          inner: {enable_ipv6: "${SIX:-true}", ipam: {config: [{subnet: 172.30.0.0/24, gateway: 172.30.0.9}, {subnet: "fd00::/64"}]}}
          outer:
        """,
        {"/srv/mail.env": "# remark\nexport F='f f'\nA=0\n", "/srv/more.env": 'G="g"\nnothing\n'},
    )
    mail, other = composition.containers["mail"], composition.containers["other"]
    assert {name: setting.value for name, setting in mail.environment.items()} == {
        "F": "f f",
        "A": "1",
        "G": "g",
        "B": "two",
    }
    assert str(mail.environment["F"].position) == "/srv/mail.env:2"
    assert (mail.image, mail.network_mode, mail.is_deployed, mail.networks) == (
        "boky/postfix",
        "host",
        True,
        ("default",),
    )
    assert [(mount.source, str(mount.target)) for mount in mail.mounts] == [
        ("./postfix", "/etc/postfix"),
        ("/etc/ssl", "/etc/ssl"),
        ("./x", "/x"),
    ]
    assert other.networks == ("inner", "outer")
    assert {name: setting.value for name, setting in other.environment.items()} == {"C": "3", "E": "$x"}
    inner = composition.networks["inner"]
    assert (inner.has_ipv6, inner.subnets, inner.gateways) == (
        True,
        ("172.30.0.0/24", "fd00::/64"),
        ("172.30.0.9",),
    )
    assert {gap.subject for gap in setup.gaps} == {"D", "none.env"}
    assert {gap.subject for gap in setup.gaps_that_decide()} == {"none.env"}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("${SET}", "set"), ("$SET", "set"), ("${SET:-x}", "set"), ("${SET:+y}", "y"), ("${NONE:+y}", ""),
        ("${NONE:-x}", "x"), ("${NONE-x}", "x"), ("${EMPTY:-x}", "x"), ("${EMPTY-x}", ""), ("${EMPTY}", ""),
        ("${NONE:-${SET}}", "set"), ("${NONE:-}", ""), ("$$SET", "$SET"), ("a${SET}b", "asetb"),
    ],
)  # fmt: skip
def test_variables_are_put_in(text, value):
    composition, setup = read(f'services: {{mail: {{image: "{text}"}}}}', {"/srv/.env": "SET=set\nEMPTY=\n"})
    assert composition.containers["mail"].image == value
    assert not setup.gaps


def test_a_variable_that_nobody_says_is_a_gap():
    _, setup = read("services:\n  mail:\n    image: ${NONE}\n")
    assert [(gap.kind, gap.subject, gap.position.line) for gap in setup.gaps] == [
        (GapKind.EXTERNAL, "${NONE}", 3)
    ]


def test_a_variable_that_cannot_decide_is_set_aside():
    _, setup = read(
        """
        services:
          mail:
            ports: ["${NONE}:25"]
            environment: {TZ: "${NONE}", A: 1}
          shop: {image: "x/shop:${TAG}", environment: [TZ]}
        """
    )
    assert len(setup.gaps) == 4
    assert not setup.gaps_that_decide()
    _, setup = read("services: {mail: {environment: [POSTFIX_mynetworks]}}")
    assert setup.gaps_that_decide()


def test_mailcow_is_read_as_it_lies_there():
    text = """
        services:
          postfix-mailcow:
            image: ghcr.io/mailcow/postfix:1.80
            volumes: ["./data/conf/postfix:/opt/postfix/conf:z"]
            environment: ["TZ=${TZ}"]
            ports: ["${SMTP_PORT:-25}:25"]
            networks: {mailcow-network: {aliases: [postfix]}}
        networks:
          mailcow-network:
            enable_ipv6: ${ENABLE_IPV6:-true}
            ipam: {config: [{subnet: "${IPV4_NETWORK:-172.22.1}.0/24"}]}
        """
    conf = {"data__conf__postfix__main.cf": PERMISSIVE, "data__conf__postfix__master.cf": MASTER}
    assert audited(SERVER, files(text, **conf)).verdict is AuditVerdict.CLOSED
    told = audited(SERVER, files(text, **conf, **{"mailcow.conf": "ENABLE_IPV6=false\n"}))
    assert seen(told) == [("open-if", "pf-net-gateway", 1)]


def test_an_override_file_is_merged():
    composition, _ = read(
        'services: {mail: {image: one, ports: ["25:25"], environment: {A: "1", B: "1"}}}',
        {
            "/srv/compose.override.yml": 'services: {mail: {image: two, ports: ["26:26"], environment: {A: "2"}, deploy: {}}, more: {}}'
        },
    )
    mail = composition.containers["mail"]
    assert mail.image == "two"
    assert [one.targets for one in mail.published] == [(25,), (26,)]
    assert {name: setting.value for name, setting in mail.environment.items()} == {"A": "2", "B": "1"}
    assert "more" in composition.containers


@pytest.mark.parametrize(
    "text", ["services: {mail: {extends: {file: x}}}", "include: [x]", "services: {mail: {build: .}}"]
)
def test_what_stands_elsewhere_is_a_gap(text):
    _, setup = read(text)
    assert [gap.kind for gap in setup.gaps] == [GapKind.NOT_EVALUATED]


# --- what hides a stranger's address --------------------------------------------------------------------


def test_ipv6_on_a_network_without_it_comes_from_the_gateway():
    (front,) = fronts('services: {mail: {image: x, ports: ["25:25"]}}')
    assert front.name == "IPv6 and Docker's userland proxy"
    assert front.position is not None
    assert {"172.17.0.1/32", "172.31.0.1/32", "192.168.240.1/32"} <= {
        str(one) for one in front.addresses.networks(4)
    }


@pytest.mark.parametrize(
    ("network", "gateway"),
    [
        ("{ipam: {config: [{subnet: 172.22.1.0/24}]}}", "172.22.1.1/32"),
        ("{ipam: {config: [{subnet: 172.22.1.0/24, gateway: 172.22.1.254}]}}", "172.22.1.254/32"),
        ("{ipam: {config: [{subnet: nonsense}]}}", "0.0.0.0/32"),
    ],
)
def test_the_gateway_is_the_networks(network, gateway):
    (front,) = fronts(f'{{services: {{mail: {{ports: ["25:25"]}}}}, networks: {{default: {network}}}}}')
    assert [str(one) for one in front.addresses.networks(4)] == [gateway]


@pytest.mark.parametrize(
    "text",
    [
        'services: {mail: {ports: ["0.0.0.0:25:25"]}}',
        'services: {mail: {ports: ["127.0.0.1:25:25"]}}',
        'services: {mail: {ports: ["10.0.0.1:25:25"]}}',
        'services: {mail: {ports: ["25:25"], network_mode: host}}',
        '{services: {mail: {ports: ["25:25"]}}, networks: {default: {enable_ipv6: true}}}',
        "services: {mail: {image: x}}",
        "services: {mail: {ports: [{target: 25, published: 25, mode: host, host_ip: 0.0.0.0}], deploy: {}}}",
    ],
)
def test_where_nothing_hides_it(text):
    assert fronts(text) == []


def test_the_engine_may_have_no_userland_proxy_and_other_pools():
    text = 'services: {mail: {ports: ["25:25"]}}'
    assert fronts(text, others={"/etc/docker/daemon.json": '{"userland-proxy": false}'}) == []
    pools = (
        '{"default-address-pools": [{"base": "10.9.0.0/16", "size": 18}, {"base": "fd00::/48", "size": 64}]}'
    )
    (front,) = fronts(text, others={"/etc/docker/daemon.json": pools})
    assert [str(one) for one in front.addresses.networks(4)] == [f"10.9.{n}.1/32" for n in (0, 64, 128, 192)]


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"default-address-pools": [1]}', '{"default-address-pools": 1}', "null"]
)
def test_an_engine_that_cannot_be_read_is_a_gap(text):
    setup = setup_of(SERVER, {MAIN: "", "/etc/docker/daemon.json": text})
    assert read_engine(setup) == Engine()
    assert [gap.kind for gap in setup.gaps] == [GapKind.SYNTAX]


@pytest.mark.parametrize(
    "port", ["{target: 25, published: 25, mode: ingress, host_ip: 0.0.0.0}", '"0.0.0.0:25:25"']
)
def test_a_swarms_ingress_hides_it(port):
    (front,) = fronts(f"services: {{mail: {{ports: [{port}], deploy: {{replicas: 2}}}}}}")
    assert front.name == "Docker Swarm's ingress network"


HAPROXY = """
services:
  front:
    image: haproxy:3
    ports: ["0.0.0.0:25:25"]
    volumes: ["./haproxy.cfg:/usr/local/etc/haproxy/haproxy.cfg:ro"]
  mail:
    image: debian
    volumes: ["./postfix:/etc/postfix"]
"""


@pytest.mark.parametrize(
    ("line", "is_hidden"),
    [
        ("    server one mail:25", True),
        ("    server one mail:25 check send-proxy-v2", False),
        ("    server one mail:25 send-proxy", False),
        ("    server one other:25", False),
    ],
)
def test_a_proxy_before_it_hides_it_unless_it_says_whose_it_is(line, is_hidden):
    others = {"/srv/haproxy.cfg": f"listen smtp\n    bind :25\n{line}\n"}
    found = fronts(HAPROXY, others=others)
    assert [str(front.position) for front in found] == ["/srv/haproxy.cfg:3"] * is_hidden


@pytest.mark.parametrize(("more", "is_hidden"), [("", True), ("proxy_protocol on;", False)])
def test_an_nginx_stream_before_it_too(more, is_hidden):
    text = HAPROXY.replace("haproxy:3", "nginx").replace(
        "./haproxy.cfg:/usr/local/etc/haproxy/haproxy.cfg:ro", "./nginx:/etc/nginx"
    )
    others = {
        "/srv/nginx/nginx.conf": f"stream {{ server {{ listen 25;\nproxy_pass mail:25;\n{more}\n}} }}\n"
    }
    assert [str(front.position) for front in fronts(text, others=others)] == [
        "/srv/nginx/nginx.conf:2"
    ] * is_hidden


# --- what it comes to -------------------------------------------------------------------------------------


def compose(image: str, environment: str = "", port: str = "25:25") -> str:
    more = textwrap.indent(textwrap.dedent(environment).strip(), "      ")
    return f'services:\n  mail:\n    image: {image}\n    ports: ["{port}"]\n' + (
        f"    environment:\n{more}\n" if more else ""
    )


@pytest.mark.parametrize(
    ("text", "verdict", "found"),
    [
        (compose("mwader/postfix-relay"), "open", [("open", "pf-net-all", 3)]),
        (compose("mwader/postfix-relay", port="0.0.0.0:25:25"), "open", [("open", "pf-net-all", 3)]),
        (compose("mwader/postfix-relay", port="127.0.0.1:25:25"), "closed", []),
        (compose("mwader/postfix-relay", "POSTFIX_mynetworks: 127.0.0.0/8"), "closed", []),
        (compose("mwader/postfix-relay:1", "- POSTFIX_mynetworks=172.16.0.0/12"), "open-if", [("open-if", "pf-net-gateway", 6)]),
        (compose("mwader/postfix-relay", "- POSTFIX_mynetworks=172.16.0.0/12", "0.0.0.0:25:25"), "closed", []),
        (compose("boky/postfix", "ALLOW_EMPTY_SENDER_DOMAINS: 1"), "open-if", [("open-if", "pf-net-gateway", 3)]),
        (compose("boky/postfix", "MYNETWORKS: 127.0.0.0/8\nALLOWED_SENDER_DOMAINS: own.example"), "closed", []),
        (compose("boky/postfix", "POSTFIX_mynetworks: 0.0.0.0/0\nALLOW_EMPTY_SENDER_DOMAINS: 1"), "open", [("open", "pf-net-all", 6)]),
        (compose("ghcr.io/docker-mailserver/docker-mailserver:14"), "closed", []),
        (compose("mailserver/docker-mailserver", "PERMIT_DOCKER: none"), "closed", []),
        (compose("mailserver/docker-mailserver", "PERMIT_DOCKER: network"), "open-if", [("open-if", "pf-net-gateway", 6)]),
        (compose("mailserver/docker-mailserver", "PERMIT_DOCKER: host"), "open-if", [("open-if", "pf-net-gateway", 6)]),
        (compose("mailserver/docker-mailserver", "PERMIT_DOCKER: connected-networks"), "open-if", [("open-if", "pf-net-gateway", 6)]),
        (compose("juanluisbaptiste/postfix"), "open-if", [("open-if", "pf-net-gateway", 3)]),
        (compose("example/unknown-postfix"), "unknown", [("unknown", "not-evaluated", 0)]),
        (compose("example/shop", port="80:80"), "closed", []),
        (compose("serjs/go-socks5-proxy", port="1081:1081"), "unknown", [("unknown", "not-evaluated", 0)]),
        ("services: {}\n", "unknown", []),
        ("colour: blue\n", "unknown", []),
        ("services: {a: 3}\n", "unknown", []),
    ],
)  # fmt: skip
def test_what_an_image_comes_to(text, verdict, found):
    told = audited(SERVER, {MAIN: text})
    assert (told.verdict.value, seen(told)) == (verdict, found)


@pytest.mark.parametrize(
    ("more", "others", "verdict"),
    [
        ("command: [postfix, -o, mynetworks=0.0.0.0/0]", {}, "unknown"),
        ("entrypoint: /own.sh", {}, "unknown"),
        ("configs: [main]", {}, "unknown"),
        ("command: start", {}, "closed"),
        ("volumes: ['./config:/tmp/docker-mailserver']", {}, "unknown"),
        ("volumes: ['./config:/tmp/docker-mailserver']", {"/srv/config/postfix-main.cf": "x"}, "unknown"),
        ("volumes: ['./config:/tmp/docker-mailserver']", {"/srv/config/postfix-accounts.cf": "x"}, "closed"),
        ("volumes: ['./mail:/var/mail']", {}, "closed"),
    ],
)
def test_what_changes_an_image_and_is_not_followed_is_unknown(more, others, verdict):
    text = compose("mailserver/docker-mailserver") + f"    {more}\n"
    told = audited(SERVER, {MAIN: text, **others})
    assert told.verdict.value == verdict
    assert bool(told.gaps) is (verdict == "unknown")


def test_senders_domains_are_a_claim():
    told = audited(
        SERVER, {MAIN: compose("boky/postfix", "ALLOWED_SENDER_DOMAINS: own.example other.example")}
    )
    (finding, *_) = told.findings
    assert told.verdict is AuditVerdict.OPEN_IF
    assert "MAIL FROM:<anybody@own.example>" in finding.witness
    assert "through IPv6 and Docker's userland proxy" in finding.witness


def test_an_unknown_image_in_the_hosts_network_is_unknown():
    assert (
        audited(SERVER, {MAIN: "services: {m: {image: some/squid, network_mode: host}}"}).verdict
        is AuditVerdict.UNKNOWN
    )
    assert (
        audited(SERVER, {MAIN: "services: {m: {image: some/shop, network_mode: host}}"}).verdict
        is AuditVerdict.CLOSED
    )


MOUNTED = 'services:\n  mail:\n    image: debian\n    ports: ["25:25"]\n    volumes: ["./postfix:/etc/postfix:ro"]\n'


def test_a_mounted_configuration_is_audited_with_the_gateway_in_front():
    others = {"/srv/postfix/main.cf": PERMISSIVE, "/srv/postfix/master.cf": MASTER}
    told = audited(SERVER, {MAIN: MOUNTED, **others})
    (finding,) = told.findings
    assert (finding.verdict, finding.rule) == (AuditVerdict.OPEN_IF, "pf-net-gateway")
    assert (finding.file, finding.line) == ("/srv/postfix/main.cf", 1)
    assert finding.service == "mail: smtp/inet"
    assert "/srv/postfix/main.cf" in told.files
    private = audited(SERVER, {MAIN: MOUNTED.replace('"25:25"', '"127.0.0.1:25:25"'), **others})
    assert private.verdict is AuditVerdict.CLOSED


def test_a_single_mounted_file_is_audited_too():
    text = MOUNTED.replace(
        "./postfix:/etc/postfix:ro", "/srv/tiny.conf:/etc/tinyproxy/tinyproxy.conf"
    ).replace("25:25", "8888:8888")
    told = audited(SERVER, {MAIN: text, "/srv/tiny.conf": "Port 8888\n"})
    assert seen(told) == [("open", "tp-no-allow", 0)]


def test_what_is_behind_a_proxy_without_proxy_protocol():
    others = {
        "/srv/haproxy.cfg": "listen smtp\n    bind :25\n    mode tcp\n    server one mail:25\n",
        "/srv/postfix/main.cf": PERMISSIVE,
        "/srv/postfix/master.cf": MASTER,
    }
    told = audited(SERVER, {MAIN: HAPROXY, **others})
    (finding,) = [one for one in told.findings if one.rule == "pf-net-gateway"]
    assert "front without PROXY protocol" in finding.witness


@pytest.mark.parametrize(
    "text", ["services: [", "a: *none", "\x00binary", "- x", "services: 3", "services: {a: 3}"]
)
def test_what_is_no_compose_file_is_unknown_or_empty_and_never_raises(text):
    told = audited(SERVER, {MAIN: text})
    assert told.verdict is AuditVerdict.UNKNOWN
    assert told.gaps
    assert not told.findings


# --- mending --------------------------------------------------------------------------------------------------

OWN = '"127.0.0.0/8, [::1]/128, 192.0.2.0/24"'


@pytest.mark.parametrize(
    ("text", "old", "new"),
    [
        (compose("mwader/postfix-relay"), "relay\n", f"relay\n    environment:\n      POSTFIX_mynetworks: {OWN}\n"),
        (
            compose("mwader/postfix-relay", "TZ: x"),
            "      TZ: x",
            f"      POSTFIX_mynetworks: {OWN}\n      TZ: x",
        ),
        (
            compose("mwader/postfix-relay", "- TZ=x"),
            "      - TZ=x",
            f'      - "POSTFIX_mynetworks={OWN[1:]}\n      - TZ=x',
        ),
        (compose("mwader/postfix-relay", "POSTFIX_mynetworks: 0.0.0.0/0 # all"), "0.0.0.0/0 # all", f"{OWN} # all"),
        (compose("mwader/postfix-relay", "- 'POSTFIX_mynetworks=0.0.0.0/0'"), "0.0.0.0/0", OWN.strip('"')),
        (compose("boky/postfix", "MYNETWORKS: '0.0.0.0/0'\nALLOW_EMPTY_SENDER_DOMAINS: 1"), "'0.0.0.0/0'", OWN.replace('"', "'")),
        (compose("mailserver/docker-mailserver", "- PERMIT_DOCKER=network"), "network", "none"),
    ],
)  # fmt: skip
def test_the_variable_is_set_in_the_files_own_style(text, old, new):
    assert mended_texts(SERVER, {MAIN: text}, allowed=["192.0.2.0/24"]) == {MAIN: text.replace(old, new)}


@pytest.mark.parametrize(
    "text", [compose("mwader/postfix-relay"), compose("boky/postfix", "ALLOWED_SENDER_DOMAINS: own.example")]
)
def test_once_mended_it_is_closed_and_the_owner_let_in(text):
    outcome = mending(SERVER, {MAIN: text}, allowed=["192.0.2.0/24"])
    assert outcome.report.verdict is AuditVerdict.CLOSED
    (after,) = outcome.after.values()
    assert "192.0.2.0/24" in after.text


def test_a_mounted_file_is_mended_as_its_server_does():
    others = {"/srv/tiny.conf": "Port 8888\n"}
    text = MOUNTED.replace("./postfix:/etc/postfix:ro", "./tiny.conf:/etc/tinyproxy/tinyproxy.conf").replace(
        "25:25", "8888:8888"
    )
    assert mended_texts(SERVER, {MAIN: text, **others}) == {
        "/srv/tiny.conf": "Port 8888\nAllow 127.0.0.1\nAllow ::1\n"
    }


def test_a_hole_of_no_image_is_left():
    outcome = mending(SERVER, {MAIN: 'services: {mail: {image: x/postfix, ports: ["25:25"]}}'})
    assert (outcome.diff, outcome.report.verdict) == ("", AuditVerdict.UNKNOWN)
    assert list(SERVER.mend(setup_of(SERVER, {MAIN: ""}), outcome.report.findings[0])) == []


def test_a_folder_of_mounts_that_cannot_be_listed_is_a_gap(monkeypatch):
    setup = setup_of(SERVER, {MAIN: MOUNTED})

    def refused(_path):
        raise NotReadError("Permission denied")

    monkeypatch.setattr(setup.tree, "folder", refused)
    told = report(SERVER, setup)
    assert told.verdict is AuditVerdict.UNKNOWN
    assert "./postfix: Permission denied" in {gap.subject for gap in told.gaps}


@pytest.mark.parametrize(
    "text",
    [
        compose("juanluisbaptiste/postfix"),
        compose("mwader/postfix-relay", "POSTFIX_mynetworks: |\n  0.0.0.0/0"),
        'services: {mail: {image: mwader/postfix-relay, ports: ["25:25"], environment: {POSTFIX_mynetworks: 0.0.0.0/0}}}',
    ],
)
def test_what_it_cannot_set_is_left(text):
    outcome = mending(SERVER, {MAIN: text})
    assert outcome.diff == ""
    assert outcome.left


lines = st.sampled_from(
    ["image: mwader/postfix-relay", "image: boky/postfix", 'ports: ["25:25"]', "ports: [25]", "network_mode: host",
     "environment: {POSTFIX_mynetworks: 0.0.0.0/0}", "environment: [A, B=1]", "volumes: [./x:/etc/postfix]", "deploy: {}",
     "networks: [a]", "env_file: x", "ports: {}", "image: [1]", "volumes: 3"]
)  # fmt: skip


@given(st.lists(lines, max_size=6, unique_by=lambda line: line.split(":")[0]))
def test_any_service_is_audited(drawn):
    text = "services:\n  mail:\n" + "".join(f"    {line}\n" for line in drawn) + "    x: 1\n"
    told = report(SERVER, setup_of(SERVER, {MAIN: text}))
    assert told.error is None
    assert mending(SERVER, {MAIN: text}).report.error is None
