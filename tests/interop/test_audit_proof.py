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
from tests.interop.proof_cases import BROKEN, NGINX, SQUID
from tests.interop.proof_logins import PASSWORD, SIGN_INS, USER

from relaywatch.runs.starting import STARTED
from relaywatch.sink.certificate import make_certificate, write_certificate

pytestmark = [pytest.mark.interop, pytest.mark.timeout(600)]

POSTFIX_CLOSED = "compatibility_level = 3.6\nmydestination = $myhostname\nmynetworks = 127.0.0.0/8\n"


@pytest.fixture
def prove(a_place_for_the_lab, tmp_path):
    """Prove what lies in ``/etc`` of a copied system; ``more`` is the machine's own, in its root and in the copy."""

    def proved(case_name, path, text, *options, server=None, more=()):
        case = next(case for case in all_cases() if case.name == case_name)
        layers = roots.stack(case).split(":")
        machine, main = tmp_path / "machine", tmp_path / "copy/etc" / path
        given = next((place for layer in layers if (place := Path(layer, "etc", path)).exists()), None)
        if given is not None and main.parent.name == "exim4":  # Debian's is made of its templates
            shutil.copytree(given.parent, main.parent, ignore=shutil.ignore_patterns("passwd.client"))
        main.parent.mkdir(parents=True, exist_ok=True)
        main.write_text(text)
        (machine / "etc").mkdir(parents=True)
        for name, content in dict(more).items():
            for etc in (machine / "etc", tmp_path / "copy/etc"):
                (etc / name).parent.mkdir(parents=True, exist_ok=True)
                (etc / name).write_bytes(content if isinstance(content, bytes) else content.encode())
                (etc / name).chmod(0o644)
        under = [word for layer in (machine, *layers) for word in ("--prove-root", str(layer))]
        known = ["--server", server] if server else []
        command = [sys.executable, "-m", "relaywatch.cli", "audit", str(tmp_path / "copy"), "--prove"]
        done = subprocess.run(
            [*command, *known, *under, *options, "--format", "json"],
            capture_output=True,
            text=True,
            timeout=500,
            check=False,
        )
        assert done.stdout, done.stderr
        assert PASSWORD not in done.stdout + done.stderr
        report, proof = map(json.loads, done.stdout.splitlines())
        assert proof["schema"] == "relaywatch.audit-proof/1"
        return done.returncode, report, proof

    return proved


def addresses(proof, stage):
    return {one["client"]: one["gets_through"] for one in proof[stage]["controls"]}


@pytest.mark.parametrize(
    "broken",
    [pytest.param(one, id=str(one), marks=() if one.is_quick else (pytest.mark.long,)) for one in BROKEN],
)
def test_a_mend_is_proven(prove, broken):
    options = [word for network in broken.allowed for word in ("--allow", network)]
    code, report, proof = prove(
        broken.root, broken.main, broken.text, *options, server=broken.server, more=broken.more
    )
    assert code == 1
    assert report["verdict"] in {"open", "open-if"}
    assert proof["is_open_before"], proof["before"]
    assert proof["is_closed_after"], proof["after"]
    assert proof["diff"].startswith("--- ")
    assert (proof["is_proven"], proof["is_control_kept"]) == (broken.control == "kept",) * 2, proof["after"]
    assert proof["is_left_to_credentials"] == (broken.control == "credentials")
    (result,) = proof["before"]["stranger"]["results"]
    found = result["findings"]
    assert {finding["proof"] for finding in found} == {broken.proof}
    assert {finding["advisory"] for finding in found} & {one["advisory"] for one in report["findings"]} or (
        broken.server in DIFFERENT_WAYS
    ), (found, report["findings"])
    if broken.control == "kept":
        meant = addresses(proof, "before")
        kept = {client for client, gets_through in addresses(proof, "after").items() if gets_through}
        assert kept
        assert not broken.allowed or kept >= {"10.1.0.9"} & meant.keys()


DIFFERENT_WAYS = {"apache", "caddy", "haproxy", "nginx", "privoxy", "sniproxy", "tinyproxy"}
"""A hole of theirs is found by another advisory from outside: a request's form decides which."""


def test_every_server_that_can_be_started_is_proven_here():
    assert {one.server for one in BROKEN} == STARTED


def test_whom_the_owner_allows_is_let_through_before_and_after(prove):
    _, _, proof = prove(
        "nginx-forward-open",
        "nginx/nginx.conf",
        NGINX,
        "--allow",
        "10.1.0.0/16",
        "--allow",
        "fd00:1::/64",
    )
    assert proof["is_proven"], proof
    assert addresses(proof, "after")["10.1.0.9"]
    assert addresses(proof, "after")["fd00:1::9"]


@pytest.mark.long
def test_what_is_closed_is_shown_to_be(prove):
    code, report, proof = prove("postfix-open-mynetworks", "postfix/main.cf", POSTFIX_CLOSED)
    assert not proof["is_open_before"]
    assert proof["before"]["stranger"]["is_refused"]
    assert proof["after"] is None
    assert not proof["is_proven"]
    assert report["verdict"] != "open"
    assert code != 1


def test_a_server_that_does_not_start_says_why(prove):
    code, _, proof = prove("squid-open", "squid/squid.conf", "http_port 3128\nhttp_access allow nobody\n")
    assert "nobody" in proof["before"]["trouble"]
    assert (proof["is_open_before"], proof["before"]["stranger"]) == (False, None)
    assert code in {3, 4}


def test_what_is_not_installed_in_the_root_is_told(prove):
    _, _, proof = prove("tinyproxy-open", "squid/squid.conf", SQUID)
    assert "squid: not installed in this root" in proof["before"]["trouble"]


# --- users who sign in -----------------------------------------------------------------------------


@pytest.fixture
def login(tmp_path):
    path = tmp_path / "login"

    def written(password=PASSWORD):
        path.write_text(f"{USER}:{password}\n")
        path.chmod(0o600)
        return "--login", str(path)

    return written


@pytest.mark.parametrize(
    "case",
    [pytest.param(one, id=str(one), marks=() if one.is_quick else (pytest.mark.long,)) for one in SIGN_INS],
)
def test_users_who_sign_in_are_a_control(prove, login, tmp_path, case):
    more = dict(case.more)
    if case.needs_certificate:
        write_certificate(tmp_path / "own.pem", make_certificate(["server.example"]))
        more["own.pem"] = (tmp_path / "own.pem").read_bytes()
    options = [word for network in case.allowed for word in ("--allow", network)]
    _, _, proof = prove(case.root, case.main, case.text, *login(), *options, server=case.server, more=more)
    stages = {name: proof[name]["signed_in"] for name in ("before", "after")}
    assert {one["protocol"] for one in stages["before"]} == {case.protocol}
    assert {one["outcome"] for one in stages["before"]} == {"through"}, stages
    assert proof["signed_in"] == case.signed_in, stages
    assert proof["is_open_before"]
    assert proof["is_closed_after"], proof["after"]
    assert proof["is_proven"] is case.is_proven


@pytest.mark.long
def test_a_wrong_password_proves_nothing(prove, login):
    exim = next(one for one in SIGN_INS if one.server == "exim")
    _, _, proof = prove(
        exim.root, exim.main, exim.text, *login("close sesame"), server="exim", more=exim.more
    )
    (before,) = proof["before"]["signed_in"]
    assert before["outcome"] == "refused"
    assert before["said"].startswith("535")
    assert (proof["signed_in"], proof["is_proven"]) == ("refused", False)


@pytest.mark.long
def test_without_credentials_it_is_told_that_there_would_be_some(prove):
    exim = next(one for one in SIGN_INS if one.server == "exim")
    _, _, proof = prove(exim.root, exim.main, exim.text, server="exim", more=exim.more)
    assert (proof["signed_in"], proof["is_proven"]) == ("untried", True)
    (before,) = proof["before"]["signed_in"]
    assert before["outcome"] == "offered"
