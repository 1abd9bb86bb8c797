"""``audit --prove`` as it is told; what the sandbox does is held by tests/runs and tests/interop."""

import io
import json
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path
from typing import NamedTuple

import jsonschema
import pytest
from click.testing import CliRunner

from relaywatch.cli import auditing_prover
from relaywatch.cli.language import words_in
from relaywatch.cli.main import relaywatch
from relaywatch.cli.main import run as command_line
from relaywatch.cli.reports.auditing_proof import print_proof
from relaywatch.cli.reports.auditing_proof_lines import proof_line, proof_schema
from relaywatch.cli.reports.layout import console_for
from relaywatch.model.errors import UsageError
from relaywatch.model.evidence import Attempt, AttemptStatus, Direction, TranscriptEntry, Weakness
from relaywatch.model.places import Door, Endpoint, Family, Transport
from relaywatch.model.results import FindingLine, ResultLine
from relaywatch.model.verdicts import Judgement, Reason, Vantage, Verdict
from relaywatch.model.verdicts import Proof as HowFar
from relaywatch.runs.proofs import Proof, SignedInAt, Stage, Tried
from relaywatch.runs.reporting import TargetReport
from relaywatch.runs.sandbox import Listener
from relaywatch.script.signing_in import SigningIn

ROOT = Path(__file__).parents[2]
PORT = Listener(address=ip_address("0.0.0.0"), port=8888)
FINDING = FindingLine(
    advisory="RW-2001",
    probe="http-connect",
    case="address-23",
    port=8888,
    transport=Transport.PLAIN,
    family=Family.IPV4,
    via=None,
    proof=HowFar.CANARY_REACHED,
    exit_address=None,
    reply="HTTP/1.0 200 \x1b[31m",
)


def tried(client, verdict, *reasons):
    line = ResultLine(
        target="198.51.100.10",
        name=None,
        weakness=Weakness.OPEN_PROXY,
        verdict=verdict,
        reasons=(Reason.TIMEOUT,) if verdict is Verdict.INCONCLUSIVE else reasons,
        software=None,
        findings=(FINDING,) if verdict is Verdict.OPEN else (),
        doors=(),
        attempts=1,
        began=datetime(2026, 11, 24, tzinfo=UTC),
        seconds=1.0,
        vantage=Vantage.OUTSIDE,
    )
    attempt = Attempt(
        probe="http-connect",
        weakness=Weakness.OPEN_PROXY,
        endpoint=Endpoint(ip_address("198.51.100.10"), 8888),
        door=Door(port=8888, transport=Transport.PLAIN, family=Family.IPV4),
        status=AttemptStatus.COMPLETED,
        transcript=(TranscriptEntry(0.1, Direction.CLIENT, b"CONNECT 203.0.113.25:23 HTTP/1.1\r\n"),),
    )
    judgement = Judgement(weakness=Weakness.OPEN_PROXY, verdict=verdict)
    return Tried(client=client, reports=(TargetReport(line=line, judgement=judgement, attempts=(attempt,)),))


def stage(stranger, control=Verdict.OPEN, *reasons):
    return Stage(
        listeners=(PORT,),
        stranger=tried("203.0.113.10", stranger),
        controls=(tried("127.0.0.1", control, *reasons),),
    )


PROOF = Proof(
    server="tinyproxy", path="tinyproxy.conf", before=stage(Verdict.OPEN), after=stage(Verdict.CLOSED)
)
DOWN = Stage(trouble="the server doesn't start\nbungled line 3\x1b[2J")


def shown(proof, **options):
    out = io.StringIO()
    print_proof(console_for(out), proof, words_in("en"), **options)
    return out.getvalue()


def test_a_proof_is_told_with_what_was_seen():
    said = shown(PROOF)
    assert "PROVEN  tinyproxy: open before, closed after" in said
    assert "a stranger, 203.0.113.10: gets through" in said
    assert "a stranger, 203.0.113.10: is refused" in said
    assert "for control, 127.0.0.1: gets through" in said
    assert "RW-2001  address-23, 8888 ipv4" in said
    assert "\x1b" not in said
    assert "CONNECT" not in said
    assert "CONNECT 203.0.113.25:23" in shown(PROOF, with_transcript=True)


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"before": DOWN}, "could not be started"),
        ({"before": stage(Verdict.CLOSED)}, "nothing of the stranger's"),
        ({"after": None}, "no mend to try"),
        ({"after": DOWN}, "mended it doesn't start"),
        ({"after": stage(Verdict.INCONCLUSIVE)}, "doesn't refuse everything"),
        (
            {"after": stage(Verdict.CLOSED, Verdict.CLOSED)},
            "its own machine: name your networks with --allow",
        ),
        (
            {"after": stage(Verdict.CLOSED, Verdict.CLOSED), "allowed": frozenset({"127.0.0.1"})},
            "no longer serves the networks",
        ),
        ({"after": stage(Verdict.CLOSED, Verdict.CLOSED, Reason.AUTH_REQUIRED)}, "a password or a key"),
    ],
)
def test_what_is_no_proof_says_why_not(changed, why):
    said = shown(replace(PROOF, **changed))
    assert "NOT PROVEN" in said
    assert why in said
    assert "\x1b" not in said


def test_the_proof_s_line_has_the_results_of_both_checks():
    line = json.loads(proof_line(PROOF))
    assert line["schema"] == "relaywatch.audit-proof/1"
    assert line["is_proven"] is True
    assert line["before"]["stranger"]["results"][0]["verdict"] == "open"
    assert line["after"]["listeners"] == ["0.0.0.0 8888"]
    assert json.loads(proof_line(replace(PROOF, before=DOWN, after=None)))["before"]["trouble"]


@pytest.mark.parametrize("changed", [{}, {"after": None}, {"before": DOWN, "after": None}])
def test_every_line_is_as_its_committed_schema_says(changed):
    committed = json.loads((ROOT / "docs/reference/audit-proof.schema.json").read_text())
    assert committed == proof_schema(), "make schema"
    assert json.loads(CliRunner().invoke(relaywatch, ["schema", "audit-proof"]).stdout) == committed
    line = json.loads(proof_line(replace(PROOF, **changed)))
    jsonschema.validate(line, committed)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({key: line[key] for key in line if key != "is_proven"}, committed)


def signed_in(outcome, said=""):
    return SignedInAt(port=8888, protocol="http", outcome=outcome, said=said)


SIGNED_IN = replace(
    PROOF,
    has_login=True,
    before=replace(PROOF.before, signed_in=(signed_in(SigningIn.THROUGH, "HTTP/1.1 200 \x1b[2J"),)),
    after=replace(PROOF.after, signed_in=(signed_in(SigningIn.THROUGH),)),
)


def test_users_who_sign_in_are_told():
    said = shown(SIGNED_IN)
    assert "with credentials, http at 8888: gets through" in said
    assert "\x1b" not in said
    lost = replace(SIGNED_IN, after=PROOF.after)
    assert "no longer serves users who sign in" in shown(lost)
    refused = replace(PROOF.before, signed_in=(signed_in(SigningIn.REFUSED),))
    assert "refused as it is" in shown(replace(SIGNED_IN, before=refused, after=PROOF.after))
    line = json.loads(proof_line(SIGNED_IN))
    assert (line["signed_in"], line["is_proven"]) == ("kept", True)
    assert line["after"]["signed_in"] == [
        {"port": 8888, "protocol": "http", "outcome": "through", "said": ""}
    ]
    jsonschema.validate(line, proof_schema())


def test_that_nobody_signed_in_is_told():
    offered = replace(PROOF, before=replace(PROOF.before, signed_in=(signed_in(SigningIn.OFFERED),)))
    assert "--login FILE names credentials of yours" in shown(offered)
    assert "would be taken" in shown(offered)
    assert "--login" not in shown(PROOF)
    turn = replace(PROOF, after=stage(Verdict.CLOSED, Verdict.CLOSED, Reason.AUTH_REQUIRED))
    assert "--login" not in shown(turn)  # by a protocol in which we don't sign in
    assert json.loads(proof_line(offered))["signed_in"] == "untried"


def test_that_the_credentials_were_of_no_use_is_told():
    told = "The credentials of --login were not tried"
    assert told in shown(replace(PROOF, has_login=True))
    assert told not in shown(SIGNED_IN)
    assert told not in shown(replace(PROOF, before=DOWN, after=None, has_login=True))


class Done(NamedTuple):
    exit_code: int
    output: str


@pytest.fixture
def audit(tmp_path, monkeypatch):
    monkeypatch.setattr(auditing_prover, "require", lambda: None)

    def run(proof, *options, name="tinyproxy.conf", text="Port 8888\nAllow 0.0.0.0/0\n"):
        monkeypatch.setattr(auditing_prover, "prove", lambda *_, **__: proof)
        (tmp_path / name).write_text(text)
        octets = io.BytesIO()
        out = io.TextIOWrapper(octets, encoding="utf-8", write_through=True)
        with redirect_stdout(out), redirect_stderr(out):
            code = command_line(["audit", str(tmp_path / name), *options])
        return Done(code, octets.getvalue().decode()), tmp_path / name

    return run


def test_what_got_through_counts_whatever_the_audit_says(audit):
    done, _ = audit(replace(PROOF, after=None), "--prove", text="Port 8888\nAllow 127.0.0.1\n")
    assert done.exit_code == 1
    assert "NOT PROVEN" in done.output


def test_only_what_is_proven_is_written(audit):
    done, path = audit(replace(PROOF, after=stage(Verdict.OPEN)), "--prove", "--fix", "--write")
    assert "the mend isn't proven" in done.output
    assert path.read_text() == "Port 8888\nAllow 0.0.0.0/0\n"
    done, path = audit(PROOF, "--prove", "--fix", "--write")
    assert path.read_text() != "Port 8888\nAllow 0.0.0.0/0\n"
    assert done.exit_code == 0


def test_json_has_a_second_line(audit):
    done, _ = audit(PROOF, "--prove", "--format", "json")
    schemas = [json.loads(line)["schema"] for line in done.output.splitlines() if line.startswith("{")]
    assert schemas == ["relaywatch.audit/1", "relaywatch.audit-proof/1"]


def test_a_server_that_can_t_be_started_is_told(audit):
    done, _ = audit(PROOF, "--prove", name="3proxy.cfg", text="auth iponly\ndeny *\nsocks -p1080\n")
    assert "3proxy: can't be started in the sandbox." in done.output
    assert done.exit_code == 4


def test_credentials_come_out_of_a_file_that_is_one_s_own(audit, tmp_path):
    path = tmp_path / "login"
    path.write_text("alice:open sesame\n")
    path.chmod(0o644)
    done, _ = audit(SIGNED_IN, "--prove", "--login", str(path))
    assert done.exit_code == 2
    assert "chmod 600" in done.output
    path.chmod(0o600)
    done, _ = audit(SIGNED_IN, "--prove", "--login", str(path))
    assert done.exit_code == 1
    assert "sesame" not in done.output


def test_its_options_need_it_and_it_needs_root(audit, monkeypatch):
    done, _ = audit(PROOF, "--transcript")
    assert done.exit_code == 2
    done, _ = audit(PROOF, "--login", __file__)
    assert done.exit_code == 2

    def refuse():
        raise UsageError("--prove ... takes Linux, and root")

    monkeypatch.setattr(auditing_prover, "require", refuse)
    done, _ = audit(PROOF, "--prove")
    assert done.exit_code == 2
