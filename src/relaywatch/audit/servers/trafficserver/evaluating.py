"""What a stranger gets out of Traffic Server."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from relaywatch.audit.conditions import ALWAYS, Condition, Way, joined, unknown
from relaywatch.audit.deciding import Rule, first_match
from relaywatch.audit.findings import Cause, Gap, GapKind
from relaywatch.audit.proxies import first_of_each, headed, is_destination, is_loopback
from relaywatch.audit.server import Service
from relaywatch.audit.setup import Setup
from relaywatch.audit.witness import OUTSIDE_HOST
from relaywatch.model.evidence import Weakness

from .access import access_name, access_of
from .leading import leads_out, without_port
from .records import CONNECT_PORTS, Record, is_off, ports_of, records_of
from .tunnelling import tunnelled

_REQUIRED = "proxy.config.url_remap.remap_required"
_REVERSE = "proxy.config.reverse_proxy.enabled"
_LISTENS = "proxy.config.http.server_ports"
_SOCKS = "proxy.config.socks.accept_enabled"
_BOUND = re.compile(r"(?:^|:)ip-in=(\[[^\]]*\]|[^:]+)")
_HARMLESS = re.compile(
    r"(?:stats_over_http|compress|cachekey|background_fetch|xdebug|healthchecks|cache_range_requests|slice|s3_auth)\.so"
)
_ASKED = (("CONNECT", "ts-connect"), ("GET", "ts-forward"))


def evaluate(setup: Setup) -> Iterator[Service]:
    """One server: what it fetches unmapped, and what its mappings make of the client's words."""
    source = setup.read_main()
    if source is None:
        return
    records = records_of(setup, source)
    listens = records.get(_LISTENS)
    heard = listens.value.split() if listens else ["8080", "8080:ipv6"]
    bound = [found[1] for one in heard if (found := _BOUND.search(one))]
    versions = sorted({6 if ":ipv6" in one or "ip-in=[" in one else 4 for one in heard})
    ways = [way for version in versions for way in _passing(setup, records, version)]
    yield Service(
        name=" ".join(heard),
        weakness=Weakness.OPEN_PROXY,
        position=listens.cause.position if listens else None,
        passing=first_of_each(ways),
        is_out_of_reach=len(bound) == len(heard) and all(map(is_loopback, bound)),
    )


def _passing(setup: Setup, records: dict[str, Record], version: int) -> Iterator[Way]:
    required, reverse = records.get(_REQUIRED), records.get(_REVERSE)
    modules = _modules(setup)
    for method, rule in _ASKED:
        let_in = joined(_let_in(setup, records, version, method), modules.true)
        if required is not None and is_off(required):
            cause = Cause(required.cause.text, required.cause.position, rule)
            for way in let_in:
                yield from _asked(Way(causes=(cause,)).joined(way), records, method)
        elif reverse is not None and is_off(reverse):
            gap = setup.note(Gap(GapKind.NOT_EVALUATED, reverse.cause.text, reverse.cause.position))
            told = Way(
                gaps=frozenset((gap,)), causes=(Cause(reverse.cause.text, reverse.cause.position, rule),)
            )
            yield from (way for one in let_in for way in _asked(told.joined(one), records, method))
        if method == "GET":
            for mapped in _mapped(setup):
                yield from (headed(way, f"{OUTSIDE_HOST}:80 by GET") for way in joined((mapped,), let_in))
    if ":ssl" in (records[_LISTENS].value if _LISTENS in records else ""):
        for way in tunnelled(setup, records):
            yield from joined((way,), _let_in(setup, records, version, None))
    socks = records.get(_SOCKS)
    if socks is not None and socks.value not in {"0", ""}:
        setup.note(Gap(GapKind.NOT_EVALUATED, socks.cause.text, socks.cause.position))


def _asked(way: Way, records: dict[str, Record], method: str) -> Iterator[Way]:
    if method == "GET":
        yield headed(way, f"{OUTSIDE_HOST}:80 by GET")
        return
    ports = records.get(CONNECT_PORTS)
    port = _port(ports.value if ports else "443")
    if port:
        told = way.because(ports.cause) if ports else way
        yield headed(told, f"{OUTSIDE_HOST}:{port} by CONNECT")


def _port(text: str) -> str:
    """The port of a tunnel that does most harm; nothing if there may be none."""
    numbers = ports_of(text)
    likely = (port for port in (25, 443) if any(low <= port <= high for low, high in numbers))
    return str(next(likely, numbers[0][0] if numbers else ""))


def _let_in(setup: Setup, records: dict[str, Record], version: int, method: str | None) -> tuple[Way, ...]:
    """By ``ip_allow``: the first rule for an address decides for all methods; none: no. Outwards none: yes."""
    rules = access_of(setup, records)
    if rules is None:
        name = access_name(setup, records)
        return unknown(setup.note(Gap(GapKind.MISSING, name))).true
    inward = [
        Rule(
            unknown(setup.note(one.gap)) if one.gap else setup.strangers(one.addresses, version),
            answer=one.lets(method),
            causes=(Cause(one.text, one.position, "ts-ip-allow"),),
        )
        for one in rules
        if one.is_inward
    ]
    outward = [
        Rule(
            unknown(setup.note(one.gap)) if one.gap else is_destination(one.addresses),
            answer=one.lets(method),
        )
        for one in rules
        if not one.is_inward
    ]
    allowed = first_match(inward, default=False).get(True, ())
    return joined(allowed, first_match(outward, default=True).get(True, ()))


def _modules(setup: Setup) -> Condition:
    """A module may ask for a password, or refuse: nobody knows."""
    condition = ALWAYS
    source = setup.read("plugin.config") if setup.has("plugin.config") else None
    for number, line in enumerate(source.lines if source else (), 1):
        said = line.strip()
        if source is None or not said or said.startswith("#") or _HARMLESS.match(said):
            continue
        condition &= unknown(setup.note(Gap(GapKind.EXTERNAL, said[:80], source.at(number))))
    return condition


def _mapped(setup: Setup) -> Iterator[Way]:
    """Mappings whose target's host is taken out of the request."""
    source = setup.read("remap.config") if setup.has("remap.config") else None
    for number, line in enumerate(source.lines if source else (), 1):
        words = line.split()
        if source is None or not words or words[0].startswith("#"):
            continue
        cause = Cause(line.strip()[:200], source.at(number), "ts-regex-map")
        if words[0] in {".include", ".activatefilter", ".useflt"}:
            setup.note(Gap(GapKind.NOT_EVALUATED, line.strip()[:80], source.at(number)))
        elif words[0] == "regex_map" and len(words) > 2 and (is_out := _leads_out(words)) is not False:
            guards = [word for word in words[3:] if word.startswith("@")]
            if guards or is_out is None:
                subject = " ".join(guards or words)[:80]
                gap = setup.note(Gap(GapKind.NOT_EVALUATED, subject, source.at(number)))
                yield Way(gaps=frozenset((gap,)), causes=(cause,))
            else:
                yield Way(causes=(cause,))
        elif words[0].startswith(("map", "regex_map")) and any(
            word.startswith("@plugin=") and not _HARMLESS.match(word.removeprefix("@plugin="))
            for word in words
        ):
            gap = setup.note(Gap(GapKind.EXTERNAL, line.strip()[:80], source.at(number)))
            yield Way(gaps=frozenset((gap,)), causes=(Cause(cause.text, cause.position),))


def _leads_out(words: Sequence[str]) -> bool | None:
    """Whether an outside host comes out as the target's host; nothing if nobody knows."""
    pattern, target = (re.sub(r"^\w+://", "", word).split("/", 1)[0] for word in words[1:3])
    return leads_out(without_port(pattern), without_port(target))
