"""Telnet's commands among the text."""

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relaywatch.wire.telnet import Parted, part, skip

PIECES = st.lists(
    st.one_of(
        st.binary(min_size=1, max_size=10).map(lambda octets: octets.replace(b"\xff", b"")),
        st.sampled_from(
            [
                b"\xff\xff",
                b"\xff\xfb\x01",
                b"\xff\xfd\x18",
                b"\xff\xfc\x01",
                b"\xff\xf1",
                b"\xff\xfa\x18\x01\xff\xf0",
            ]
        ),
    ),
    max_size=20,
)


@pytest.mark.parametrize(
    ("data", "text", "refusals", "rest"),
    [
        (b"login: ", b"login: ", b"", b""),
        (b"\xff\xfb\x01\xff\xfb\x03hi", b"hi", b"\xff\xfe\x01\xff\xfe\x03", b""),  # WILL: DONT
        (b"\xff\xfd\x18hi", b"hi", b"\xff\xfc\x18", b""),  # DO: WONT
        (b"\xff\xfc\x01\xff\xfe\x01hi", b"hi", b"", b""),  # WONT and DONT: as it is
        (b"a\xff\xf1b\xff\xf9c", b"abc", b"", b""),  # NOP, GA
        (b"a\xff\xffb", b"a\xffb", b"", b""),  # a doubled octet 255 is one of the text
        (b"a\xff\xfa\x18\x01x\xff\xff\xf0\xff\xf0b", b"ab", b"", b""),  # a subnegotiation, with one within
        (b"\xff\xfb\xff", b"", b"\xff\xfe\xff", b""),
        (b"a\xff", b"a", b"", b"\xff"),
        (b"a\xff\xfd", b"a", b"", b"\xff\xfd"),
        (b"a\xff\xfa\x18\x01", b"a", b"", b"\xff\xfa\x18\x01"),
        (b"a\xff\xfa\x18\xff", b"a", b"", b"\xff\xfa\x18\xff"),
        (b"a\xff\xff\xff", b"a\xff", b"", b"\xff"),
        (b"\xff\x41", b"\xff\x41", b"", b""),  # no command of RFC 854
        (b"", b"", b"", b""),
    ],
)
def test_parts(data, text, refusals, rest):
    assert Parted(text, refusals, rest) == part(data)


@given(pieces=PIECES, cuts=st.lists(st.integers(1, 5), min_size=1))
def test_chopping_changes_nothing(pieces, cuts):
    data = b"".join(pieces)
    text, refusals, rest, start, number = b"", b"", b"", 0, 0
    while start < len(data):
        size = cuts[number % len(cuts)]
        parted = part(rest + data[start : start + size])
        text, refusals, rest = text + parted.text, refusals + parted.refusals, parted.rest
        start, number = start + size, number + 1

    assert part(data) == Parted(text, refusals, rest)


@pytest.mark.parametrize("piece", [b"\xff\xfa", b"\xff\xfa\x01", b"\xff", b"\xff\xfa\xff", b"\xff\xfb"])
def test_a_hostile_piece_takes_no_time(piece):
    """Searching anew from each command took a quarter of a minute for it, in which no other target was heard."""
    began = time.process_time()

    part(piece * (65_536 // len(piece)))
    skip(piece * (65_536 // len(piece)), b"")

    assert time.process_time() - began < 2


@pytest.mark.parametrize(
    ("data", "begins"),
    [
        (b"", 0),
        (b"words", 0),
        (b" \r\n words", 4),
        (b"\xff\xfb\x01 \xff\xfa\x18\x00x\xff\xf0\xff\xf1words", 13),
        (b"\xff\xff words", 3),
        (b" \xff\x41", 1),
        (b" \xff", 1),
        (b" \xff\xfa\x18", 1),
        (b"\xff\xf1 ", 3),
    ],
)
def test_what_stands_before_the_text(data, begins):
    assert begins == skip(data, b"\r\n ")


@given(data=st.binary(max_size=200))
def test_every_option_is_refused_and_none_agreed_to(data):
    """RFC 1143: whoever wants no option answers WILL by DONT and DO by WONT, and nothing else."""
    assert re.fullmatch(rb"(?:\xff[\xfc\xfe].)*", part(data).refusals, re.DOTALL)
