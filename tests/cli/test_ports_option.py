import click
import pytest

from relaywatch.cli.options import MOST_PORTS, PORTS


@pytest.mark.parametrize(
    ("text", "ports"),
    [
        ("25", (25,)),
        ("1080,3128", (1080, 3128)),
        ("8000-8002, 80", (8000, 8001, 8002, 80)),
        ("80,80-81", (80, 81)),
        ("65535", (65535,)),
    ],
)
def test_ports_and_ranges(text, ports):
    assert ports == PORTS.convert(text, None, None)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "no port"),
        ("http", "'http' is no port"),
        ("80-", "'80-' is no port"),
        ("-80", "no port"),
        ("0", "outside"),
        ("65536", "outside"),
        ("90-80", "ends before it begins"),
        (f"1-{MOST_PORTS + 1}", "more than"),
        ("²", "no port"),
    ],
)
def test_what_is_none(text, why):
    with pytest.raises(click.BadParameter, match=why):
        PORTS.convert(text, None, None)
