from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.sink.loopback import KEY, token

from relaywatch.sink.dialogue import COMMAND_LIMIT, BeginTLS, Dialogue, House, Say, Take
from relaywatch.sink.recipients import admit_recipients

T = token().encode()
ENVELOPE = b"EHLO relay.test\r\nMAIL FROM:<s@relay.test>\r\nRCPT TO:<" + T + b"@sink.test>\r\nDATA\r\n"


def house(refused=None, **changes):
    options = {
        "domain": "sink.test",
        "notice": "Ask abuse@sink.test.",
        "admit": admit_recipients(KEY, people_at=("sink.test",)),
        "refused": refused or (lambda: None),
    }
    return House(**options | changes)


def play(*pieces, dialogue=None, **changes):
    """Feed the pieces one by one and take all steps; messages count as taken."""
    dialogue = dialogue or Dialogue(house(**changes))
    steps = []
    for piece in pieces:
        dialogue.feed(piece)
        while (step := dialogue.step()) is not None:
            steps.append(step)
            if isinstance(step, BeginTLS):
                dialogue.secured()
            if isinstance(step, Say) and step.hang_up:
                return steps
    return steps


def codes(steps):
    return [int(step.reply[:3]) if isinstance(step, Say | BeginTLS) else "take" for step in steps]


def messages(steps):
    return [step.message for step in steps if isinstance(step, Take)]


def test_a_whole_dialogue():
    steps = play(ENVELOPE, b"Subject: x\r\n\r\ntext\r\n.\r\nQUIT\r\n")

    assert [250, 250, 250, 354, "take", 221] == codes(steps)
    (message,) = messages(steps)
    assert "relay.test" == message.helo
    assert "s@relay.test" == message.reverse_path
    assert [(f"{token()}@sink.test", token())] == [(r.forward_path, r.token) for r in message.recipients]
    assert b"Subject: x\r\n\r\ntext\r\n" == message.data
    assert steps[-1].hang_up


def test_the_greeting_names_the_sink_and_the_contact():
    greeting = Dialogue(house()).greeting

    assert greeting.startswith(b"220 sink.test ESMTP ")
    assert b"abuse@sink.test" in greeting


def test_what_ehlo_offers():
    (step,) = play(b"EHLO a\r\n", message_limit=5000)

    assert step.reply == (
        b"250-sink.test\r\n250-PIPELINING\r\n250-SIZE 5000\r\n250-8BITMIME\r\n"
        b"250-ENHANCEDSTATUSCODES\r\n250 STARTTLS\r\n"
    )


def test_starttls_is_offered_once_and_forgets_everything():
    steps = play(
        b"EHLO a\r\nMAIL FROM:<s@relay.test>\r\nSTARTTLS\r\nRCPT TO:<" + T + b"@injected.test>\r\n",
        b"EHLO b\r\n",
        b"RCPT TO:<" + T + b"@sink.test>\r\n",
        b"STARTTLS\r\n",
    )

    assert [250, 250, 220, 250, 503, 503] == codes(steps)
    assert b"STARTTLS" not in steps[3].reply


def test_starttls_may_be_left_out():
    steps = play(b"EHLO a\r\nSTARTTLS\r\nSTARTTLS now\r\n", offers_tls=False)

    assert [250, 502, 502] == codes(steps)
    assert b"STARTTLS" not in steps[0].reply
    assert [503] == codes(play(b"STARTTLS now\r\n"))


@pytest.mark.parametrize(
    ("path", "parameters"),
    [
        (b"<>", b""),
        (b"<>", b" AUTH=<>"),
        (b"<>", b" AUTH=<> SIZE=100 BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=x XFORWARD=y"),
        (b" <>", b" "),
        (b"<s@relay.test>", b"SIZE=1"),
        (b"s@relay.test", b" SIZE=1"),
        (b'<"a>b"@relay.test>', b" SIZE=1"),
        (b"<@a.test,@b.test:s@relay.test>", b""),
        (b"<\xff\xfe@relay.test>", b""),
        (b'<"unbalanced@relay.test>', b""),
        (b"<s@relay.test", b""),
    ],
)
def test_every_reverse_path_is_taken(path, parameters):
    assert [250] == codes(play(b"mail from:" + path + parameters + b"\r\n"))


@pytest.mark.parametrize(
    ("argument", "forward_path"),
    [
        (b"<%s@sink.test>", "{}@sink.test"),
        (b"<%s@sink.test> ORCPT=rfc822;x@b.test NOTIFY=NEVER", "{}@sink.test"),
        (b" <%s@sink.test>", "{}@sink.test"),
        (b"%s@sink.test", "{}@sink.test"),
        (b"<%s@sink.test", "{}@sink.test"),
        (b'<"%s@sink.test"@relay.test>', '"{}@sink.test"@relay.test'),
        (b"<%s@a.test@b.test>", "{}@a.test@b.test"),
        (b"<%s@sink.test.>", "{}@sink.test."),
        (b"<%s>", "{}"),
        (b"<<%s@sink.test>>", "{}@sink.test"),
    ],
)
def test_every_forward_path_with_a_token_is_taken(argument, forward_path):
    steps = play(b"MAIL FROM:<>\r\nRCPT TO:" + argument % T + b"\r\nDATA\r\n.\r\n")

    assert [250, 250, 354, "take"] == codes(steps)
    assert forward_path.format(token()) == messages(steps)[0].recipients[0].forward_path


@pytest.mark.parametrize("argument", [b"<user@sink.test>", b"<>", b"<%s@sink.test>" % (b"a" * 32)])
def test_a_forward_path_without_token_is_refused_and_counted(argument):
    refused = []

    steps = play(b"MAIL FROM:<>\r\nRCPT TO:" + argument + b"\r\nDATA\r\n", refused=lambda: refused.append(1))

    assert [250, 550, 503] == codes(steps)
    assert steps[1].reply.startswith(b"550 5.1.1 ")
    assert b"abuse@sink.test" in steps[1].reply
    assert [1] == refused


@pytest.mark.parametrize(
    ("octets", "expected"),
    [
        (b"RCPT TO:<x>\r\n", [503]),
        (b"DATA\r\n", [503]),
        (b"MAIL FROM:<>\r\nMAIL FROM:<>\r\n", [250, 503]),
        (b"MAIL FROM:<>\r\nRSET\r\nMAIL FROM:<>\r\n", [250, 250, 250]),
        (b"MAIL FROM:<>\r\nHELO a\r\nMAIL FROM:<>\r\n", [250, 250, 250]),
        (b"MAIL\r\n", [501]),
        (b"MAIL TO:<>\r\n", [501]),
        (b"MAIL FROM:\r\n", [501]),
        (b"MAIL FROM:<>\r\nRCPT\r\n", [250, 501]),
        (b"MAIL FROM:<> SIZE=99999999\r\n", [552]),
        (b"MAIL FROM:<> SIZE=x\r\n", [250]),
        (b"NOOP\r\nnoop x\r\n", [250, 250]),
        (b"VRFY postmaster\r\n", [252]),
        (b"HELP\r\nHELP MAIL\r\n", [214, 214]),
        (b"EXPN all\r\nAUTH PLAIN AGEAYg==\r\nBDAT 3 LAST\r\nETRN #a\r\nTURN\r\n", [502] * 5),
        (b"XCLIENT ADDR=127.0.0.1\r\nPROXY TCP4\r\n\r\n", [500] * 3),
        (b"GET / HTTP/1.1\r\nHost: a\r\n", [421]),
        (b"CONNECT 192.0.2.1:25 HTTP/1.0\r\n", [421]),
        (b"POST / HTTP/1.1\r\nHost: a\r\n\r\nVRFY x\r\n", [500, 500, 500, 252]),
        (b"_READ\r\nSTEP\r\n\0\xff\r\n", [500] * 3),
    ],
)
def test_out_of_order_and_unwanted_commands(octets, expected):
    assert expected == codes(play(octets))


def test_too_many_recipients_are_deferred():
    octets = b"MAIL FROM:<>\r\n" + b"RCPT TO:<%s>\r\n" % T * 3

    assert [250, 250, 250, 452] == codes(play(octets, recipients_limit=2))


def test_who_only_errs_is_hung_up_on():
    steps = play(b"FOO\r\n" * 50, errors_limit=3)

    assert [500, 500, 421] == codes(steps)
    assert steps[-1].hang_up


def test_who_goes_on_for_ever_is_hung_up_on():
    assert [250] * 5 + [421] == codes(play(b"NOOP\r\n" * 50, commands_limit=5))


@pytest.mark.parametrize("octets", [b"A" * (COMMAND_LIMIT + 1), b"A" * (COMMAND_LIMIT + 1) + b"\r\n"])
def test_a_line_that_is_too_long_ends_the_dialogue(octets):
    (step,) = play(octets)

    assert step.hang_up
    assert step.reply.startswith(b"500 5.5.2 ")


# --- message data ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b".\r\n", b""),
        (b"a\r\n.\r\n", b"a\r\n"),
        (b"..\r\n.\r\n", b".\r\n"),
        (b"..a\r\n...b\r\n.\r\n", b".a\r\n..b\r\n"),
        (b"a\n.\nb\r\n.\r\n", b"a\n.\nb\r\n"),
        (b"a\n.\r\nb\r\n.\r\n", b"a\n.\r\nb\r\n"),
        (b"X: " + b"x" * 50_000 + b"\r\n.\r\n", b"X: " + b"x" * 50_000 + b"\r\n"),
    ],
)
def test_message_data_end_at_their_own_kind_of_dot_line(data, expected):
    assert [expected] == [message.data for message in messages(play(ENVELOPE + data))]


def test_a_peer_that_ends_lines_with_lf_alone_is_understood():
    steps = play(ENVELOPE.replace(b"\r", b"") + b"Subject: x\n\n..text\n.\nQUIT\n")

    assert [250, 250, 250, 354, "take", 221] == codes(steps)
    assert b"Subject: x\n\n.text\n" == messages(steps)[0].data


def test_a_message_that_is_too_big_is_read_to_its_end_and_refused():
    steps = play(ENVELOPE, *[b"x" * 1000 + b"\r\n"] * 5, b".\r\n", b"NOOP\r\n", message_limit=2000)

    assert [250, 250, 250, 354, 552, 250] == codes(steps)


def test_a_message_without_end_is_hung_up_on_and_never_kept():
    dialogue = Dialogue(house(message_limit=2000))

    steps = play(ENVELOPE, *[b"x" * 1000] * 1000, dialogue=dialogue)

    assert [250, 250, 250, 354, 552] == codes(steps)
    assert steps[-1].hang_up
    assert len(dialogue._buffer) == 0


def test_memory_stays_within_the_limit_while_a_message_goes_on():
    dialogue = Dialogue(house(message_limit=2000))
    play(ENVELOPE, dialogue=dialogue)

    for _ in range(14):
        play(b"x" * 1000, dialogue=dialogue)
        assert len(dialogue._buffer) <= 3000


def test_a_second_message_begins_anew():
    steps = play(ENVELOPE + b"1\r\n.\r\n" + b"RCPT TO:<x>\r\n" + ENVELOPE + b"2\r\n.\r\n")

    assert [250, 250, 250, 354, "take", 503, 250, 250, 250, 354, "take"] == codes(steps)
    assert [1, 1] == [len(message.recipients) for message in messages(steps)]


SESSION = (
    ENVELOPE
    + b"Subject: x\r\n\r\n..\r\n.x\r\n.\r\n"
    + b"RSET\r\nFOO\r\n"
    + ENVELOPE
    + b"\r\n.\r\n.\r\nQUIT\r\n"
)


@given(st.lists(st.integers(0, len(SESSION)), max_size=20))
def test_chopping_changes_nothing(cuts):
    pieces = [SESSION[begin:end] for begin, end in pairwise([0, *sorted(cuts), len(SESSION)])]

    assert play(SESSION) == play(*pieces)


WORDS = st.sampled_from(
    [b"EHLO a", b"MAIL FROM:<>", b"RCPT TO:<%s>" % T, b"RCPT TO:<", b"DATA", b".", b"\r\n", b"\n", b"\r", b"STARTTLS",
     b"RSET", b"QUIT", b'<"', b"\\", b">", b"\0", b"\xff", b" ", b"SIZE=9"]
)  # fmt: skip


@given(st.lists(st.one_of(WORDS, st.binary(max_size=20)), max_size=60).map(b"".join))
def test_whatever_comes_there_are_only_proper_replies(octets):
    for step in play(octets):
        if isinstance(step, Say | BeginTLS):
            assert step.reply.endswith(b"\r\n")
            assert step.reply[:3].isdigit()
            if step.reply[5:6] == b".":  # an enhanced status code agrees with its reply code
                assert step.reply[:1] == step.reply[4:5]


@given(st.binary(max_size=400))
def test_only_a_token_of_ours_makes_a_message(octets):
    assert [] == messages(play(b"MAIL FROM:<>\r\nRCPT TO:<" + octets + b">\r\nDATA\r\nx\r\n.\r\n"))
