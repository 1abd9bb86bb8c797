"""What a stranger gets out of httpd's main server and of each virtual host."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase

from relaywatch.audit.conditions import Way, all_of, unknown
from relaywatch.audit.findings import Gap, GapKind
from relaywatch.audit.proxies import first_of_each, headed, host_and_port, is_loopback
from relaywatch.audit.server import Service
from relaywatch.audit.setup import Setup
from relaywatch.audit.witness import OUTSIDE_HOST
from relaywatch.model.evidence import Weakness

from .access import CHOOSING, Access, Asked
from .forging import forging
from .reading import Node, Reading
from .refusing import refused
from .rewriting import Outcome, Rewriting

_SECTIONS = ("proxy", "proxymatch", "location", "locationmatch", *CHOOSING)
_RULES = {"rewriterule": "ap-rewrite", "sethandler": "ap-handler"}
_CONTEXTS = frozenset(
    {"location", "locationmatch", "directory", "directorymatch", "files", "filesmatch", "proxy"}
)
_ASKED = (("CONNECT", 25), ("CONNECT", 443), ("CONNECT", 587), ("GET", 25), ("GET", 80), ("POST", 25))
_HOSTS = (OUTSIDE_HOST, "www.foreign.invalid")
"""What is denied for one may be let through to the other."""
_USUAL_TUNNELS = (range(443, 444), range(563, 564))


def evaluate(setup: Setup) -> Iterator[Service]:
    """The main server, and every virtual host."""
    reading = Reading(setup)
    top = reading.whole()
    if top is None:
        return
    hosts = [top, *(node for node in top.inside if node.name == "virtualhost")]
    down = next(filter(None, (refused(host, reading) for host in hosts)), None)
    for host in hosts:
        one = _Host(setup, reading, top, host)
        yield Service(
            name=host.text or "main server",
            weakness=Weakness.OPEN_PROXY,
            position=host.position,
            passing=() if down else one.passing(),
            down=down,
            is_out_of_reach=one.is_out_of_reach(),
        )


@dataclass(slots=True)
class _Host:
    setup: Setup
    reading: Reading
    top: Node
    node: Node
    maps: dict[str, str] = field(default_factory=dict)

    def passing(self) -> tuple[Way, ...]:
        """Forwarded, or sent on by a rule to the host that he names."""
        return first_of_each((*self._forwarded(), *self._sent_on(), *self._unread()))

    def is_out_of_reach(self) -> bool:
        """Whether it is heard on loopback alone; the main server is, if virtual hosts take every address."""
        heard = [one.words[0] for one in self.top.all("listen") if one.words]
        if self.node is not self.top:
            named = [host_and_port(word) for word in self.node.words]
            ports = {port for _, port in named if port not in {"", "*"}}
            heard = [one for one in heard if not ports or (host_and_port(one)[1] or one) in ports]
            if named and all(is_loopback(host) for host, _ in named):
                return True
        return bool(heard) and all(is_loopback(host_and_port(one)[0]) for one in heard)

    def _unread(self) -> Iterator[Way]:
        """What stands in a file that wasn't read may be anything."""
        for node in self.node.inside:
            if node.gap is not None and node.name == "":
                yield from unknown(node.gap).true

    # -- forward ---------------------------------------------------------------------------------------------

    def _forwarded(self) -> Iterator[Way]:
        switch = self._last("proxyrequests")
        if switch is None or switch.words[:1] == () or switch.words[0].lower() != "on":
            return
        if not self._hears_any_name() or any("*" in node.words for node in self._both("proxyblock")):
            return
        access = self._access()
        for method, port in _ASKED:
            if not self._carries(method, port):
                continue
            granted = [
                (host, access.granted(Asked(method, url, version, is_forward=True)))
                for host in _HOSTS
                for url in [f"{host}:{port}" if method == "CONNECT" else f"http://{host}:{port}/"]
                for version in (4, 6)
            ]
            rule = "ap-connect" if method == "CONNECT" and port != 443 else "ap-forward"
            for host, condition in granted:
                for way in condition.true:
                    causes = way.causes if any(cause.rule for cause in way.causes) else ()
                    told = Way(way.claims, way.gaps, (*causes, switch.cause(rule)))
                    yield headed(told, f"{host}:{port} by {method}")

    def _carries(self, method: str, port: int) -> bool:
        if method != "CONNECT":
            return self.reading.has("proxy_http")
        if not self.reading.has("proxy_connect"):
            return False
        allowing = self._last("allowconnect")
        spans = [_span(word) for word in allowing.words] if allowing else _USUAL_TUNNELS
        return any(port in span for span in spans)

    def _hears_any_name(self) -> bool:
        """Whether requests for outside hosts come here: to the first at an address, or to one of any name."""
        if self.node is self.top:
            return self._main_is_heard()
        hosts = list(self.top.all("virtualhost"))
        return any(
            _for_any([one for one in hosts if word in one.words]) is self.node for word in self.node.words
        )

    def _hosts(self) -> tuple[str, ...]:
        """Hosts for which requests come here: outside ones, if no other host is for them, and its own."""
        own = next((word for node in self.node.all("servername") for word in node.words), "own.example.org")
        return (OUTSIDE_HOST, own) if self._hears_any_name() else (own,)

    def _main_is_heard(self) -> bool:
        """The main server answers where no virtual host does."""
        taken = {host_and_port(word) for node in self.top.all("virtualhost") for word in node.words}
        if ("*", "*") in taken or ("*", "") in taken or ("_default_", "*") in taken:
            return False
        heard = [node.words[0] for node in self.top.all("listen") if node.words] or ["80"]
        ports = {host_and_port(one)[1] or one for one in heard}
        return not all(("*", port) in taken or ("_default_", port) in taken for port in ports)

    # -- by rules --------------------------------------------------------------------------------------------

    def _sent_on(self) -> Iterator[Way]:
        for outcome, context in self._outcomes():
            rule = _RULES.get(outcome.node.name, "ap-passmatch")
            path = outcome.path if outcome.path.startswith("/") else f"/{outcome.path}"
            access = self._access(context)
            for version in (4, 6):
                asked = Asked("GET", f"http://{OUTSIDE_HOST}{path}", version, is_forward=False, path=path)
                granted = access.granted(asked)
                if outcome.gap is not None:
                    granted = all_of((granted, unknown(outcome.gap)))
                for way in granted.true:
                    told = Way(way.claims, way.gaps, (outcome.node.cause(rule), *way.causes))
                    yield headed(told, f"{OUTSIDE_HOST}:80 by GET {path}")

    def _outcomes(self) -> Iterator[tuple[Outcome, Node | None]]:
        if not self.reading.has("proxy") or (self.node is self.top and not self._main_is_heard()):
            return
        for contexts, folder in self._contexts():
            nodes = [node for node in contexts.inside if node.name in {"rewriterule", "rewritecond"}]
            engine = next((node for node in reversed(contexts.inside) if node.name == "rewriteengine"), None)
            if engine is None or engine.words[:1] == () or engine.words[0].lower() != "on":
                nodes = []
            nodes += _passing(contexts)
            if contexts is self.node and self.node is not self.top:
                nodes += self.top.all("proxypassmatch", "proxypass")
            rewriting = Rewriting(self.setup, nodes, self._hosts(), folder, self._maps())
            for outcome in rewriting.outcomes():
                yield outcome, contexts if folder else None

    def _contexts(self) -> Iterator[tuple[Node, bool]]:
        """The host itself, its folders and locations, and the ``.htaccess`` files that are obeyed there."""
        if self.node is self.top:
            yield self.top, False
        else:
            inherits = any(
                "inherit" in " ".join(node.words).lower() for node in self.node.all("rewriteoptions")
            )
            if inherits:
                yield self.top, False
            yield self.node, False
        own = [] if self.node is self.top else self.node.inside
        for section in (*self.top.inside, *own):
            if section.name in _CONTEXTS:
                yield section, section.name.startswith(("directory", "files"))
            if section.name == "directory":
                yield from self._htaccess(section)

    def _htaccess(self, section: Node) -> Iterator[tuple[Node, bool]]:
        allowing = next((node for node in reversed(section.inside) if node.name == "allowoverride"), None)
        if allowing is None or "none" in map(str.lower, allowing.words) or not section.words:
            return
        name = f"{section.words[0].rstrip('/')}/.htaccess"
        if not self.setup.has(name):
            self.setup.set_aside(
                Gap(GapKind.NOT_EVALUATED, f".htaccess below {section.words[0]}", allowing.position)
            )
            return
        inside = self.reading.part(name, allowing)
        if inside is not None:
            yield inside, True

    def _maps(self) -> dict[str, str]:
        return {node.words[0]: node.words[1] for node in self._both("rewritemap") if len(node.words) > 1}

    # -- both ------------------------------------------------------------------------------------------------

    def _access(self, context: Node | None = None) -> Access:
        sections = [node for node in self.top.inside if node.name in _SECTIONS or node.gap]
        if self.node is not self.top:
            sections += [node for node in self.node.inside if node.name in _SECTIONS or node.gap]
        if context is not None and context.name == "directory":
            sections.insert(
                0, Node("proxy", ("*",), context.text, context.position, context.last, context.inside)
            )
        forged = forging(self.setup, self._both) if self.reading.has("remoteip") else None
        return Access(self.setup, tuple(sections), forged)

    def _both(self, *names: str) -> Iterator[Node]:
        yield from self.top.all(*names)
        if self.node is not self.top:
            yield from self.node.all(*names)

    def _last(self, name: str) -> Node | None:
        """The line that holds: the host's own, or the main server's."""
        return next(iter(reversed(list(self._both(name)))), None)


def _passing(context: Node) -> Iterator[Node]:
    """What passes requests on; in a location by pattern, this is what it leaves out."""
    is_pattern = context.name == "locationmatch" or (
        context.name == "location" and context.words[:1] == ("~",)
    )
    for node in context.all("proxypassmatch", "proxypass", "sethandler"):
        is_short = is_pattern and node.name != "sethandler" and "://" in "".join(node.words[:1])
        yield replace(node, words=(context.words[-1], *node.words)) if is_short and context.words else node


def _for_any(hosts: list[Node]) -> Node:
    """Which of an address's hosts gets requests for outside names: one that takes every name, or the first."""
    for host in hosts:
        names = [
            word.lower() for node in host.all("serveralias") for word in node.words if set(word) & set("*?")
        ]
        if any(fnmatchcase(OUTSIDE_HOST, name) for name in names):
            return host
    return hosts[0]


def _span(word: str) -> range:
    first, _, last = word.partition("-")
    if not first.isdigit() or (last and not last.isdigit()):
        return range(0)
    return range(int(first), int(last or first) + 1)
