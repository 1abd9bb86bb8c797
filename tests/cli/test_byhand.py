import shlex

import pytest
from tests.cli.samples import TOKEN, door, finding, line

from relaywatch.cli.reports import byhand
from relaywatch.model.places import Family, Transport


def envelope(mail="<a@sink.test>", rcpt=f"<{TOKEN}@sink.test>", helo="EHLO checker.test"):
    return f"{helo} / MAIL FROM:{mail} / RCPT TO:{rcpt}"


def options(command):
    return shlex.split(command)


def test_swaks_asks_the_same():
    command = byhand.swaks_command(line(), finding(command=envelope()))

    assert [
        *(
            "swaks",
            "--server",
            "192.0.2.7",
            "--port",
            "25",
            "--ehlo",
            "checker.test",
            "--from",
            "a@sink.test",
        ),
        *("--to", f"{TOKEN}@sink.test", "--quit-after", "RCPT"),
    ] == options(command)


def test_the_null_reverse_path_and_tls():
    starttls = finding(command=envelope(mail="<>"), transport=Transport.STARTTLS, port=587)
    implicit = finding(command=envelope(helo="HELO localhost"), transport=Transport.TLS, port=465)

    assert ["--tls", "<>"] == [
        word for word in options(byhand.swaks_command(line(), starttls)) if word in {"--tls", "<>"}
    ]
    assert {"--tls-on-connect", "--protocol", "SMTP"} <= set(options(byhand.swaks_command(line(), implicit)))


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("192.0.2.7", ["192.0.2.7", "--port", "25", "--ehlo"]),
        ("[2001:db8::7]:2525", ["2001:db8::7", "--port", "25", "--ehlo"]),
        ("2001:db8::7", ["2001:db8::7", "--port", "25", "--ehlo"]),
        ("192.0.2.7:2525", ["192.0.2.7", "--port", "25", "--ehlo"]),
        ("mail.example", ["mail.example", "--port", "25", "-6"]),
        ("mx:example.org", ["example.org", "--port", "25", "-6"]),
    ],
)
def test_the_target_as_commands_want_it(target, expected):
    command = byhand.swaks_command(line(target=target), finding(command=envelope(), family=Family.IPV6))

    assert expected == options(command)[2:6]


def test_a_hostile_name_stays_one_word():
    hostile = envelope(rcpt="<a%b@$(reboot);'\"`x`>")

    assert "a%b@$(reboot);'\"`x`" in options(byhand.swaks_command(line(), finding(command=hostile)))


@pytest.mark.parametrize(
    "rcpt",
    [
        f"{TOKEN}@sink.test",
        f"<<{TOKEN}@sink.test>>",
        '<"x@sink.test, y@sink.test"@l.test>',
        "<a@b> NOTIFY=NEVER",
        "<>",
    ],
)
def test_what_swaks_cannot_send_is_typed(rcpt):
    found = finding(command=envelope(rcpt=rcpt))

    assert byhand.swaks_command(line(), found) is None
    assert [
        "telnet 192.0.2.7 25",
        "EHLO checker.test",
        "MAIL FROM:<a@sink.test>",
        f"RCPT TO:{rcpt}",
        "QUIT",
    ] == (byhand.dialogue_by_hand(line(), found))


def test_typed_over_tls():
    six = line(target="2001:db8::7")
    [starttls, *_] = byhand.dialogue_by_hand(
        six, finding(command=envelope(), transport=Transport.STARTTLS, port=587)
    )
    [implicit, *_] = byhand.dialogue_by_hand(
        line(), finding(command=envelope(), transport=Transport.TLS, port=465)
    )

    assert "openssl s_client -quiet -crlf -starttls smtp -connect '[2001:db8::7]':587" == starttls
    assert "openssl s_client -quiet -crlf -connect 192.0.2.7:465" == implicit


@pytest.mark.parametrize(
    "command", ["", "GET /", "EHLO x / MAIL FROM:<a>", "VRFY x / MAIL FROM:<a> / RCPT TO:<b>"]
)
def test_what_is_no_envelope(command):
    assert byhand.swaks_command(line(), finding(command=command)) is None
    assert byhand.dialogue_by_hand(line(), finding(command=command)) is None


def test_the_commands_that_follow():
    two = line(findings=(finding(port=587), finding(port=25)), doors=(door(port=2626),))
    assert "relaywatch check 192.0.2.7 --port 25 --port 587" == byhand.recheck_command(two)
    assert "relaywatch check 192.0.2.7 --port 2626" == byhand.recheck_command(
        line(doors=(door(), door(port=2626)))
    )
    assert "relaywatch check 2001:db8::7" == byhand.recheck_command(line(target="2001:db8::7"))
    assert "fail2ban-client set JAIL addignoreip 203.0.113.5" == byhand.exempt_command("203.0.113.5")
