"""From options to a run's settings, as the command line takes them."""

from ipaddress import ip_address

import click
import pytest
from click.testing import CliRunner

from relaywatch.cli.options import run_options
from relaywatch.cli.settings import settings_from
from relaywatch.runs.settings import CANARY_PORTS, LocalSink, RunSettings


@pytest.fixture(autouse=True)
def _nobody_s_own_files(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.delenv("RELAYWATCH_SCOPE", raising=False)


def chosen(*arguments):
    """The settings that these arguments make, by way of the options that `check` and `scan` have."""
    made = []

    @click.command()
    @run_options
    def take(choices):
        made.append(settings_from(choices))

    result = CliRunner().invoke(take, list(arguments))
    assert 0 == result.exit_code, result.output
    return made[0]


def test_nothing_chosen_is_what_a_run_does_by_default():
    settings = chosen()

    assert LocalSink() == settings.sink
    assert RunSettings().second_sources == settings.second_sources == ()
    assert CANARY_PORTS == settings.sink.canary_ports


def test_canaries_as_they_were_chosen():
    settings = chosen(
        *("--sink-address", "203.0.113.5", "--canary-port", "443", "--canary-port", "8443"),
        *("--canary-name", "Canary.Sink.Example", "--canary-zone", "c.sink.example"),
    )

    assert (443, 8443) == settings.sink.canary_ports
    assert "canary.sink.example" == settings.sink.canary_name
    assert "c.sink.example" == settings.sink.canary_zone
    assert ip_address("203.0.113.5") == settings.sink.address


def test_second_sources_of_both_families():
    settings = chosen("--second-source", "203.0.113.6", "--second-source", "2001:db8::6")

    assert (ip_address("203.0.113.6"), ip_address("2001:db8::6")) == settings.second_sources


def test_ports_as_a_list_and_one_by_one_come_once_each():
    assert (1080, 3128, 8000, 8001) == chosen("--ports", "1080,3128,8000-8001", "--port", "1080").ports


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--canary-port", "0"),
        ("--canary-port", "65536"),
        ("--canary-name", "a b"),
        ("--canary-zone", "-"),
        ("--second-source", "sink.example"),
        ("--second-source", "fe80::1%eth0"),
    ],
)
def test_what_can_be_no_canary_and_no_source_is_wrong_usage(option, value):
    @click.command()
    @run_options
    def take(choices):
        raise AssertionError(choices)

    result = CliRunner().invoke(take, [option, value])

    assert 2 == result.exit_code
    assert option in result.output
