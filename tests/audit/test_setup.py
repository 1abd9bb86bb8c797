"""One server's files by the names that its configuration gives them, and whom it sees as whom."""

from __future__ import annotations

import time
from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relaywatch.audit import setup as set_up
from relaywatch.audit.addresses import LOOPBACK, AddressSet
from relaywatch.audit.claims import Claim, ClaimKind
from relaywatch.audit.conditions import ALWAYS, NEVER, Condition, Way, claimed
from relaywatch.audit.deciding import Rule, first_match
from relaywatch.audit.findings import Gap, GapKind, Position
from relaywatch.audit.setup import FrontEnd, Setup
from relaywatch.audit.trees import FolderTree, NotReadError, TextTree

HERE = Position("/etc/mail/main", 3)


def setup_in(files, main="/etc/mail/main", *, home="/etc/mail", **more) -> Setup:
    return Setup(tree=TextTree(files), main=PurePosixPath(main), home=PurePosixPath(home), **more)


def text_of(setup: Setup, name: str) -> str | None:
    source = setup.read(name, HERE)
    return source.text.strip() if source else None


def test_on_the_system_a_name_is_where_it_says():
    setup = setup_in(
        {"/etc/mail/main": "", "/etc/mail/t": "home", "/etc/aliases": "there", "/etc/mail-out/t": "other"}
    )
    assert text_of(setup, "t") == text_of(setup, "/etc/mail/t") == "home"
    assert text_of(setup, "/etc/aliases") == "there"
    assert not setup.gaps
    other = setup_in({"/etc/mail/t": "home", "/etc/mail-out/t": "other"}, "/etc/mail-out/main")
    assert text_of(other, "/etc/mail/t") == "home"
    assert text_of(other, "t") == "other"


def test_in_a_copy_of_a_system_it_is_as_far_from_its_root():
    files = {
        "/host1/etc/mail/main": "",
        "/host1/etc/aliases": "host1",
        "/etc/aliases": "no",
        "/etc/only": "no",
    }
    setup = setup_in(files, "/host1/etc/mail/main")
    assert text_of(setup, "/etc/aliases") == "host1"
    assert text_of(setup, "/etc/only") is None
    assert setup.gaps_that_decide() == (Gap(GapKind.MISSING, "/etc/only", HERE),)


@pytest.mark.parametrize("pattern", ["/etc/mail/conf.d/*", "conf.d/*", "../*/conf.d/*"])
def test_what_an_include_means_in_a_copy_of_a_system_can_be_read_there(pattern):
    setup = setup_in({"/host1/etc/mail/main": "", "/host1/etc/mail/conf.d/a": "yes"}, "/host1/etc/mail/main")
    (name,) = setup.included(pattern)
    assert not name.startswith("/host1")
    assert text_of(setup, name) == "yes"
    assert setup.included("conf.d/b") == ["conf.d/b"]


@pytest.mark.parametrize(
    ("home", "main", "name", "there"),
    [
        ("/etc/mail", "/host1/mail/main", "/etc/aliases", "/host1/aliases"),
        ("/etc/mail", "/mail/main", "/etc/aliases", "/aliases"),
        ("/etc/mail", "/any/main", "/etc/mail/t", "/any/t"),
        ("/etc/mail", "/h/etc/mail/conf.d/main", "/etc/mail/t", "/h/etc/mail/t"),
        ("/etc/mail", "/h/etc/mail2/main", "/etc/mail2/t", "/h/etc/mail2/t"),
        ("/etc/mail", "/usr/local/etc/mail/main", "/usr/local/etc/mail/t", "/usr/local/etc/mail/t"),
        ("/etc/mail", "/h/usr/local/etc/mail/main", "/usr/local/etc/mail/t", "/h/usr/local/etc/mail/t"),
        ("/etc/mail", "/opt/brew/etc/mail/main", "/opt/brew/etc/mail/t", "/opt/brew/etc/mail/t"),
        ("/etc", "/h/etc/main", "/var/t", "/h/var/t"),
    ],
)
def test_where_a_copy_lies_is_told_by_the_main_files_path(tmp_path, home, main, name, there):
    for path in (main, there):
        (tmp_path / path[1:]).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path[1:]).write_text("it")
    setup = Setup(tree=FolderTree(tmp_path), main=PurePosixPath(main), home=PurePosixPath(home))
    assert text_of(setup, name) == "it"
    wild = f"{name[:-1]}[{name[-1]}]"
    assert [text_of(setup, one) for one in setup.included(wild)] == ["it"]


def test_an_include_of_what_was_not_copied_is_a_gap_and_of_an_empty_folder_none(tmp_path):
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "main").touch()
    setup = Setup(tree=FolderTree(tmp_path), main=PurePosixPath("/main"), home=PurePosixPath("/etc/mail"))
    assert setup.included("/etc/mail/conf.d/*.conf") == setup.included("conf.d/*") == []
    assert setup.included("/etc/mail/more.d/*.conf") == ["/etc/mail/more.d/*.conf"]
    assert text_of(setup, "/etc/mail/more.d/*.conf") is None
    assert list(setup.gaps) == [Gap(GapKind.MISSING, "/etc/mail/more.d/*.conf", HERE)]
    assert setup_in({}).included("/etc/mail/more.d/*") == [], "on the machine itself nothing is missing"


def test_a_copied_home_is_as_good_as_the_place_itself(tmp_path):
    for name in ("main", "t"):
        (tmp_path / name).write_text(name)
    setup = Setup(tree=FolderTree(tmp_path), main=PurePosixPath("/main"), home=PurePosixPath("/etc/mail"))
    assert text_of(setup, "/etc/mail/t") == "t"
    assert setup.read_main() is not None
    assert [source.name for source in setup.sources.values()] == [f"{tmp_path}/t", f"{tmp_path}/main"]
    assert setup.has("/etc/mail/t")
    assert not setup.has("/etc/mail/u")
    assert not setup.gaps, "asking isn't reading"


def test_the_latest_gap_is_that_of_what_was_read_last_be_it_an_old_one():
    setup = setup_in({"/etc/mail/main": ""})
    first = Gap(GapKind.MISSING, "/etc/a", HERE)
    for name, latest in (
        ("/etc/a", first),
        ("/etc/b", Gap(GapKind.MISSING, "/etc/b", HERE)),
        ("/etc/a", first),
    ):
        assert setup.read(name, HERE) is None
        assert setup.latest_gap == latest
    assert len(setup.gaps) == 2


def test_what_is_read_twice_is_one_source():
    setup = setup_in({"/etc/mail/main": "x", "/etc/mail/t": "y"})
    assert setup.read("t") is setup.read("/etc/mail/t")
    assert len(setup.sources) == 1


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("conf.d/*.conf", ["/etc/mail/conf.d/a.conf", "/etc/mail/conf.d/b.conf"]),
        ("/etc/mail/conf.d/[b].conf", ["/etc/mail/conf.d/b.conf"]),
        ("conf.d/.*", ["/etc/mail/conf.d/.hidden.conf"]),
        ("*/a.conf", ["/etc/mail/conf.d/a.conf", "/etc/mail/more/a.conf"]),
        ("*/?.conf", ["/etc/mail/conf.d/a.conf", "/etc/mail/conf.d/b.conf", "/etc/mail/more/a.conf"]),
        ("conf.d/a.conf", ["/etc/mail/conf.d/a.conf"]),
        ("none/*", []),
    ],
)
def test_includes_with_wild_cards(pattern, found):
    names = ("conf.d/a.conf", "conf.d/b.conf", "conf.d/.hidden.conf", "conf.d/c.bak", "more/a.conf", "main")
    setup = setup_in({f"/etc/mail/{name}": "" for name in names})
    assert setup.glob(pattern) == found
    assert not setup.gaps


def test_an_include_of_a_folder_that_cannot_be_listed_is_a_gap(monkeypatch):
    setup = setup_in({"/etc/mail/main": ""})

    def refused(_path):
        raise NotReadError("Permission denied")

    monkeypatch.setattr(setup.tree, "folder", refused)
    assert setup.glob("conf.d/*", HERE) == []
    assert setup.gaps_that_decide() == (Gap(GapKind.UNREADABLE, "conf.d/*: Permission denied", HERE),)


def test_what_cannot_be_read_is_a_gap(monkeypatch, tmp_path):
    monkeypatch.setattr(set_up, "_MOST_LINE", 10)
    setup = setup_in(
        {
            "/etc/mail/binary": b"\x00\x01table",
            "/etc/mail/long": f"short\n{'x' * 11}\n",
            "/etc/mail/wide": "a\r\n".encode("utf-16"),
            "/etc/mail/latin": b"caf\xe9 \x1b[1m\n",
        }
    )
    assert setup.read_main() is None
    assert [text_of(setup, name) for name in ("binary", "long", "none")] == [None] * 3
    assert text_of(setup, "wide") == "a"
    assert text_of(setup, "latin") == "caf\udce9 \x1b[1m"
    assert setup.gaps_that_decide() == (
        Gap(GapKind.MISSING, "/etc/mail/main"),
        Gap(GapKind.BINARY, "binary", HERE),
        Gap(GapKind.TOO_LONG, "long", Position("/etc/mail/long", 2)),
        Gap(GapKind.MISSING, "none", HERE),
    )


def test_a_folder_in_a_files_place_is_a_gap(tmp_path):
    (tmp_path / "t").mkdir()
    setup = Setup(tree=FolderTree(tmp_path), main=PurePosixPath("/main"), home=PurePosixPath("/etc/mail"))
    assert setup.has("t")
    assert setup.read("t", HERE) is None
    assert list(setup.gaps) == [Gap(GapKind.UNREADABLE, "t: not a regular file", HERE)]


def test_gaps_that_cannot_decide_are_set_aside_and_still_told():
    setup = setup_in({})
    setup.set_aside(Gap(GapKind.DIRECTIVE, "colour"))
    gap = setup.note(Gap(GapKind.DIRECTIVE, "relay"))
    assert setup.gaps_that_decide() == (gap,)
    assert len(setup.gaps) == 2


def test_a_million_lines_are_read_in_a_moment():
    setup = setup_in({"/etc/mail/main": "192.0.2.1 OK\n" * 1_000_000})
    began = time.perf_counter()
    source = setup.read_main()
    assert source is not None
    assert len(source.lines) == 1_000_000
    assert time.perf_counter() - began < 10


# --- who comes through something in front -----------------------------------------------------------

GATEWAY = FrontEnd(addresses=AddressSet.of(["172.18.0.1"]), name="docker")
BRIDGES = FrontEnd(addresses=AddressSet.of(["172.17.0.1", "172.18.0.1"]), name="docker")
THROUGH = Claim(ClaimKind.FRONT_END, "docker")


def seen(front: FrontEnd, *networks: str, version: int = 4) -> Condition:
    return setup_in({}, front_ends=(front,)).strangers(AddressSet.of(networks), version)


def test_who_comes_through_something_in_front_has_its_address():
    assert seen(GATEWAY, "172.16.0.0/12") == claimed(THROUGH)
    assert seen(GATEWAY, "10.0.0.0/8") == NEVER
    assert seen(GATEWAY, "0.0.0.0/0") == ALWAYS
    assert seen(GATEWAY, "172.16.0.0/12", version=6) == NEVER
    assert setup_in({}).strangers(AddressSet.of(["172.16.0.0/12"]), 4) == NEVER


def test_who_comes_through_it_has_no_other_address():
    wide = seen(GATEWAY, "8.0.0.0/8")
    claim = Claim(ClaimKind.CLIENT_ADDRESS, "8.0.0.0/8")
    assert wide.true == (Way(frozenset({claim, THROUGH.opposite()})),)
    assert Way(frozenset({THROUGH})) in wide.false
    public = AddressSet.everything() - AddressSet.of(["172.16.0.0/12"])
    condition = setup_in({}, front_ends=(GATEWAY,)).strangers(public, 4)
    assert condition == ~claimed(THROUGH)


def test_where_its_address_is_one_of_several_both_may_be():
    condition = seen(BRIDGES, "172.18.0.0/16")
    assert condition.true == (Way(frozenset({THROUGH})),)
    assert condition.false == (Way(),)


def test_refusing_the_gateway_before_trusting_its_range_closes():
    setup = setup_in({}, front_ends=(GATEWAY,))
    trusted = Rule(setup.strangers(AddressSet.of(["172.16.0.0/12"]), 4), answer=True)
    refused = Rule(setup.strangers(AddressSet.of(["172.18.0.1"]), 4), answer=False)
    assert True not in first_match([refused, trusted], default=False)
    assert first_match([trusted, refused], default=False)[True] == (Way(frozenset({THROUGH})),)


@given(
    st.lists(st.sampled_from(["172.17.0.1", "172.18.0.1", "127.0.0.1", "8.8.8.8", "9.9.9.9"]), max_size=4),
    st.lists(st.sampled_from(["172.17.0.1", "172.18.0.1", "127.0.0.1"]), min_size=1, max_size=3, unique=True),
)
def test_each_address_that_a_front_end_may_have_is_thought_of(trusted, possible):
    front = FrontEnd(addresses=AddressSet.of(possible), name="docker")
    condition = seen(front, *trusted)
    may_pass, may_fail = bool({*trusted} & {*possible}), bool({*possible} - {*trusted})
    through = [way for way in condition.true if THROUGH.opposite() not in way.claims]
    assert bool(through) is may_pass
    assert bool([way for way in condition.false if THROUGH.opposite() not in way.claims]) is may_fail


def test_a_fresh_set_up_has_forgotten_all_but_what_it_was_given():
    setup = setup_in({"/etc/mail/main": ""}, front_ends=(GATEWAY,), allowed=LOOPBACK)
    setup.read_main()
    setup.note(Gap(GapKind.LOOP, "x"))
    fresh = setup.afresh()
    assert (fresh.front_ends, fresh.allowed, fresh.main) == ((GATEWAY,), LOOPBACK, setup.main)
    assert not fresh.gaps
    assert not fresh.sources
