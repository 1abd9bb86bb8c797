import sys

import pytest

from relaywatch.model.evidence import Weakness
from relaywatch.model.places import Transport
from relaywatch.probes import smtp_relay
from relaywatch.script.probe import load_probes

PROBE_FILE = """
from relaywatch.model.evidence import Weakness
from relaywatch.script.probe import Probe

async def _script(link, brief):
    await link.connect()

PROBE = Probe(
    name={name!r}, weakness=Weakness.OPEN_PROXY, default_doors=(), references=("RFC 1928",), script=_script
)
"""


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package of probes that is found by its name, as the real one is."""
    folder = tmp_path / f"probes_of_{tmp_path.name}"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    yield folder
    for name in [name for name in sys.modules if name.startswith(folder.name)]:
        del sys.modules[name]


def test_a_probe_is_found_by_its_modules_name(package):
    (package / "socks5_connect.py").write_text(PROBE_FILE.format(name="socks5-connect"))

    assert ["socks5-connect"] == list(load_probes(package.name))


def test_a_module_without_a_probe_is_none(package):
    (package / "socks5.py").write_text("VERSION = 5\n")

    assert {} == dict(load_probes(package.name))


def test_a_probe_must_be_named_for_its_module(package):
    (package / "socks5_connect.py").write_text(PROBE_FILE.format(name="socks4"))

    with pytest.raises(LookupError, match="probe 'socks4' in module 'socks5_connect'"):
        load_probes(package.name)


def test_what_is_found_cant_be_changed():
    with pytest.raises(TypeError):
        load_probes()["x"] = None  # type: ignore[index]


def test_the_relay_probe_is_there_with_its_doors():
    probe = load_probes()["smtp-relay"]

    assert probe is smtp_relay.PROBE
    assert Weakness.OPEN_RELAY is probe.weakness
    assert {25, 465, 587, 2525} == {port for port, _ in probe.default_doors}
    assert (465, Transport.TLS) in probe.default_doors
    assert all((port, Transport.STARTTLS) in probe.default_doors for port in (25, 587, 2525))


def test_every_probe_names_its_references():
    assert all(probe.references for probe in load_probes().values())
