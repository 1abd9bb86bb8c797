"""``relaywatch audit --prove`` on real servers with real mistakes: open before, closed after, and they still serve.

The servers are those of the lab's roots; each proof has a sandbox of its own, no world of the lab is brought up.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.interop.lab import roots
from tests.interop.lab.cases import all_cases

pytestmark = [pytest.mark.interop, pytest.mark.timeout(600)]

POSTFIX = "compatibility_level = 3.6\nmydestination = $myhostname, shop.example\nmynetworks = 0.0.0.0/0\n"
POSTFIX_CLOSED = "compatibility_level = 3.6\nmydestination = $myhostname\nmynetworks = 127.0.0.0/8\n"
EXIM = "dc_eximconfig_configtype='internet'\ndc_relay_nets='0.0.0.0/0 ; ::0/0'\ndc_use_split_config='false'\n"
SQUID = "http_port 3128\nhttp_access allow all\n"
TINYPROXY = "Port 8888\nTimeout 30\n"
NGINX = """events {}
http {
    server {
        listen 80;
        listen [::]:80;
        resolver 203.0.113.53;
        location / {
            proxy_pass http://$http_host$request_uri;
        }
    }
}
"""


@pytest.fixture
def prove(a_place_for_the_lab, tmp_path):
    def proved(case_name, path, text, *options):
        case = next(case for case in all_cases() if case.name == case_name)
        layers = roots.stack(case).split(":")
        main = tmp_path / path
        given = next((Path(layer, path) for layer in layers if Path(layer, path).exists()), None)
        if (
            given is not None and main.parent.name == "exim4"
        ):  # Debian's configuration is made of its templates
            shutil.copytree(given.parent, main.parent, ignore=shutil.ignore_patterns("passwd.client"))
        main.parent.mkdir(parents=True, exist_ok=True)
        main.write_text(text)
        under = [word for layer in layers for word in ("--prove-root", layer)]
        command = [
            sys.executable,
            "-m",
            "relaywatch.cli",
            "audit",
            str(tmp_path),
            "--prove",
            *under,
            *options,
        ]
        done = subprocess.run(
            [*command, "--format", "json"], capture_output=True, text=True, timeout=400, check=False
        )
        assert done.stdout, done.stderr
        report, proof = map(json.loads, done.stdout.splitlines())
        assert proof["schema"] == "relaywatch.audit-proof/1"
        return done.returncode, report, proof

    return proved


def addresses(proof, stage):
    return {one["client"]: one["gets_through"] for one in proof[stage]["controls"]}


@pytest.mark.parametrize(
    ("case", "path", "text", "proofs"),
    [
        ("postfix-open-mynetworks", "etc/postfix/main.cf", POSTFIX, {"delivered"}),
        ("exim-open-nets", "etc/exim4/update-exim4.conf.conf", EXIM, {"delivered"}),
        ("squid-open", "etc/squid/squid.conf", SQUID, {"canary-reached"}),
        ("tinyproxy-open", "etc/tinyproxy/tinyproxy.conf", TINYPROXY, {"canary-reached"}),
    ],
)
def test_a_mend_is_proven(prove, case, path, text, proofs):
    code, report, proof = prove(case, path, text)
    assert (code, report["verdict"]) == (1, "open")
    assert proof["is_open_before"], proof["before"]
    assert proof["is_closed_after"], proof["after"]
    assert proof["is_control_kept"], proof["after"]
    assert proof["is_proven"]
    (result,) = proof["before"]["stranger"]["results"]
    assert {finding["proof"] for finding in result["findings"]} == proofs
    assert {finding["advisory"] for finding in result["findings"]} & {
        one["advisory"] for one in report["findings"]
    } or report["findings"]
    assert any(addresses(proof, "after").values())


def test_whom_the_owner_allows_is_let_through_before_and_after(prove):
    _, _, proof = prove(
        "nginx-forward-open",
        "etc/nginx/nginx.conf",
        NGINX,
        "--allow",
        "10.1.0.0/16",
        "--allow",
        "fd00:1::/64",
    )
    assert proof["is_proven"], proof
    assert addresses(proof, "after")["10.1.0.9"]
    assert addresses(proof, "after")["fd00:1::9"]


def test_what_is_closed_is_shown_to_be(prove):
    code, report, proof = prove("postfix-open-mynetworks", "etc/postfix/main.cf", POSTFIX_CLOSED)
    assert not proof["is_open_before"]
    assert proof["before"]["stranger"]["is_refused"]
    assert proof["after"] is None
    assert not proof["is_proven"]
    assert report["verdict"] != "open"
    assert code != 1


def test_a_server_that_does_not_start_says_why(prove):
    code, _, proof = prove("squid-open", "etc/squid/squid.conf", "http_port 3128\nhttp_access allow nobody\n")
    assert "nobody" in proof["before"]["trouble"]
    assert (proof["is_open_before"], proof["before"]["stranger"]) == (False, None)
    assert code in {3, 4}


def test_what_is_not_installed_in_the_root_is_told(prove):
    _, _, proof = prove("tinyproxy-open", "etc/squid/squid.conf", SQUID)
    assert "squid: not installed in this root" in proof["before"]["trouble"]
