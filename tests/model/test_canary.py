"""What only our canary can answer."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relaywatch.model.canary import (
    MAX_ANSWER,
    canary_answer,
    canary_words,
    find_token_words,
    holds_answer,
    read_canary_answer,
)
from relaywatch.model.places import parse_address
from relaywatch.model.tokens import Mint, verify_token

KEY = b"the sink's key"
MINT = Mint(KEY, b"an attempt's seed")
TOKEN = MINT.token("address-443")
HERE = parse_address("192.0.2.7")
ANSWER = canary_answer(KEY, TOKEN, HERE)
ADDRESSES = st.ip_addresses().map(lambda address: parse_address(str(address).partition("%")[0]))
LABELS = st.text(min_size=1, max_size=20)


@given(label=LABELS, address=ADDRESSES, before=st.text(max_size=50), after=st.text(max_size=50))
def test_an_answer_is_read_whatever_stands_around_it(label, address, before, after):
    token = MINT.token(label)
    text = f"{before} {canary_answer(KEY, token, address)} {after}"

    assert address == read_canary_answer(KEY, token, text)


def test_what_looks_like_an_answer_needs_no_key():
    assert holds_answer(f"252 2.0.0 {canary_answer(b'another key', TOKEN, HERE)}")
    assert not holds_answer(canary_words(TOKEN).decode())
    assert not holds_answer("220 sink.example ESMTP relaywatch sink. 192.0.2.7")


@given(label=LABELS, other=LABELS, address=ADDRESSES, elsewhere=ADDRESSES, key=st.binary(min_size=1))
def test_it_is_accepted_with_the_right_mac_for_that_token_and_that_address_alone(
    label, other, address, elsewhere, key
):
    token, answer = MINT.token(label), canary_answer(KEY, MINT.token(label), address)
    moved = answer.replace(f" {address}", f" {elsewhere}")

    assert (address if other == label else None) == read_canary_answer(KEY, MINT.token(other), answer)
    assert (address if elsewhere == address else None) == read_canary_answer(KEY, token, moved)
    assert (address if key == KEY else None) == read_canary_answer(key, token, answer)


@given(st.text(alphabet=st.sampled_from("relaywatch 234567abcdefz.:192ſKİ\r\n\x00\udcff"), max_size=200))
def test_nothing_that_is_made_up_is_an_answer_and_nothing_breaks_the_reading(text):
    assert read_canary_answer(KEY, TOKEN, text) is None
    assert read_canary_answer(KEY, TOKEN, "relaywatch " + text) is None


@given(st.integers(0, len(ANSWER) - 2))
def test_half_an_answer_is_none(length):
    """As long as octets come, another address than the whole one may seem to stand there."""
    assert read_canary_answer(KEY, TOKEN, ANSWER[:length]) is None


@pytest.mark.parametrize(
    "text",
    [
        ANSWER.upper(),
        f"252 2.0.0 {ANSWER}\r\n",
        f"it says {ANSWER}.",
        f"<p>{ANSWER}</p>",
        f"relaywatch aaaaaaaaaaaaaaaa 192.0.2.7\r\n{ANSWER}",
        ANSWER.replace("192.0.2.7", "::ffff:192.0.2.7"),
    ],
)
def test_an_answer_in_other_clothes(text):
    assert read_canary_answer(KEY, TOKEN, text) == HERE


@pytest.mark.parametrize(
    "text",
    [
        "",
        canary_words(TOKEN).decode(),
        ANSWER.replace("192.0.2.7", "192.0.2.8"),
        ANSWER.replace("192.0.2.7", "999.0.2.7"),
        ANSWER.replace("192.0.2.7", "fe80::1%eth0"),
        f"relaywatch {'ſ' * 16} 192.0.2.7",  # ignoring case takes it for an s
        "relaywatch " + "\u212a" * 16 + " 192.0.2.7",  # and this for a k
    ],
)
def test_what_is_no_answer(text):
    assert read_canary_answer(KEY, TOKEN, text) is None


def test_an_answer_is_shorter_than_what_is_read_of_one():
    longest = canary_answer(KEY, TOKEN, parse_address("2001:db8:1111:2222:3333:4444:5555:6666"))

    assert len(longest) < MAX_ANSWER / 10
    assert longest.isascii()


@pytest.mark.parametrize(
    "said",
    [
        canary_words(TOKEN).decode(),
        f"\r\n{canary_words(TOKEN).decode()}\r\n",
        canary_words(TOKEN).decode().upper(),
    ],
)
def test_the_words_are_understood(said):
    assert verify_token(KEY, find_token_words(said)) == TOKEN


@pytest.mark.parametrize(
    "said",
    [
        "",
        TOKEN,
        f"relaywatch{TOKEN}",
        f"relaywatch {TOKEN[:31]}",
        f"relaywatch {TOKEN}a",
        f"relaywatch {'ſ' * 32}",
    ],
)
def test_other_words_are_none(said):
    assert find_token_words(said) is None


def test_a_token_is_ascii():
    """A long s becomes an S in capitals, so that base32 would take it."""
    token = next(token for number in range(99) if "s" in (token := MINT.token(str(number))))

    assert token == verify_token(KEY, token.upper())
    assert verify_token(KEY, token.replace("s", "ſ")) is None
