"""What a stranger gets out of each server of nginx: by HTTP, by CONNECT, and by the name in a TLS hello."""

from __future__ import annotations

from collections.abc import Iterator

from relaywatch.audit.conditions import Way, joined, unknown
from relaywatch.audit.findings import Cause, Gap, GapKind
from relaywatch.audit.proxies import by_rule, first_of_each, headed, host_and_port, is_loopback, to
from relaywatch.audit.server import Service
from relaywatch.audit.setup import Setup
from relaywatch.audit.witness import OUTSIDE_HOST
from relaywatch.model.evidence import Weakness

from .access import inherited, let_in
from .passing import Passed, Place, listens, made_names, outside_host_of, passed, places
from .reading import Node, whole
from .values import Trial, Values, patterns_in, words_to_try

_OWN_NAME = "own.example.org"
_MAIL_PORTS = frozenset({"25", "465", "587", "2525", "smtp", "submission"})


def evaluate(setup: Setup) -> Iterator[Service]:
    """Every server of the http and stream contexts."""
    top = whole(setup)
    if top is None:
        return
    bare = any(node.name in {"server", "location", "upstream"} for node in top.inside)
    for http in [*top.all("http"), *([top] if bare else [])]:
        servers = list(http.all("server"))
        down = next((cause for server in servers for cause in _stumbling(http, server)), None)
        for server in servers:
            yield _service(server, _by_http(setup, http, server, servers), down)
    for stream in top.all("stream"):
        for server in stream.all("server"):
            yield _service(server, _by_name(setup, stream, server))
    for mail in top.all("mail"):
        _note_hidden(setup, mail)


def _stumbling(http: Node, server: Node) -> Iterator[Cause]:
    """``proxy_pass`` with a path and without a variable has no place where no prefix of the path is replaced."""
    for place in places((http, server)):
        at = place.node.words[0] if place.node.words else ""
        if place.node.name in {"if", "limit_except"} or (
            place.node.name == "location" and at[:1] in {"~", "@"}
        ):
            for node in place.node.all("proxy_pass"):
                target = node.words[0].partition("://")[2] if node.words else ""
                if "/" in target and "$" not in target and not target.startswith("unix:"):
                    yield node.cause("ng-path")


def _service(server: Node, ways: Iterator[Way], down: Cause | None = None) -> Service:
    heard = listens(server)
    names = [word for node in server.all("server_name") for word in node.words]
    return Service(
        name=" ".join((", ".join(heard), *names[:2])),
        weakness=Weakness.OPEN_PROXY,
        position=server.position,
        passing=() if down else first_of_each(ways),
        down=down,
        is_out_of_reach=all(is_loopback(host_and_port(one)[0] or one) for one in heard),
    )


def _by_http(setup: Setup, http: Node, server: Node, servers: list[Node]) -> Iterator[Way]:
    yield from _unread(http, server)
    outside = outside_host_of(server, servers)
    for one in passed(setup, http, server, _hosts(server, outside)):
        yield from _let_on(setup, one)
    if outside:
        for place in places((http, server)):
            yield from _tunnelled(setup, place)


def _hosts(server: Node, outside: str | None) -> list[Trial]:
    """Requests that come to a server: with an absolute URI its name chooses the server, and the Host field stays."""
    names = [
        word for node in server.all("server_name") for word in node.words if word[:1] not in {"~", "_", ""}
    ]
    patterns = [word for node in server.all("server_name") for word in node.words if word.startswith("~")]
    made = [
        Trial(host, host, "/") for name in patterns for host in list(dict.fromkeys(made_names(name)))[:12]
    ]
    own = Trial(names[0].lstrip("*.") if names else _OWN_NAME, OUTSIDE_HOST, "/")
    if outside is None:
        return [*made, own]
    if not outside:
        return [Trial(own.host, "", "/")]  # HTTP/1.0 without a Host field
    short = f"{outside}?"  # what follows it is no host any more
    return [Trial(outside, outside, "/"), Trial(short, short, "/"), *made, own]


def _let_on(setup: Setup, one: Passed) -> Iterator[Way]:
    known = Way(gaps=one.gaps, causes=(one.node.cause("ng-variable"),))
    trial = one.trial
    path = trial.path.replace("?", "%3F")
    said = f"by GET {path}" if trial.host == OUTSIDE_HOST else f"by Host, GET http://{trial.host}{path}"
    for version in (4, 6):
        for way in let_in(setup, one.levels, version):
            yield headed(by_rule(known, way), f"{OUTSIDE_HOST}:80 {said}")


def _tunnelled(setup: Setup, place: Place) -> Iterator[Way]:
    """CONNECT: by the module that others made, on its usual ports, or by nginx's own ``tunnel_pass``."""
    connect = place.node.last_of("proxy_connect")
    if connect is not None:
        allowed = inherited(place.levels, "proxy_connect_allow")
        ports = _ports(allowed)
        if ports:
            yield from _let_in_to(setup, place, connect, ports)
    tunnel = place.node.last_of("tunnel_pass")
    if tunnel is not None and (not tunnel.words or "$" in tunnel.words[0]):
        gaps = [
            setup.note(Gap(GapKind.NOT_EVALUATED, node.text, node.position))
            for level in place.levels
            for node in level.all("tunnel_allow_upstream")
        ]
        yield from _let_in_to(setup, place, tunnel, "25", gaps)


def _let_in_to(
    setup: Setup, place: Place, node: Node, port: str, gaps: list[Gap] | None = None
) -> Iterator[Way]:
    if any(level.last_of("return") for level in place.levels):
        return
    known = Way(gaps=frozenset(gaps or ()), causes=(node.cause("ng-connect"),))
    for version in (4, 6):
        for way in let_in(setup, place.levels, version):
            yield headed(by_rule(known, way), f"{OUTSIDE_HOST}:{port} by CONNECT")


def _ports(allowed: Node | None) -> str:
    """The port to show; none if nothing is let through."""
    if allowed is None:
        return "443"
    for word in allowed.words:
        first, _, last = word.partition("-")
        if word == "all" or (first.isdigit() and int(first) <= 25 <= int(last or first)):
            return "25"
    return next((word.partition("-")[0] for word in allowed.words if word[:1].isdigit()), "")


def _by_name(setup: Setup, stream: Node, server: Node) -> Iterator[Way]:
    yield from _unread(stream, server)
    node = server.last_of("proxy_pass")
    if node is None or not node.words or "$" not in node.words[0]:
        _note_hidden(setup, server)
        return
    upstreams = {one.words[0] for one in stream.all("upstream") if one.words}
    gaps: set[Gap] = set()
    for word in words_to_try(patterns_in(stream)):
        values = Values(setup, stream, Trial(word, word, "/", word))
        host = values.expanded(node.words[0])
        if (
            OUTSIDE_HOST in host
            and "/" not in host
            and "@" not in host
            and host not in upstreams
            and not values.gaps
        ):
            yield from _named(setup, (stream, server), Way(causes=(node.cause("ng-stream-name"),)))
            return
        gaps |= values.gaps
    if gaps:
        yield from _named(
            setup, (stream, server), Way(gaps=frozenset(gaps), causes=(node.cause("ng-stream-name"),))
        )


def _named(setup: Setup, levels: tuple[Node, ...], known: Way) -> Iterator[Way]:
    for version in (4, 6):
        for way in let_in(setup, levels, version):
            yield headed(by_rule(known, way), f"{OUTSIDE_HOST}:443 by TLS SNI")


def _unread(*levels: Node) -> Iterator[Way]:
    """What stands in a file that wasn't read may be anything."""
    for level in levels:
        for node in level.inside:
            if node.gap is not None:
                yield from joined(unknown(node.gap).true, (to(),))


def _note_hidden(setup: Setup, node: Node) -> None:
    """In front of mail it hides clients, unless it tells the server who comes: that is the mail server's to judge."""
    passing = node.last_of("proxy_pass")
    target = passing.words[0] if passing and passing.words else ""
    tells = node.last_of("proxy_protocol") or node.last_of("xclient")
    is_told = tells is not None and tells.words[:1] != ("off",)
    if (node.name == "mail" or host_and_port(target)[1] in _MAIL_PORTS) and not is_told:
        where = passing or node
        setup.set_aside(Gap(GapKind.NOT_EVALUATED, f"{where.text}: hides who comes", where.position))
