"""The catalogue's own data: complete in both languages, consistent, and of use on the common servers."""

import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest

from relaywatch.advice.catalogue import GENERIC, load_catalogue
from relaywatch.advice.records import Advisory, Guide, Record
from relaywatch.advice.references import link_of
from relaywatch.advice.vocabulary import Kind, Language, Phase, Role, Standing, Weakness

CATALOGUE = load_catalogue()
ADVISORIES = [pytest.param(a, id=a.id) for a in CATALOGUE.advisories.values()]
GUIDES = [pytest.param(g, id=g.software) for g in CATALOGUE.guides.values()]
WINDOWS = {"exchange", "exchange-5.5", "iis-smtp", "domino", "wingate", "ccproxy"}
HOLES = [a for a in CATALOGUE.advisories.values() if a.kind is Kind.HOLE]
#: Holes of mail servers; the last one is theirs and the proxy's together.
MAIL_HOLES = [pytest.param(a, id=a.id) for a in HOLES if a.weakness is Weakness.OPEN_RELAY]
PROXY_HOLES = [pytest.param(a, id=a.id) for a in HOLES if a.id.startswith("RW-2")]
PROXIES = [pytest.param(g, id=g.software) for g in CATALOGUE.guides.values() if g.role is Role.PROXY]
#: Proxy protocols that a hand can type.
TYPED = {"RW-2001", "RW-2002", "RW-2005", "RW-2006", "RW-2012", "RW-2013", "RW-2020"}
HANGUL = re.compile("[\uac00-\ud7a3]")


def texts_of(value: object, language: Language) -> list[str]:
    """Return every text of `language` inside a record, whether it stands as a string or as a record of its own."""
    if isinstance(value, Record):
        value = msgspec.to_builtins(value)
    if isinstance(value, dict):
        own = [text for key, item in value.items() if key == language for text in strings_of(item)]
        other = [item for key, item in value.items() if key not in set(Language)]
        return own + [text for item in other for text in texts_of(item, language)]
    if isinstance(value, (list, tuple)):
        return [text for item in value for text in texts_of(item, language)]
    return []


def strings_of(value: object) -> list[str]:
    if isinstance(value, str):
        return [value]
    items = value.values() if isinstance(value, dict) else value
    return [text for item in items for text in strings_of(item)]


@pytest.mark.parametrize("record", ADVISORIES + GUIDES)
def test_korean_texts_are_korean_and_english_ones_english(record: Advisory | Guide):
    english, korean = texts_of(record, Language.EN), texts_of(record, Language.KO)
    assert english
    assert [] == [text for text in english if HANGUL.search(text)]
    assert [] == [text for text in korean if not HANGUL.search(text)]
    assert len(english) == len(korean)


@pytest.mark.parametrize("advisory", ADVISORIES)
def test_both_languages_of_an_advisory_say_as_much(advisory: Advisory):
    for field in ("description", "concerns", "verify", "false_alarms"):
        assert len(getattr(advisory.en, field)) == len(getattr(advisory.ko, field)), field


@pytest.mark.parametrize("advisory", ADVISORIES)
def test_a_summary_is_one_line_and_one_sentence(advisory: Advisory):
    for language in Language:
        summary = advisory.text(language).summary
        assert "\n" not in summary
        assert summary.endswith(".")
        assert not re.search(r"[.!?]\s", summary)


@pytest.mark.parametrize("record", ADVISORIES + GUIDES)
def test_korean_sentences_are_formal(record: Advisory | Guide):
    plain = [t for t in texts_of(record, Language.KO) if re.search(r"(?<!니)다\.|(해|어|아|네|지)요\.", t)]
    assert [] == plain


@pytest.mark.parametrize("advisory", MAIL_HOLES)
def test_every_hole_says_what_to_type_and_which_reply_decides(advisory: Advisory):
    assert advisory.dialogue[-1].startswith("S: 2")
    assert any("RCPT" in line or "XCLIENT" in line or "PROXY" in line for line in advisory.dialogue)


@pytest.mark.parametrize("advisory", PROXY_HOLES)
def test_a_hole_of_proxies_is_typed_or_shown_with_a_tool(advisory: Advisory):
    tools = r"\b(curl|ncat|openssl s_client|ssh -|turnutils_uclient|relaywatch check)"
    assert (advisory.id in TYPED) == bool(advisory.dialogue)
    for language in Language:
        assert re.search(tools, " ".join(advisory.text(language).verify))


@pytest.mark.parametrize("advisory", PROXY_HOLES)
def test_a_yes_of_a_proxy_never_decides(advisory: Advisory):
    # Web servers say 200 to anything: what comes from beyond the proxy is what counts.
    if advisory.dialogue:
        assert advisory.dialogue[-1].startswith("S: ")
        assert not advisory.dialogue[-1].startswith("S: HTTP/")


@pytest.mark.parametrize("advisory", PROXY_HOLES)
def test_a_hole_of_proxies_tells_what_looks_like_it(advisory: Advisory):
    assert advisory.en.false_alarms


@pytest.mark.parametrize("advisory", ADVISORIES)
def test_references_that_have_a_page_lead_to_it(advisory: Advisory):
    for reference in advisory.references:
        link = link_of(reference)
        assert (link is None) == reference.startswith(("MS", "KB"))
        assert link is None or re.fullmatch(r"https://[a-z0-9.-]+/\S*", link)


@pytest.mark.parametrize("advisory", ADVISORIES)
def test_generic_advice_covers_every_advisory(advisory: Advisory):
    assert [GENERIC] == sorted(
        {remedy.software for remedy in CATALOGUE.remedies(advisory.id, GENERIC)} & {GENERIC}
    )


def has_one_of_both(advisory: Advisory, software: str) -> bool:
    """Tell whether the software has either a remedy of its own or a reason why it needs none."""
    own = [r for r in CATALOGUE.remedies(advisory.id, software) if r.software == software]
    return bool(own) != (CATALOGUE.not_applicable(advisory.id, software) is not None)


@pytest.mark.parametrize("software", ["postfix", "sendmail", "exim"])
@pytest.mark.parametrize("advisory", MAIL_HOLES)
def test_the_common_servers_have_a_remedy_or_a_reason(advisory: Advisory, software: str):
    assert has_one_of_both(advisory, software)


@pytest.mark.parametrize("guide", PROXIES)
@pytest.mark.parametrize("advisory", PROXY_HOLES)
def test_every_proxy_has_a_remedy_or_a_reason(advisory: Advisory, guide: Guide):
    assert has_one_of_both(advisory, guide.software)


@pytest.mark.parametrize("guide", GUIDES)
def test_mail_servers_are_told_of_mail_and_proxies_of_proxies(guide: Guide):
    told = {a for part in (*guide.remedy, *guide.not_applicable) for a in part.advisories}
    if guide.role in {Role.SERVER, Role.HISTORY}:
        assert {Weakness.OPEN_RELAY} == {CATALOGUE.advisory(a).weakness for a in told}
    if guide.role is Role.PROXY:
        assert all(a.startswith("RW-2") for a in told)


@pytest.mark.parametrize("guide", GUIDES)
def test_a_guide_mends_something(guide: Guide):
    assert guide.remedy


@pytest.mark.parametrize("guide", GUIDES)
def test_a_documented_remedy_names_where_it_is_written(guide: Guide):
    for remedy in guide.remedy:
        if remedy.standing is Standing.DOCUMENTED:
            assert remedy.source
            assert re.search(
                r"https://|RFC \d|\(\d\)|KB|Q\d|VU#|manual|specification|guide|Guide|README|master\.cf",
                remedy.source,
            )


@pytest.mark.parametrize("guide", GUIDES)
def test_software_in_use_names_the_versions_that_were_looked_at(guide: Guide):
    if guide.role in {Role.SERVER, Role.PROXY} and any(
        r.standing is not Standing.UNVERIFIED for r in guide.remedy
    ):
        assert guide.checked_with


OPEN_SERVERS = {
    path.parent.name
    for path in (Path(__file__).parents[1] / "interop/servers").glob("*/case.toml")
    if tomllib.loads(path.read_text(encoding="utf-8"))["truth"]["state"] == "open"
}


@pytest.mark.parametrize("guide", GUIDES)
def test_a_remedy_is_live_exactly_if_it_names_open_servers_of_the_lab(guide: Guide):
    # tests/interop/test_remedies.py applies every live remedy to each server that it names.
    for remedy in guide.remedy:
        assert (remedy.standing is Standing.LIVE) == bool(remedy.lab_cases), remedy.id
        assert set(remedy.lab_cases) <= OPEN_SERVERS, remedy.id


def test_no_server_of_the_lab_shows_two_remedies():
    # It is mended once; a second remedy would meet a server that is closed already.
    shown = [case for g in CATALOGUE.guides.values() for remedy in g.remedy for case in remedy.lab_cases]
    assert sorted(set(shown)) == sorted(shown)


def unix_commands() -> list[Any]:
    return [
        pytest.param(command, id=f"{remedy.id}-{number}")
        for guide in CATALOGUE.guides.values()
        if guide.software not in WINDOWS
        for remedy in guide.remedy
        for number, command in enumerate(c for step in (*remedy.step, *remedy.verify) for c in step.commands)
    ]


@pytest.mark.parametrize("command", unix_commands())
def test_a_command_is_one_that_a_shell_can_read(command: str):
    outcome = subprocess.run(["bash", "-n"], input=command, text=True, capture_output=True, check=False)
    assert "" == outcome.stderr


@pytest.mark.parametrize(
    ("advisory", "software"), [("RW-1034", "postfix"), ("RW-2034", "squid"), ("RW-2034", "generic")]
)
def test_emergency_help_goes_from_stopping_to_getting_off_the_lists(advisory: str, software: str):
    incidents = [r for r in CATALOGUE.remedies(advisory, software) if r.software == software]
    assert [list(Phase)] == [list(dict.fromkeys(step.phase for step in r.step)) for r in incidents]


def test_the_software_of_the_issue_is_there():
    wanted = """
        postfix sendmail exim opensmtpd qmail notqmail courier exchange iis-smtp haraka stalwart hmailserver
        mailenable zimbra mailcow docker-mailserver docker chasquid kumomta domino gateway
        emwac-ims ntmail ims interscan-viruswall exchange-5.5
    """
    assert [] == [name for name in wanted.split() if CATALOGUE.guide(name) is None]


def test_the_proxies_of_the_issue_are_there():
    wanted = """
        squid apache nginx haproxy tinyproxy privoxy dante 3proxy microsocks trafficserver varnish envoy caddy
        coturn sniproxy openssh mikrotik wingate ccproxy vsftpd proftpd pure-ftpd
    """
    assert sorted(wanted.split()) == sorted(g.values[0].software for g in PROXIES)


def test_the_advisories_of_the_issues_are_there():
    numbers = [*range(1001, 1025), *range(1030, 1035), *range(2001, 2022), 2030, 2031, 2034]
    assert [f"RW-{number}" for number in numbers] == list(CATALOGUE.advisories)
