import re

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from relaywatch.model.tokens import TOKEN_LENGTH, TOKEN_PATTERN, Mint, mint_token, verify_token

KEYS = st.binary(min_size=1, max_size=64)
NONCES = st.binary(min_size=10, max_size=10)


@given(key=KEYS, nonce=NONCES)
def test_a_token_is_32_characters_that_no_server_changes(key, nonce):
    token = mint_token(key, nonce)

    assert TOKEN_LENGTH == len(token)
    assert re.fullmatch("[a-z2-7]+", token)


@given(key=KEYS, nonce=NONCES, data=st.data())
def test_a_token_verifies_in_any_case_of_letters(key, nonce, data):
    token = mint_token(key, nonce)
    upper = data.draw(st.lists(st.booleans(), min_size=32, max_size=32))
    folded = "".join(char.upper() if up else char for char, up in zip(token, upper, strict=True))

    assert token == verify_token(key, folded)


@given(key=KEYS, other=KEYS, nonce=NONCES)
def test_a_token_verifies_with_its_key_only(key, other, nonce):
    assume(key != other)

    assert verify_token(other, mint_token(key, nonce)) is None


@given(
    key=KEYS, nonce=NONCES, place=st.integers(0, 31), char=st.sampled_from("abcdefghijklmnopqrstuvwxyz234567")
)
def test_a_token_with_one_character_changed_verifies_no_more(key, nonce, place, char):
    token = mint_token(key, nonce)
    assume(token[place] != char)

    assert verify_token(key, token[:place] + char + token[place + 1 :]) is None


@given(text=st.text(max_size=40))
def test_other_text_verifies_never(text):
    assert verify_token(b"key", text) is None


@pytest.mark.parametrize(
    "text", ["", "a" * 31, "a" * 33, "a" * 31 + "1", "a" * 31 + "8", "ß" * 32, "\u212a" * 32]
)
def test_what_can_be_no_token(text):
    assert verify_token(b"key", text) is None


@pytest.mark.parametrize("octets", [0, 9, 11])
def test_a_nonce_has_ten_octets(octets):
    with pytest.raises(ValueError, match=f"10 octets, not {octets}"):
        mint_token(b"key", bytes(octets))


def test_the_pattern_finds_tokens_whatever_stands_beside_them():
    token = mint_token(b"key", bytes(10))
    text = f"<{token.upper()}@sink.test>, <x%{token}> IMCEASMTP-{token}+40sink and {'a' * 40}"

    assert [token.upper(), token, token] == TOKEN_PATTERN.findall(text)


class TestMint:
    MINT = Mint(b"key", b"seed")

    def test_the_same_label_gives_the_same_token(self):
        assert self.MINT.token("plain") == self.MINT.token("plain")

    @given(one=st.text(), other=st.text())
    def test_another_label_gives_another_token(self, one, other):
        assume(one != other)

        assert self.MINT.token(one) != self.MINT.token(other)

    @given(seed=st.binary(), other=st.binary())
    def test_another_seed_gives_another_token(self, seed, other):
        assume(seed != other)

        assert Mint(b"key", seed).token("plain") != Mint(b"key", other).token("plain")

    @given(label=st.text())
    def test_its_tokens_verify(self, label):
        token = self.MINT.token(label)

        assert token == verify_token(b"key", token)

    @given(label=st.text())
    def test_random_local_parts_are_no_tokens_and_need_no_quotes(self, label):
        local_part = self.MINT.random_local_part(label)

        assert re.fullmatch(r"nobody-[0-9a-f]{12}", local_part)
        assert not TOKEN_PATTERN.search(local_part)

    def test_neither_key_nor_seed_shows(self):
        assert "key" not in repr(self.MINT)
        assert "seed" not in repr(self.MINT)
