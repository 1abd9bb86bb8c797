"""What relay control sees of a forward-path, and where delivery takes it."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relaywatch.demo.addresses import Destination, Path, read_path, resolve, split_mailbox
from relaywatch.demo.policy import Policy, Rewrite

LOCAL = frozenset({"own.example"})
STRICT = Policy(hostname="mail.own.example", local_domains=("own.example",))
SLOPPY = replace(STRICT, rewrites=frozenset(Rewrite), source_route_hides_mailbox=True)


@pytest.mark.parametrize(
    ("argument", "path"),
    [
        ("<>", Path("", "", bracketed=True)),
        ("<a@b.example>", Path("a@b.example", "", bracketed=True)),
        (" <a@b.example>  SIZE=5 BODY=8BITMIME", Path("a@b.example", "SIZE=5 BODY=8BITMIME", bracketed=True)),
        ('<"a>b"@c.example>', Path('"a>b"@c.example', "", bracketed=True)),
        ("a@b.example SIZE=5", Path("a@b.example", "SIZE=5", bracketed=False)),
        ("<<a@b.example>>", None),
        ("<a@b.example", None),
        ("", None),
    ],
)
def test_path_is_read_with_or_without_brackets(argument, path):
    assert path == read_path(argument)


@pytest.mark.parametrize(
    ("mailbox", "parts"),
    [
        ("a@B.Example", ("a", "b.example")),
        ("a@b@c", ("a@b", "c")),
        ('"a@b"@c', ('"a@b"', "c")),
        ('"a@b"', ('"a@b"', "")),
        ("a", ("a", "")),
    ],
)
def test_mailbox_is_split_at_the_last_at_sign_outside_quotes(mailbox, parts):
    assert parts == split_mailbox(mailbox)


@pytest.mark.parametrize(
    ("path", "rewrite"),
    [
        ("p%d.example@own.example", Rewrite.PERCENT_HACK),
        ("p%d.example", Rewrite.PERCENT_HACK),
        ("d.example!p@own.example", Rewrite.BANG_PATH),
        ("own.example!d.example!p", Rewrite.BANG_PATH),
        ('"p@d.example"@own.example', Rewrite.DEQUOTE),
        ('"p@d.example"', Rewrite.DEQUOTE),
        ("p@d.example@own.example", Rewrite.SECOND_AT),
        ("IMCEASMTP-p+40d+2eexample@own.example", Rewrite.DECAPSULATE),
        ('"x@d.example, p@d.example"@own.example', Rewrite.ADDRESS_LIST),
    ],
)
def test_form_escapes_only_a_server_that_rewrites_it(path, rewrite):
    others = frozenset(Rewrite) - {rewrite}

    sloppy = resolve(path, replace(STRICT, rewrites=frozenset({rewrite})), LOCAL)
    strict = resolve(path, replace(STRICT, rewrites=others), LOCAL)

    assert Destination("own.example", "p@d.example") == sloppy
    assert "own.example" == strict.claimed_domain == strict.domain


def test_source_route_is_ignored_by_a_strict_server_and_believed_by_a_sloppy_one():
    path = "@own.example,@hop.example:p@d.example"

    assert Destination("d.example", "p@d.example") == resolve(path, STRICT, LOCAL)
    assert Destination("own.example", "p@d.example") == resolve(path, SLOPPY, LOCAL)


def test_rewriting_goes_on_through_nested_forms():
    path = '"own.example!p%d.example"@own.example'

    assert "p@d.example" == resolve(path, SLOPPY, LOCAL).mailbox


def test_backup_mx_rewrites_in_the_domains_that_it_backs_up_alone():
    policy = replace(
        STRICT,
        relay_domains=frozenset({"hosted.example"}),
        rewrites=frozenset({Rewrite.SECOND_AT}),
        rewriting_domains=frozenset({"hosted.example"}),
    )

    assert "p@d.example" == resolve("p@d.example@hosted.example", policy, LOCAL).mailbox
    assert "own.example" == resolve("p@d.example@own.example", policy, LOCAL).domain


@given(st.text(alphabet='ab@%!"\\,.:<> +-', max_size=40))
def test_strict_server_never_lets_a_path_lead_elsewhere_than_it_claims(path):
    destination = resolve(path, STRICT, LOCAL)

    assert destination.claimed_domain == destination.domain


@given(st.text(alphabet='ab@%!"\\,.:<> +-', max_size=40))
def test_every_path_comes_to_a_mailbox_with_a_domain(path):
    destination = resolve(path, SLOPPY, LOCAL)

    assert "" not in {destination.domain, destination.claimed_domain}
