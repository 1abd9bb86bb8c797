"""What the catalogue answers: remedies by software, search, references."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relaywatch.advice.catalogue import GENERIC, load_catalogue
from relaywatch.advice.references import link_of
from relaywatch.advice.vocabulary import Language, Role

CATALOGUE = load_catalogue()
ANY_ADVISORY = st.sampled_from(sorted(CATALOGUE.advisories))
ANY_SOFTWARE = st.none() | st.text() | st.sampled_from(sorted(CATALOGUE.guides))


def software_of(advisory_id: str, software: str | None = None) -> list[str]:
    return list(dict.fromkeys(remedy.software for remedy in CATALOGUE.remedies(advisory_id, software)))


def found(text: str) -> list[str]:
    return [advisory.id for advisory in CATALOGUE.search(text)]


def test_the_catalogue_is_read_once():
    assert load_catalogue() is CATALOGUE


def test_an_advisory_is_found_by_its_id():
    assert "plain-relay" == CATALOGUE.advisory("RW-1001").slug


def test_an_unknown_advisory_is_an_error():
    with pytest.raises(KeyError):
        CATALOGUE.advisory("RW-0000")


def test_the_catalogue_cannot_be_changed():
    with pytest.raises(TypeError):
        CATALOGUE.advisories["RW-1001"] = None
    with pytest.raises(AttributeError):
        CATALOGUE.advisory("RW-1001").risk = "low"


def test_known_software_gets_its_own_remedies():
    assert ["postfix"] == software_of("RW-1002", "postfix")


@pytest.mark.parametrize("software", [None, "", "nobody-knows-this"])
def test_unknown_software_gets_generic_advice(software: str | None):
    assert [GENERIC] == software_of("RW-1002", software)


def test_software_without_a_remedy_for_it_gets_generic_advice():
    assert [GENERIC] == software_of("RW-1008", "hmailserver")


def test_what_stands_around_a_server_follows_its_own_remedies():
    assert ["exim", "docker", "gateway"] == software_of("RW-1023", "exim")


def test_surroundings_are_named_once_when_they_are_asked_for():
    remedies = CATALOGUE.remedies("RW-1023", "gateway")
    assert ["gateway", "docker"] == software_of("RW-1023", "gateway")
    assert len(remedies) == len(set(remedies))


def test_a_proxy_gets_its_own_remedies_and_what_stands_around_it():
    assert ["squid", "docker"] == software_of("RW-2001", "squid")
    assert [GENERIC, "docker"] == software_of("RW-2001", "postfix")


def test_a_chain_is_mended_on_either_side():
    assert ["postfix", "docker", "firewall"] == software_of("RW-2020", "postfix")
    assert ["dante", "docker", "firewall"] == software_of("RW-2020", "danted")


def test_a_guide_serves_its_other_names():
    assert CATALOGUE.remedies("RW-1005", "qmail") == CATALOGUE.remedies("RW-1005", "notqmail") != ()


def test_all_software_with_a_remedy_is_listed_without_the_generic_one():
    named = CATALOGUE.software_with("RW-1001")
    assert list(named) == sorted(set(named))
    assert {"postfix", "exchange", "emwac-ims"} < set(named)
    assert GENERIC not in named


def test_what_cannot_happen_is_said_with_the_reason():
    entry = CATALOGUE.not_applicable("RW-1010", "postfix")
    assert entry is not None
    assert "Exchange" in entry.text(Language.EN)
    assert entry.text(Language.KO) != entry.text(Language.EN)
    assert CATALOGUE.not_applicable("RW-1001", "postfix") is None
    assert CATALOGUE.not_applicable("RW-1001", "nobody-knows-this") is None


@given(ANY_ADVISORY, ANY_SOFTWARE)
def test_there_is_always_advice_and_only_for_what_was_asked(advisory_id: str, software: str | None):
    remedies = CATALOGUE.remedies(advisory_id, software)
    assert remedies
    assert all(advisory_id in remedy.advisories for remedy in remedies)
    own = {
        remedy.software
        for remedy in remedies
        if CATALOGUE.guides[remedy.software].role is not Role.SURROUNDINGS
    }
    assert len(own) <= 1


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("percent hack", "RW-1005"),
        ("PERCENT", "RW-1005"),
        ("퍼센트 핵", "RW-1005"),
        ("소스 라우트", "RW-1007"),
        ("ipv6 열려", "RW-1022"),
        ("rw-1010", "RW-1010"),
        ("backscatter", "RW-1030"),
        ("VU#176972", "RW-1011"),
        ("abused now", "RW-1034"),
        ("지금 악용", "RW-1034"),
        ("socks5 bind", "RW-2009"),
        ("VU#150227", "RW-2001"),
        ("연쇄 릴레이", "RW-2020"),
        ("proxy abused now", "RW-2034"),
        ("프록시가 악용", "RW-2034"),
    ],
)
def test_search_finds_by_title_first_in_both_languages(text: str, first: str):
    assert first == found(text)[0]


def test_search_reads_the_whole_advisory():
    assert "RW-1023" in found("swarm ingress")
    assert "RW-1023" in found("로드 밸런서")


@pytest.mark.parametrize("text", ["", "   ", "no such words anywhere in it"])
def test_search_for_nothing_finds_nothing(text: str):
    assert [] == found(text)


@given(st.sampled_from(list(CATALOGUE.advisories.values())), st.sampled_from(Language))
def test_every_advisory_is_found_by_its_own_title(advisory, language: Language):
    assert advisory.id in found(advisory.text(language).title)


@pytest.mark.parametrize(
    ("reference", "link"),
    [
        ("RFC 2505", "https://www.rfc-editor.org/rfc/rfc2505"),
        ("RFC 5321 section 3.6.1", "https://www.rfc-editor.org/rfc/rfc5321#section-3.6.1"),
        ("RFC 5321 appendix C", "https://www.rfc-editor.org/rfc/rfc5321#appendix-C"),
        ("CVE-1999-0682", "https://www.cve.org/CVERecord?id=CVE-1999-0682"),
        ("VU#176972", "https://www.kb.cert.org/vuls/id/176972"),
        ("https://www.postfix.org/XCLIENT_README.html", "https://www.postfix.org/XCLIENT_README.html"),
        ("MS99-027", None),
        ("KB237927", None),
    ],
)
def test_a_reference_leads_to_its_page(reference: str, link: str | None):
    assert link == link_of(reference)


def test_a_remedy_speaks_both_languages():
    remedy = CATALOGUE.remedies("RW-1001", "postfix")[0]
    assert "Trust only hosts that you can name" == remedy.text(Language.EN).title
    assert "이름을 댈 수 있는 호스트만 신뢰하기" == remedy.text(Language.KO).title
