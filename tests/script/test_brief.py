import ast
import dataclasses
from pathlib import Path

import pytest
from tests.playbook import BRIEF, KEY

from relaywatch.model.tokens import verify_token
from relaywatch.script import ops
from relaywatch.script.brief import Brief, Depth, Identity, Leave, Patience, SinkNames


def test_without_words_from_the_permission_nothing_beyond_asking_and_our_own_mail_is_allowed():
    assert Leave(mail=True, local_reverse_paths=False, local_mailboxes=False) == Leave()


def test_the_canaries_of_a_brief_are_its_mints():
    assert BRIEF.mint.token("plain") == BRIEF.token("plain")
    assert verify_token(KEY, BRIEF.token("plain")) == BRIEF.token("plain")


def test_patience_outlasts_the_servers_that_make_talkers_wait():
    """20 s of greet pause are seen; a greylist asks for 300 s."""
    assert Patience().greeting >= 60
    assert Patience().greylist >= 300


def test_nobody_is_named_who_isnt():
    assert Identity().ehlo_name.endswith(".invalid")
    assert (None, None) == (
        SinkNames(domain="sink.test").second_domain,
        SinkNames(domain="x.test").mx_pointing_domain,
    )


def test_depths_from_little_to_much():
    assert ["core", "standard", "exhaustive"] == [str(depth) for depth in Depth]


@pytest.mark.parametrize("kind", [Brief, Identity, Leave, Patience, SinkNames])
def test_what_a_script_knows_cant_be_changed_by_it(kind):
    assert kind.__dataclass_params__.frozen


def test_no_operation_names_a_host():
    """A script can reach nothing but what the engine has bound.

    Addresses stand in two operations alone, and there the run decides: what the target announced, or another
    of ours to come from (`Connect`), and a canary of our sink (`ForwardBySSH`).
    """
    fields = {
        (item.__name__, field.name)
        for item in vars(ops).values()
        if isinstance(item, type) and issubclass(item, ops.Op) and dataclasses.is_dataclass(item)
        for field in dataclasses.fields(item)
    }
    harmless = {"data", "max_bytes", "within", "server_name", "seconds", "tokens", "observation"}
    harmless |= {"channel", "carrier", "alpn", "token", "username", "words"}

    assert {("Connect", "at"), ("Connect", "source"), ("ForwardBySSH", "to")} == {
        (item, name) for item, name in fields if name not in harmless
    }


@pytest.mark.parametrize("layer", ["model", "wire", "script", "probes"])
def test_the_pure_layers_use_no_clock_and_no_files_of_their_own_accord(layer):
    """Import-linter holds the modules; this holds the calls that need no import of their own."""
    root = Path(__file__).parents[2] / "src" / "relaywatch" / layer
    methods = {"now", "today", "utcnow"}
    functions = {"open", "print", "input", "breakpoint", "exec", "eval"}
    called = {
        (path.name, name)
        for path in root.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call)
        for name in [getattr(node.func, "attr", ""), getattr(node.func, "id", "")]
        if name in (methods if isinstance(node.func, ast.Attribute) else functions)
    }

    assert set() == called
