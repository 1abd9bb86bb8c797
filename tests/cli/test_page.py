import hashlib
import io
import re
from base64 import b64encode
from html.parser import HTMLParser

import pytest
from tests.cli.samples import BEGAN, finding, inconclusive_line, line, open_entry, open_line

from relaywatch.advice.catalogue import load_catalogue
from relaywatch.cli.exit_codes import Tally
from relaywatch.cli.language import words_in
from relaywatch.cli.reports.entry import Entry
from relaywatch.cli.reports.page import write_page
from relaywatch.model.places import Transport
from relaywatch.model.verdicts import Vantage, Verdict

VOID = {"meta", "link", "img", "br", "hr", "input"}
OPTIONAL_END = set()


class Page(HTMLParser):
    """Reads a page and holds it to being well nested."""

    def __init__(self):
        super().__init__()
        self.tags, self.attributes, self.text, self.stack, self.style = [], [], [], [], ""

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, *pair) for pair in attrs]
        if tag not in VOID:
            self.stack.append(tag)

    def handle_endtag(self, tag):
        assert tag == self.stack.pop()

    def handle_data(self, data):
        if self.stack and self.stack[-1] == "style":
            self.style += data
        else:
            self.text.append(data)


def rendered(*entries, language="en"):
    tally = Tally()
    for entry in entries:
        tally.add(entry.line)
    file = io.StringIO()
    write_page(file, entries, load_catalogue(), words_in(language), made_at=BEGAN, tally=tally)
    page = Page()
    page.feed(file.getvalue())
    page.close()
    assert [] == page.stack
    page.source = file.getvalue()
    page.words = " ".join(" ".join(page.text).split())
    return page


def test_what_a_server_said_is_text():
    page = rendered(open_entry())

    assert "script" not in page.tags
    assert "b" not in page.tags
    assert (
        r"250 \x1b]0;owned\x07\x9b31m[red]bold[/red] <script>alert(1)</script> \u202egnp.exe\xff\r\nX"
        in page.words
    )
    assert page.source.replace("\n", "").isprintable()


def test_a_name_cannot_leave_its_attribute():
    page = rendered(Entry(open_line(target='"><img src=x onerror=alert(1)>', name="\" onmouseover='x'")))

    assert "img" not in page.tags
    assert not any(name.startswith("on") for _, name, _ in page.attributes)


def test_nothing_is_loaded_from_anywhere():
    page = rendered(open_entry(), Entry(inconclusive_line()))
    loaded = [
        (tag, value) for tag, name, value in page.attributes if name in {"src", "href", "action", "srcset"}
    ]

    assert all(tag == "a" and value.startswith("#") for tag, value in loaded)
    assert "url(" not in page.style
    assert "@import" not in page.style
    assert not {"script", "link", "img", "iframe", "object", "form"} & set(page.tags)


def test_the_policy_allows_the_style_that_is_there_and_nothing_else():
    page = rendered(open_entry())
    [policy] = [
        value
        for tag, name, value in page.attributes
        if tag == "meta" and name == "content" and "src" in value
    ]
    digest = b64encode(hashlib.sha256(page.style.encode()).digest()).decode()

    assert policy.startswith(f"default-src 'none'; style-src 'sha256-{digest}';")
    assert not any(name == "style" for _, name, _ in page.attributes)


def test_states_are_told_by_word_and_shape():
    page = rendered(*(Entry(line(verdict, target=f"192.0.2.{n}")) for n, verdict in enumerate(Verdict)))

    for said in ("● open", "◐ accepting", "○ closed", "– absent", "? inconclusive"):
        assert said in page.words


def test_links_within_the_page_lead_somewhere():
    page = rendered(*(Entry(line(target=f"192.0.2.{n}")) for n in range(3)), open_entry(target="2001:db8::7"))
    ids = [value for _, name, value in page.attributes if name == "id"]
    links = [value for _, name, value in page.attributes if name == "href"]

    assert len(ids) == len(set(ids)) == 4
    assert {f"#{one}" for one in ids} == set(links)


def test_many_closed_ones_are_told_in_the_table_alone():
    closed = [Entry(line(target=f"192.0.2.{n}", name=None)) for n in range(100, 130)]
    page = rendered(*closed, open_entry())

    assert 1 == page.tags.count("section")
    assert "192.0.2.129" in page.words


def test_proof_remedy_and_what_to_do_next():
    page = rendered(open_entry())

    for said in (
        "relays mail for strangers: our own message arrived.",
        "Arrived at",
        "2026-11-24T02:10:05+00:00, from 192.0.2.7:41234",
        "from checker.test ([203.0.113.5]) by mail.example.org",
        "swaks --server 192.0.2.7",
        "mynetworks = 127.0.0.0/8",
        "relaywatch check 192.0.2.7 --port 25",
        "Finished. 1 of 1 hosts relay.",
        "0.020 C: EHLO checker.test",
    ):
        assert said in page.words


def test_the_other_things_that_can_be_told():
    odd = finding(
        advisory="RW-0000",
        transport=Transport.TLS,
        exit_address=None,
        command="EHLO a / MAIL FROM:<> / RCPT TO:b",
    )
    page = rendered(
        Entry(
            open_line(
                findings=(odd,), vantage=Vantage.INSIDE, software=None, advisories=("RW-1031", "RW-9999")
            )
        ),
        Entry(inconclusive_line(target="192.0.2.8", error="no way", doors=(), source_address=None)),
    )

    for said in ("strangers not tested", "openssl s_client", "RW-1031", "no way", "greylisted"):
        assert said in page.words


@pytest.mark.parametrize(
    ("language", "said"), [("en", "Relay and proxy check report"), ("ko", "스팸 릴레이·프록시 점검 보고서")]
)
def test_languages(language, said):
    page = rendered(open_entry(), language=language)

    assert ("html", "lang", language) in page.attributes
    assert said in page.words
    assert language == "en" or not re.search(r"\b(We sent|Verdict|How to mend it)\b", page.words)


def test_whoever_is_absent_is_not_checked_again_after_a_change():
    assert "Check again" not in rendered(Entry(line(Verdict.ABSENT))).words
    assert "Check again" in rendered(Entry(line(Verdict.CLOSED))).words
