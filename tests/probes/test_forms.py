"""Every row of the survey of vectors, written out in full: the oracle against a slip in a template."""

import re
from collections import Counter

import pytest

from relaywatch.probes.smtp_relay.forms import FORWARD_PATHS, HELO_FORMS, OURS, OWN, PLAIN, REVERSE_PATHS

VALUES = {
    "p": "user",
    "d": "sink.test",
    "n": "sink.test",
    "d2": "second.test",
    "x": "pointing.test",
    "t": "mail.example.test",
    "i": "[192.0.2.7]",
    "l": "example.test",
    "literal": "[198.51.100.9]",
    "number": "198.51.100.9",
    "r": "random",
    "d_encapsulated": "sink+2etest",
    "ehlo_name": "probe.test",
}

FORWARD = {
    "plain": ("R1", "<user@sink.test>"),
    "percent-hack": ("R2", "<user%sink.test@mail.example.test>"),
    "percent-hack-literal": ("R3", "<user%sink.test@[192.0.2.7]>"),
    "percent-hack-hosted": ("R4", "<user%sink.test@example.test>"),
    "percent-hack-unqualified": ("R5", "<user%sink.test>"),
    "quoted": ("R6", '<"user@sink.test">'),
    "quoted-percent": ("R7", '<"user%sink.test">'),
    "quoted-at-target": ("R8", '<"user@sink.test"@mail.example.test>'),
    "quoted-at-literal": ("R9", '<"user@sink.test"@[192.0.2.7]>'),
    "quoted-percent-hosted": ("R10", '<"user%sink.test"@example.test>'),
    "quoted-double-at": ("R11", '<"user@sink.test@mail.example.test">'),
    "double-at": ("R12", "<user@sink.test@mail.example.test>"),
    "double-at-literal": ("R13", "<user@sink.test@[192.0.2.7]>"),
    "double-at-hosted": ("R14", "<user@sink.test@example.test>"),
    "source-route": ("R15", "<@mail.example.test:user@sink.test>"),
    "source-route-literal": ("R16", "<@[192.0.2.7]:user@sink.test>"),
    "source-route-hosted": ("R17", "<@example.test:user@sink.test>"),
    "source-route-two-hops": ("R18", "<@mail.example.test,@sink.test:user@sink.test>"),
    "bang-path": ("R19", "<sink.test!user>"),
    "bang-path-at-target": ("R20", "<sink.test!user@mail.example.test>"),
    "bang-path-at-literal": ("R21", "<sink.test!user@[192.0.2.7]>"),
    "bang-path-two-hops": ("R22", "<mail.example.test!sink.test!user>"),
    "mixed-at-percent": ("R23", "<user@sink.test%example.test>"),
    "mixed-percent-percent": ("R23", "<user%sink.test%example.test>"),
    "mixed-bang-percent": ("R23", "<example.test!user%sink.test>"),
    "mixed-bang-percent-hosted": ("R23", "<sink.test!user%example.test>"),
    "mixed-bang-at": ("R23", "<example.test!user@sink.test>"),
    "encapsulated": ("R24", "<IMCEASMTP-user+40sink+2etest@mail.example.test>"),
    "quoted-list": ("R25", '<"random@sink.test, user@sink.test"@example.test>'),
    "address-literal": ("R26", "<user@[198.51.100.9]>"),
    "numeric-domain": ("R27", "<user@198.51.100.9>"),
    "trailing-dot": ("R28", "<user@sink.test.>"),
    "no-brackets": ("R29", "user@sink.test"),
    "double-brackets": ("R29", "<<user@sink.test>>"),
    "display-name": ("R29", '"random" <user@sink.test>'),
    "comment": ("R29", "<user@sink.test (relaywatch)>"),
    "mx-pointing": ("R30", "<user@pointing.test>"),
    "parent-domain": ("R31", "<user@random.example.test>"),
    "second-recipient": ("R32", "<user@sink.test>"),
    "notify-parameter": ("R33", "<user@sink.test> NOTIFY=NEVER"),
    "orcpt-parameter": ("R33", "<user@sink.test> ORCPT=rfc822;random@mail.example.test"),
    "bdat": ("R33", "<user@sink.test>"),
}

REVERSE = {
    "null": ("S1", "<>", True),
    "ours": ("S2", "<user@sink.test>", True),
    "second-domain": ("S3", "<user@second.test>", True),
    "target-name": ("S4", "<user@mail.example.test>", False),
    "literal": ("S5", "<user@[192.0.2.7]>", False),
    "hosted": ("S6", "<user@example.test>", False),
    "postmaster": ("S7", "<postmaster@mail.example.test>", False),
    "localhost": ("S8", "<user@localhost>", False),
    "unqualified": ("S9", "<user>", False),
    "routed": ("S10", "<@mail.example.test:user@sink.test>", True),
    "percent-routed": ("S11", "<user%sink.test@mail.example.test>", False),
    "unresolvable": ("S12", "<user@random.invalid>", True),
    "no-brackets": ("S13", "user@sink.test", True),
    "space-after-colon": ("S13", " <user@sink.test>", True),
}

HELO = {
    "own": "EHLO probe.test",
    "helo": "HELO probe.test",
    "target-name": "EHLO mail.example.test",
    "hosted": "EHLO example.test",
    "localhost": "EHLO localhost",
    "localhost-localdomain": "EHLO localhost.localdomain",
    "loopback-literal": "EHLO [127.0.0.1]",
    "target-literal": "EHLO [192.0.2.7]",
    "xclient-loopback": "XCLIENT ADDR=127.0.0.1 NAME=localhost / EHLO probe.test",
    "xclient-login": "XCLIENT LOGIN=postmaster / EHLO probe.test",
}


def ids(rows):
    return [row.name for row in rows]


@pytest.mark.parametrize("row", FORWARD_PATHS, ids=ids(FORWARD_PATHS))
def test_forward_paths(row):
    written = row.template.format_map(VALUES)
    parameters = row.parameters.format_map(VALUES)

    assert FORWARD[row.name] == (row.code, f"{written} {parameters}".strip())


@pytest.mark.parametrize("row", REVERSE_PATHS, ids=ids(REVERSE_PATHS))
def test_reverse_paths(row):
    assert REVERSE[row.name] == (row.code, row.template.format_map(VALUES), row.is_ours)


@pytest.mark.parametrize("row", HELO_FORMS, ids=ids(HELO_FORMS))
def test_helo_forms(row):
    prelude = f"{row.prelude} / " if row.prelude else ""

    assert HELO[row.name] == f"{prelude}{row.verb} {row.template.format_map(VALUES)}"


def test_no_row_is_lost():
    assert set(FORWARD) == set(ids(FORWARD_PATHS))
    assert set(REVERSE) == set(ids(REVERSE_PATHS))
    assert set(HELO) == set(ids(HELO_FORMS))


def test_every_number_of_the_survey_has_its_row():
    assert {f"R{number}" for number in range(1, 34)} == {row.code for row in FORWARD_PATHS}
    assert {f"S{number}" for number in range(1, 14)} == {row.code for row in REVERSE_PATHS}


def test_the_survey_is_in_its_order():
    numbers = [int(row.code[1:]) for row in FORWARD_PATHS]

    assert sorted(numbers) == numbers


@pytest.mark.parametrize("rows", [FORWARD_PATHS, REVERSE_PATHS, HELO_FORMS])
def test_names_are_kebab_case_and_given_once(rows):
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)*", row.name) for row in rows)
    assert {1} == set(Counter(ids(rows)).values())


@pytest.mark.parametrize("row", [*FORWARD_PATHS, *REVERSE_PATHS, *HELO_FORMS], ids=lambda row: row.template)
def test_every_field_is_known(row):
    assert row.fields <= set(VALUES)
    assert "{" not in row.template.format_map(VALUES)


@pytest.mark.parametrize("row", [*FORWARD_PATHS, *REVERSE_PATHS, *HELO_FORMS], ids=lambda row: row.template)
def test_every_row_names_an_advisory(row):
    assert re.fullmatch(r"RW-10[0-2]\d", row.advisory)


def test_every_forward_path_carries_the_canary():
    """Nothing else proves the case."""
    assert [] == [row.name for row in FORWARD_PATHS if "{p}" not in row.template]


def test_the_first_rows_are_the_plain_ones():
    assert ("plain", "ours", "own") == (PLAIN.name, OURS.name, OWN.name)


def test_what_ends_at_the_target():
    """There an innocent server may take the form for a mailbox of its own, and a control is due."""
    ends = {row.name for row in FORWARD_PATHS if row.ends_at_target}

    assert {
        "percent-hack", "percent-hack-literal", "percent-hack-hosted", "percent-hack-unqualified",
        "quoted", "quoted-percent", "quoted-at-target", "quoted-at-literal", "quoted-percent-hosted",
        "quoted-double-at", "double-at", "double-at-literal", "double-at-hosted",
        "bang-path", "bang-path-at-target", "bang-path-at-literal", "bang-path-two-hops",
        "mixed-at-percent", "mixed-percent-percent", "mixed-bang-percent", "mixed-bang-percent-hosted",
        "encapsulated", "quoted-list", "double-brackets", "display-name", "comment", "parent-domain",
    } == ends  # fmt: skip


def test_what_strains_syntax():
    strains = {row.name for row in FORWARD_PATHS if row.strains_syntax}

    assert {
        "percent-hack-literal", "quoted-at-literal", "double-at-literal", "source-route-literal",
        "bang-path-at-literal", "address-literal", "numeric-domain", "trailing-dot", "no-brackets",
        "double-brackets", "display-name", "comment", "double-at", "double-at-hosted", "mixed-at-percent",
    } == strains  # fmt: skip


def test_only_the_parent_domain_is_weak_and_only_the_second_recipient_comes_after_another():
    assert ["parent-domain"] == [row.name for row in FORWARD_PATHS if row.is_weak]
    assert ["second-recipient"] == [row.name for row in FORWARD_PATHS if row.after_local]


def test_what_needs_an_extension():
    needs = {row.name: row.needs for row in (*FORWARD_PATHS, *HELO_FORMS) if row.needs}

    assert {
        "notify-parameter": "DSN", "orcpt-parameter": "DSN", "bdat": "CHUNKING",
        "xclient-loopback": "XCLIENT", "xclient-login": "XCLIENT",
    } == needs  # fmt: skip


def test_no_bounce_goes_to_a_stranger():
    """What isn't ours is the target's own: never a third party's."""
    for row in REVERSE_PATHS:
        written = row.template.format_map(VALUES).strip()
        domain = written.strip("<>").rpartition("@")[2]
        theirs = domain in {VALUES["t"], VALUES["l"], VALUES["i"], "localhost", "user"}
        ours = domain in {"", VALUES["d"], VALUES["d2"]} or domain.endswith(".invalid")

        assert (row.is_ours, not row.is_ours) == (ours, theirs), row.name
