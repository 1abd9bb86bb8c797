import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.sink.loopback import ANOTHER_KEY, KEY, token

from relaywatch.sink.recipients import Recipient, admit_recipients, find_token

T = token()


@pytest.mark.parametrize(
    "forward_path",
    [
        f"{T}@sink.test",
        f"{T.upper()}@SINK.TEST",
        f"{T}@[192.0.2.1]",
        f"{T}@[IPv6:2001:db8::1]",
        f"{T}@sink.test.",
        T,
        f"{T}%sink.test@relay.test",
        f'"{T}@sink.test"@relay.test',
        f'"{T}"',
        f"@relay.test,@other.test:{T}@sink.test",
        f"relay.test!{T}",
        f"relay.test!sink.test!{T}@relay.test",
        f"{T}@sink.test@relay.test",
        f"IMCEASMTP-{T}+40sink+2Etest@relay.test",
        f"SRS0=ab1x=7q=relay.test={T}@relay.test",
        f"prvs=0123456789={T}@relay.test",
        f"bounces+{T}=sink.test@relay.test",
        f"smtp:{T}@sink.test",
        f"x{T}@sink.test",
        f"{T}2@sink.test",
        f"mail{T}copy@sink.test",
    ],
)
def test_a_token_is_found_however_a_relay_mangles_the_address(forward_path):
    assert T == find_token(KEY, forward_path)


@pytest.mark.parametrize(
    "text",
    ["", "user@sink.test", T[:-1], f"{T[:16]}-{T[16:]}@sink.test", f"{'x' * 512}{T}", f"{T[:-1]}ſ"],
)
def test_what_is_no_whole_token_is_none(text):
    assert None is find_token(KEY, text)


def test_the_first_token_counts():
    assert token(1) == find_token(KEY, f"{token(key=ANOTHER_KEY)}.{token(1)}.{token(2)}@sink.test")


@given(st.text(max_size=600))
def test_no_text_is_taken_for_a_token(text):
    assert None is find_token(KEY, text)


@given(st.text(max_size=100), st.text(max_size=100))
def test_a_token_is_found_within_any_text(before, after):
    assert T == find_token(KEY, before + T + after)


@pytest.mark.parametrize(
    ("forward_path", "is_taken"),
    [
        ("postmaster@sink.test", True),
        ("POSTMASTER@Sink.Test", True),
        ("abuse@sink.test", True),
        ("postmaster", True),
        ("abuse", False),
        ("abuse@other.test", False),
        ("webmaster@sink.test", False),
        ("postmaster@relay.test@sink.test", False),
        ("", False),
    ],
)
def test_people_are_taken_at_the_sinks_own_domains_only(forward_path, is_taken):
    admit = admit_recipients(KEY, people_at=("Sink.test",))

    assert (Recipient(forward_path, None) if is_taken else None) == admit(forward_path)


def test_no_people_are_taken_unless_wanted():
    assert None is admit_recipients(KEY)("postmaster")
