"""Whether an upstream is the client's own choice: what its placeholders stand for."""

from __future__ import annotations

import re
from collections.abc import Iterable

from relaywatch.audit.addresses import NOBODY, AddressSet
from relaywatch.audit.captures import host_of, is_outside
from relaywatch.audit.claims import Claim, ClaimKind
from relaywatch.audit.conditions import Condition, claimed, unknown
from relaywatch.audit.findings import Cause, Gap, GapKind, Position
from relaywatch.audit.setup import Setup
from relaywatch.audit.witness import OUTSIDE_HOST

from .reading import Node

_PLACEHOLDER = re.compile(r"\{([^{}$]+)\}")
_BY_HOST = re.compile(
    r"host|hostport|http\.request\.(?:host|hostport)|labels\.\d+|http\.request\.host\.labels\.\d+"
)
_CLIENTS = re.compile(
    r"(?:http\.request\.)?(?:header|query|cookie|uri|path|re|re\..*|orig_uri|tls\.server_name|remote\.user|body)(?:[.?].*)?"
    r"|tls_.*|uri|path|dir|file|query|re\..*"
)
_FIXED = re.compile(
    r"env\..*|system\..*|upstream_hostport|http\.reverse_proxy\..*|time\..*|file\..*|remote.*|http\.request\.remote.*|port"
)
_LABEL = re.compile(r"(?:http\.request\.host\.)?labels\.(\d+)")


def chosen(setup: Setup, words: Iterable[str], cause: Cause, *, by_host: bool) -> Condition | None:
    """Whether one of the upstreams is the client's choice; nothing if none is.

    ``by_host``: whether he may ask for whatever host he likes there.
    """
    held = [(word, name) for word in words for name in _PLACEHOLDER.findall(word)]
    mine = [(word, name) for word, name in held if _leads_out(word)]
    if by_host and any(_BY_HOST.fullmatch(name) for _, name in mine):
        return claimed()
    his = (name for _, name in mine if _CLIENTS.fullmatch(name) and not _BY_HOST.fullmatch(name))
    by_words = next(his, None)
    if by_words is not None:
        return claimed(Claim(ClaimKind.DESTINATION, f"{OUTSIDE_HOST} in {{{by_words}}}"))
    others = (_BY_HOST, _CLIENTS, _FIXED)
    if any(not any(kind.fullmatch(name) for kind in others) for _, name in held):
        return unknown(setup.note(Gap(GapKind.NOT_EVALUATED, cause.text[:80], cause.position)))
    return None


def _leads_out(upstream: str) -> bool:
    """Whether an outside host comes of it; what stands before the owner's own domain makes one of his hosts."""
    made = _PLACEHOLDER.sub(lambda found: _filled(found[1]), upstream)
    return is_outside(host_of(made, userinfo=False))


def _filled(name: str) -> str:
    label = _LABEL.fullmatch(name)
    labels = OUTSIDE_HOST.split(".")
    if label is not None:
        number = int(label[1])
        return labels[-1 - number] if number < len(labels) else "a"
    return "80" if name.endswith("port") and not name.endswith("hostport") else OUTSIDE_HOST


def trusting_strangers(setup: Setup, options: Node) -> Node | None:
    """The line by which strangers are trusted to say from where they come: ``trusted_proxies static …``."""
    for servers in options.all("servers"):
        for line in servers.all("trusted_proxies"):
            if trusts_strangers(setup, line.words[2:]):
                return line
    return None


def trusts_strangers(setup: Setup, ranges: Iterable[str]) -> bool:
    """Whether strangers are in these ranges."""
    trusted = NOBODY
    for word in ranges:
        try:
            trusted |= AddressSet.of([word])
        except ValueError:
            continue
    return setup.has_strangers(trusted)


def note_layer4(setup: Setup, subject: str, position: Position | None) -> None:
    """The module layer4, whose routes aren't evaluated."""
    setup.note(Gap(GapKind.NOT_EVALUATED, subject[:80], position))
