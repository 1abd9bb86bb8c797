"""What keeps httpd down: a directive without its module, a mask of no bits, and rules that only ever refuse."""

from __future__ import annotations

from relaywatch.audit.findings import Cause

from .reading import Node, Reading

_NEEDING = {
    "proxyrequests": "proxy",
    "proxypass": "proxy",
    "proxypassmatch": "proxy",
    "allowconnect": "proxy_connect",
    "rewriterule": "rewrite",
    "rewriteengine": "rewrite",
}
_CONTAINERS = frozenset({"requireany", "requireall", "requirenone"})
_MOST_DEPTH = 16


def refused(host: Node, reading: Reading) -> Cause | None:
    """The line at which httpd gives up."""
    for node in host.inside:
        if node.name in _NEEDING and not reading.has(_NEEDING[node.name]):
            return node.cause("ap-syntax")
        wide = next(filter(None, map(_too_wide, node.inside)), None)
        if wide is not None:
            return wide.cause("ap-mask")
        if node.name != "virtualhost" and (alone := _only_refusing(node, 0)) is not None:
            return alone.cause("ap-negative")
    return None


def _too_wide(node: Node) -> Node | None:
    """A network of no bits, which httpd takes for a bad mask; ``all`` is what it has for that."""
    if node.name in {"require", "allow", "deny"} and any(word.endswith("/0") for word in node.words):
        return node
    return next(filter(None, map(_too_wide, node.inside)), None)


def _only_refusing(node: Node, depth: int) -> Node | None:
    """What refuses only has no effect among those of which any is enough, and is nothing without one that grants."""
    own = [one for one in node.inside if one.name == "require" or one.name in _CONTAINERS]
    negative = [one for one in own if _is_negative(one)]
    if negative and node.name == "requireall" and len(negative) == len(own):
        return node
    if negative and node.name not in {"requireall", "requirenone"}:
        return negative[0]
    if depth >= _MOST_DEPTH:
        return None
    return next(filter(None, (_only_refusing(one, depth + 1) for one in node.inside)), None)


def _is_negative(node: Node) -> bool:
    return node.name == "requirenone" or (node.name == "require" and node.words[:1] == ("not",))
