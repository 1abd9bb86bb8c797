"""Apache Traffic Server 7 to 10: what remap.config doesn't map is fetched only where no mapping is required.

Then ``ip_allow`` alone keeps strangers out; as it is shipped, it denies them a few methods.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import ip_address

from relaywatch.audit.addresses import AddressSet
from relaywatch.audit.captures import compiled, is_outside, names_for
from relaywatch.audit.conditions import ALWAYS, Condition, Way, joined, unknown
from relaywatch.audit.deciding import Rule, first_match
from relaywatch.audit.findings import AuditFinding, Cause, Gap, GapKind, Position
from relaywatch.audit.proxies import first_of_each, headed, is_destination, is_loopback, own_networks, path_of
from relaywatch.audit.server import Edit, Mark, Server, Service
from relaywatch.audit.setup import Setup
from relaywatch.audit.text import SourceFile
from relaywatch.audit.witness import OUTSIDE_HOST
from relaywatch.audit.yaml_nodes import BadYamlError, Node, parse_yaml
from relaywatch.model.evidence import Weakness

_REQUIRED = "proxy.config.url_remap.remap_required"
_REVERSE = "proxy.config.reverse_proxy.enabled"
_PORTS = "proxy.config.http.connect_ports"
_LISTENS = "proxy.config.http.server_ports"
_SOCKS = "proxy.config.socks.accept_enabled"
_BOUND = re.compile(r"(?:^|:)ip-in=(\[[^\]]*\]|[^:]+)")
_HARMLESS = re.compile(
    r"(?:stats_over_http|compress|cachekey|background_fetch|xdebug|healthchecks|cache_range_requests|slice|s3_auth)\.so"
)
_ASKED = (("CONNECT", "ts-connect"), ("GET", "ts-forward"))


@dataclass(frozen=True, slots=True)
class _Record:
    """A setting of records.config or records.yaml."""

    value: str
    cause: Cause


def evaluate(setup: Setup) -> Iterator[Service]:
    """One server: what it fetches unmapped, and what its mappings make of the client's words."""
    source = setup.read_main()
    if source is None:
        return
    records = _records(setup, source)
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


# --- records ------------------------------------------------------------------------------------------


def _records(setup: Setup, source: SourceFile) -> dict[str, _Record]:
    """The settings by name; the last of a name holds."""
    found: dict[str, _Record] = {}
    if source.name.endswith((".yaml", ".yml")):
        document = _yaml(setup, source)
        node = document.at("records") if document else None
        if node is not None:
            _flatten(source, node, "proxy.config", found)
        return found
    for number, line in enumerate(source.lines, 1):
        words = line.split(None, 3)
        if not words or words[0].startswith("#"):
            continue
        if words[0] not in {"CONFIG", "LOCAL"} or len(words) < 3:
            setup.note(Gap(GapKind.SYNTAX, line.strip()[:80], source.at(number)))
            continue
        value = words[3].strip() if len(words) > 3 else ""
        found[words[1]] = _Record(value, Cause(line.strip(), source.at(number)))
    return found


def _flatten(source: SourceFile, node: Node, name: str, found: dict[str, _Record]) -> None:
    left = [(node, name, 0)]
    while left:
        one, path, depth = left.pop()
        for key, value in one.pairs.items():
            if value.is_mapping and depth < 12:
                left.append((value, f"{path}.{key}", depth + 1))
            elif value.text is not None:
                text = f"{key}: {value.text}"
                found[f"{path}.{key}"] = _Record(value.text, Cause(text, source.at(value.line)))


def _yaml(setup: Setup, source: SourceFile) -> Node | None:
    try:
        return parse_yaml(source.text)
    except BadYamlError as error:
        setup.note(Gap(GapKind.SYNTAX, str(error), source.at(error.line) if error.line else None))
        return None


def _is_off(record: _Record | None) -> bool:
    """Whether it is set to 0; these are on by themselves."""
    return record is not None and record.value.lower() in {"0", "false", "off", "no"}


# --- what gets through --------------------------------------------------------------------------------


def _passing(setup: Setup, records: dict[str, _Record], version: int) -> Iterator[Way]:
    required, reverse = records.get(_REQUIRED), records.get(_REVERSE)
    plugins = _plugins(setup)
    for method, rule in _ASKED:
        let_in = joined(_let_in(setup, records, version, method), plugins.true)
        if required is not None and _is_off(required):
            cause = Cause(required.cause.text, required.cause.position, rule)
            for way in let_in:
                yield from _asked(Way(causes=(cause,)).joined(way), records, method)
        elif reverse is not None and _is_off(reverse):
            gap = setup.note(Gap(GapKind.NOT_EVALUATED, reverse.cause.text, reverse.cause.position))
            told = Way(
                gaps=frozenset((gap,)), causes=(Cause(reverse.cause.text, reverse.cause.position, rule),)
            )
            yield from (way for one in let_in for way in _asked(told.joined(one), records, method))
        if method == "GET":
            for mapped in _mapped(setup):
                yield from (headed(way, f"{OUTSIDE_HOST}:80 by GET") for way in joined((mapped,), let_in))
    socks = records.get(_SOCKS)
    if socks is not None and socks.value not in {"0", ""}:
        setup.note(Gap(GapKind.NOT_EVALUATED, socks.cause.text, socks.cause.position))


def _asked(way: Way, records: dict[str, _Record], method: str) -> Iterator[Way]:
    if method == "GET":
        yield headed(way, f"{OUTSIDE_HOST}:80 by GET")
        return
    ports = records.get(_PORTS)
    port = _port(ports.value if ports else "443")
    if port:
        told = way.because(ports.cause) if ports else way
        yield headed(told, f"{OUTSIDE_HOST}:{port} by CONNECT")


def _port(text: str) -> str:
    """The port of a tunnel that does most harm; nothing if there may be none."""
    spans = [one.partition("-") for one in re.split(r"[\s,]+", text.strip()) if one]
    if any(first == "*" for first, _, _ in spans):
        return "25"
    numbers = [(int(low), int(high if high.isdigit() else low)) for low, _, high in spans if low.isdigit()]
    likely = (port for port in (25, 443) if any(low <= port <= high for low, high in numbers))
    return str(next(likely, numbers[0][0] if numbers else ""))


def _let_in(setup: Setup, records: dict[str, _Record], version: int, method: str) -> tuple[Way, ...]:
    """By ``ip_allow``: the first rule for an address decides for all methods; none: no. Outwards none: yes."""
    rules = _access(setup, records)
    if rules is None:
        name = _access_name(setup, records)
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


# --- ip_allow -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Access:
    is_inward: bool
    addresses: AddressSet
    is_allowing: bool
    methods: frozenset[str]
    """Empty for all."""
    text: str
    position: Position
    gap: Gap | None = None

    def lets(self, method: str) -> bool:
        """Methods that a rule doesn't name get the opposite of what it says."""
        is_named = not self.methods or "ALL" in self.methods or method in self.methods
        return is_named is self.is_allowing


def _access_name(setup: Setup, records: dict[str, _Record]) -> str:
    for key in ("proxy.config.cache.ip_allow.filename", "proxy.config.ip_allow.filename"):
        if key in records and records[key].value not in {"", "NULL"}:
            return records[key].value
    return (
        "ip_allow.config"
        if not setup.has("ip_allow.yaml") and setup.has("ip_allow.config")
        else "ip_allow.yaml"
    )


def _access(setup: Setup, records: dict[str, _Record]) -> list[_Access] | None:
    source = setup.read(_access_name(setup, records))
    if source is None:
        return None
    if source.name.endswith(".config"):
        return [one for number, line in enumerate(source.lines, 1) if (one := _old(source, line, number))]
    document = _yaml(setup, source)
    node = document.at("ip_allow") if document else None
    if node is None:
        return None
    return [_new(source, one) for one in (node.items or ((node,) if node.is_mapping else ()))]


def _new(source: SourceFile, node: Node) -> _Access:
    values = node.pairs
    addresses, gap = AddressSet(), None
    named = values.get("ip_addrs") or values.get("ip_addr")
    for one in _texts(named):
        meant = _range(one)
        addresses |= meant or AddressSet()
        gap = gap or (Gap(GapKind.SYNTAX, one, source.at(node.line)) if meant is None else None)
    if named is None:
        gap = Gap(GapKind.NOT_EVALUATED, "ip_allow rule without ip_addrs", source.at(node.line))
    text = {key: ", ".join(_texts(value)) for key, value in values.items()}
    return _Access(
        is_inward=text.get("apply", "in").lower() == "in",
        addresses=addresses,
        is_allowing=text.get("action", "").lower() in {"allow", "set_allow"},
        methods=frozenset(one.upper() for one in _texts(values.get("methods"))),
        text="; ".join(f"{key}: {value}" for key, value in text.items()),
        position=source.at(node.line),
        gap=gap,
    )


def _texts(node: Node | None) -> list[str]:
    found = [node, *node.items] if node else []
    return [text for one in found if (text := one.text) is not None]


def _old(source: SourceFile, line: str, number: int) -> _Access | None:
    """``src_ip=… action=ip_allow method=…``, as up to version 8."""
    said = line.strip()
    if not said or said.startswith("#"):
        return None
    pairs = [(name, value) for name, _, value in (word.partition("=") for word in said.split())]
    values = dict(pairs)
    meant = _range(values.get("src_ip") or values.get("dest_ip") or "")
    return _Access(
        is_inward="dest_ip" not in values,
        addresses=meant or AddressSet(),
        is_allowing=values.get("action") == "ip_allow",
        methods=frozenset(
            one.upper() for name, value in pairs if name == "method" for one in value.split("|") if one
        ),
        text=said,
        position=source.at(number),
        gap=Gap(GapKind.SYNTAX, said[:80], source.at(number)) if meant is None else None,
    )


def _range(text: str) -> AddressSet | None:
    if text in {"0/0", "all"}:
        return AddressSet.of(["0.0.0.0/0"])
    first, dash, last = text.replace(" ", "").partition("-")
    try:
        if not dash:
            return AddressSet.of([first])
        low, high = ip_address(first), ip_address(last)
        return AddressSet.span(low, high) if low.version == high.version else None
    except ValueError:
        return None


# --- remap.config and plugin.config -------------------------------------------------------------------


def _plugins(setup: Setup) -> Condition:
    """A plug-in may ask for a password, or refuse: nobody knows."""
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
        elif words[0] == "regex_map" and len(words) > 2 and _leads_out(words):
            guards = [word for word in words[3:] if word.startswith("@")]
            if guards:
                gap = setup.note(Gap(GapKind.NOT_EVALUATED, " ".join(guards)[:80], source.at(number)))
                yield Way(gaps=frozenset((gap,)), causes=(cause,))
            else:
                yield Way(causes=(cause,))
        elif words[0].startswith(("map", "regex_map")) and any(
            word.startswith("@plugin=") and not _HARMLESS.match(word.removeprefix("@plugin="))
            for word in words
        ):
            gap = setup.note(Gap(GapKind.EXTERNAL, line.strip()[:80], source.at(number)))
            yield Way(gaps=frozenset((gap,)), causes=(Cause(cause.text, cause.position),))


def _leads_out(words: Sequence[str]) -> bool:
    """Whether an outside host's name that the pattern matches comes out as the target's host."""
    pattern, target = (re.sub(r"^\w+://", "", word).split("/", 1)[0] for word in words[1:3])
    target = re.sub(r":\d+$", "", target)
    bare = re.sub(r":\d+$", "", pattern)
    regex = compiled(bare, ignoring_case=True)
    if "$" not in target or regex is None:
        return "$" in target
    for name in names_for(bare):
        found = regex.search(name)
        if found is None:
            continue
        host = target
        for number, group in enumerate((found[0], *found.groups())):
            host = host.replace(f"${number}", group or "")
        if is_outside(host):
            return True
    return False


# --- mending ------------------------------------------------------------------------------------------


def mend(setup: Setup, finding: AuditFinding) -> Iterator[Edit]:
    """Ask for a mapping; where the owner has networks that use it, deny all others in ``ip_allow`` instead."""
    path = path_of(setup, finding.file)
    own = own_networks(setup)
    if path is None or finding.rule not in {"ts-connect", "ts-forward"} or not finding.line:
        return
    access = next((one for one in finding.causes if one.rule == "ts-ip-allow" and one.position), None)
    if own and access is not None and access.position is not None:
        there = path_of(setup, access.position.file)
        if there is not None:
            line = setup.sources[there].lines[access.position.line - 1]
            at = access.position.line
            yield Edit(there, at, at - 1, tuple(_denied(line, own, access.position.file)))
        return
    line = setup.sources[path].lines[finding.line - 1]
    yield Edit(path, finding.line, finding.line, (re.sub(r"(\s)(?:0|false|off|no)\s*$", r"\g<1>1", line),))


def _denied(line: str, own: tuple[str, ...], name: str) -> Iterator[str]:
    """Rules for the owner's networks, and one for the rest of each family."""
    meant = [*((network, "allow") for network in own), ("0.0.0.0/0", "deny"), ("::/0", "deny")]
    indent = line[: len(line) - len(line.lstrip())]
    for network, action in meant:
        if name.endswith(".config"):
            yield f"src_ip={_spanned(network)} action=ip_{action} method=ALL"
        else:
            yield f'{indent}- {{apply: in, ip_addrs: "{network}", action: {action}, methods: ALL}}'


def _spanned(network: str) -> str:
    (meant,) = (AddressSet.of([network]).networks(6 if ":" in network else 4),)
    return f"{meant[0][0]}-{meant[-1][-1]}"


SERVER = Server(
    name="trafficserver",
    home="/etc/trafficserver",
    marks=(
        Mark(name="records.config", holds=re.compile(r"^\s*(?:CONFIG|LOCAL)\s+proxy\.", re.MULTILINE)),
        Mark(name="records.yaml", holds=re.compile(r"^\s*[\"']?records[\"']?\s*:", re.MULTILINE)),
    ),
    evaluate=evaluate,
    mend=mend,
    check=("traffic_server", "-C", "verify_config"),
    reload=("systemctl", "restart", "trafficserver"),
)
