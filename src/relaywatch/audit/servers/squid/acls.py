"""``acl`` lines: whom and what each means, for one request of a stranger.

All lines of one name are one acl, which matches if any of its values does.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from types import MappingProxyType

from relaywatch.audit.addresses import AddressSet
from relaywatch.audit.claims import Claim, ClaimKind
from relaywatch.audit.conditions import ALWAYS, NEVER, Condition, all_of, any_of, claimed, unknown
from relaywatch.audit.findings import Cause, Gap, GapKind
from relaywatch.audit.proxies import AS_HE_LIKES, is_destination
from relaywatch.audit.setup import Setup

from .naming import by_domain, by_name, by_path, by_url, cause_of
from .reading import Directive
from .requests import Request

DEMANDING = frozenset({"proxy_auth", "proxy_auth_regex"})
"""Whoever comes to one of these without credentials is asked for them, and comes no further."""
_AS_HE_LIKES = frozenset({"time", "maxconn", "max_user_ip", "random"})
_CHANGING_NOTHING = frozenset({"annotate_client", "annotate_transaction"})
_FIELDS = MappingProxyType(
    {
        "browser": "User-Agent",
        "referer_regex": "Referer",
        "req_mime_type": "Content-Type",
        "req_header": "",
    }
)
_OPTIONS = re.compile(r"-[imn]|-m=\S+|--\S*")
_SPAN = re.compile(r"([0-9A-Fa-f.:]+)-([0-9A-Fa-f.:]+)(?:/(\S+))?")


@dataclass(frozen=True, slots=True)
class Value:
    """One value of an acl, and the line that it stands on."""

    text: str
    directive: Directive


@dataclass(slots=True)
class Acl:
    """One acl, of all its lines."""

    kind: str
    values: list[Value] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)
    spans: list[tuple[Value, AddressSet, Gap | None]] = field(default_factory=list)
    """What its values mean, where they are addresses."""


@dataclass(slots=True)
class Acls:
    """All acls by name, in lower case, since case makes no difference; ``down`` says at which line Squid gives up."""

    setup: Setup
    known: dict[str, Acl] = field(default_factory=dict)
    down: Cause | None = None

    def read(self, said: Iterable[Directive]) -> Acls:
        """Take up every ``acl`` line."""
        for directive in said:
            if directive.name == "acl" and len(directive.words) > 1:
                self._take(directive)
        return self

    def _take(self, directive: Directive) -> None:
        name, kind, *values = directive.words
        name = name.lower()
        acl = self.known.setdefault(name, Acl(kind))
        if kind not in _KINDS:
            self.down = self.down or directive.cause("sq-syntax")
        if acl.kind != kind:
            self.down = self.down or directive.cause("sq-syntax")
            return
        while values and _OPTIONS.fullmatch(values[0]):
            values.pop(0)
        if kind in {"external", "note", "req_header", "all-of"}:
            values = [" ".join(values)]
        for value in values:
            file = _file(value)
            if file is None:
                acl.values.append(Value(value, directive))
            else:
                self._from_file(acl, file, directive)

    def _from_file(self, acl: Acl, name: str, directive: Directive) -> None:
        source = self.setup.read(name, directive.position)
        if source is None:
            acl.gaps.append(self.setup.latest_gap)
            return
        for number, line in enumerate(source.lines, 1):
            text = line.split("#", 1)[0].strip()
            if text:
                place = Directive("", (text,), source.at(number), number)
                acl.values.append(Value(text, place))

    def condition(self, name: str, request: Request) -> Condition:
        """Whether the acl matches a request; lines that define one of Squid's own add to that."""
        acl = self.known.get(name.lower())
        own = self._own(name.lower(), request)
        if acl is None:
            return own
        found = own | any_of(_KINDS.get(acl.kind, _unknown)(self, acl, request))
        return found | unknown(*acl.gaps) if acl.gaps else found

    def is_demanding(self, name: str) -> bool:
        """Whether it asks for credentials."""
        acl = self.known.get(name.lower())
        return acl is not None and acl.kind in DEMANDING

    def _own(self, name: str, request: Request) -> Condition:
        """``all``, ``localhost``, ``to_localhost``, ``to_linklocal``, ``manager`` and ``CONNECT``."""
        if name == "all" or (name == "connect" and request.method == "CONNECT"):
            return ALWAYS
        if name == "localhost":
            return _is_from(AddressSet.of(["127.0.0.1", "::1"]), request, self.setup)
        return NEVER


def _file(value: str) -> str | None:
    found = re.fullmatch(r'"([^"]+)"|parameters\("([^"]+)"\)', value)
    return (found[1] or found[2]) if found else None


def addresses(text: str) -> AddressSet | None:
    """The addresses that a value of ``src`` or ``dst`` means; nothing if it is a host's name."""
    if text in {"all", "0/0", "0.0.0.0/0", "0.0.0.0/0.0.0.0"}:
        return AddressSet.everything()  # "SECURITY NOTICE: Overriding config setting. Using 'all' instead."
    if text in {"ipv4", "ipv6"}:
        return AddressSet.of(["0.0.0.0/0" if text == "ipv4" else "::/0"])
    try:
        span = _SPAN.fullmatch(text)
        if span is None:
            return AddressSet.of([text])
        first, last = ip_address(span[1]), ip_address(span[2])
        if span[3]:
            last = ip_network(f"{last}/{span[3]}", strict=False).broadcast_address
        return AddressSet.span(first, last) if first.version == last.version else AddressSet()
    except ValueError:
        return None


def _is_from(those: AddressSet, request: Request, setup: Setup) -> Condition:
    if request.seen_as is None:
        return setup.strangers(those, request.version)
    return ALWAYS if request.seen_as in those else NEVER


def _src(acls: Acls, acl: Acl, request: Request) -> Iterable[Condition]:
    for value, meant, gap in _spans_of(acl):
        fits = _is_from(meant, request, acls.setup)
        if fits == NEVER:
            continue
        is_wide = request.seen_as is None and fits.true
        told = fits.because(cause_of(value, "sq-acl-wide" if is_wide else ""))
        yield told & unknown(acls.setup.note(gap)) if gap and fits.true else told


def _spans_of(acl: Acl) -> Sequence[tuple[Value, AddressSet, Gap | None]]:
    """The values that are addresses, told apart once; a host's name means its own, no stranger's."""
    if not acl.spans:
        acl.spans = list(_told_apart(acl))
    return acl.spans


def _told_apart(acl: Acl) -> Iterator[tuple[Value, AddressSet, Gap | None]]:
    """A value that holds an earlier one and more is left out by Squid 5.7, and not by later ones."""
    before = AddressSet()
    for value in acl.values:
        meant = addresses(value.text)
        if meant is None:
            continue
        gap = None
        if meant & before and meant - before:
            subject = f"{cause_of(value).text}: left out by Squid 5, since it holds an earlier value"
            gap = Gap(GapKind.NOT_EVALUATED, subject, value.directive.position)
        before |= meant
        yield value, meant, gap


def _dst(acls: Acls, acl: Acl, _request: Request) -> Iterable[Condition]:
    """Where to: the stranger takes whatever outside address serves him, so that only wide sets hold him."""
    for value, meant, gap in _spans_of(acl):
        told = is_destination(meant).because(cause_of(value))
        yield told & unknown(acls.setup.note(gap)) if gap and told.true else told


def _ports(_acls: Acls, acl: Acl, request: Request) -> Iterable[Condition]:
    yield from (ALWAYS for value in acl.values if request.port in _span(value.text))


def _span(text: str) -> range:
    first, _, last = text.partition("-")
    if not first.isdigit() or (last and not last.isdigit()):
        return range(0)
    return range(int(first), int(last or first) + 1)


def _local_ports(_acls: Acls, acl: Acl, request: Request) -> Iterable[Condition]:
    yield from (ALWAYS for value in acl.values if request.listener.port in _span(value.text))


def _port_names(_acls: Acls, acl: Acl, request: Request) -> Iterable[Condition]:
    yield from (ALWAYS for value in acl.values if value.text == request.listener.name)


def _local_addresses(acls: Acls, acl: Acl, request: Request) -> Iterable[Condition]:
    for value in acl.values:
        meant = addresses(value.text)
        address = request.listener.address
        if meant == AddressSet.everything():
            yield ALWAYS
        elif address is not None:
            yield ALWAYS if meant and address in meant else NEVER
        else:
            gap = Gap(GapKind.NOT_EVALUATED, value.directive.text, value.directive.position)
            yield unknown(acls.setup.note(gap))


def _method(_acls: Acls, acl: Acl, request: Request) -> Iterable[Condition]:
    yield from (ALWAYS for value in acl.values if value.text.upper() == request.method)


def _proto(_acls: Acls, acl: Acl, request: Request) -> Iterable[Condition]:
    """The scheme; CONNECT has none, and may be named so."""
    yield from (ALWAYS for value in acl.values if value.text.upper() == (request.scheme or "NONE"))


def _client_names(_acls: Acls, acl: Acl, _request: Request) -> Iterable[Condition]:
    """By the name of the client's address, which he chooses if the address is his."""
    for value in acl.values:
        yield claimed(Claim(ClaimKind.CLIENT_NAME, value.text)).because(cause_of(value, "sq-client-name"))


def _fields(_acls: Acls, acl: Acl, _request: Request) -> Iterable[Condition]:
    for value in acl.values:
        said = f"{_FIELDS[acl.kind]}: {value.text}".removeprefix(": ")
        yield claimed(Claim(ClaimKind.FIELD, said)).because(cause_of(value, "sq-field"))


def _any_of(acls: Acls, acl: Acl, request: Request) -> Iterable[Condition]:
    yield from (_one(acls, acl, value.text, request) for value in acl.values)


def _all_of(acls: Acls, acl: Acl, request: Request) -> Iterable[Condition]:
    for value in acl.values:
        yield all_of(_one(acls, acl, name, request) for name in value.text.split())


def _one(acls: Acls, acl: Acl, name: str, request: Request) -> Condition:
    """An acl within an acl; Squid takes only what is defined before, so that none is within itself."""
    bare = name.removeprefix("!").lower()
    known = list(acls.known)
    own = next((n for n, one in acls.known.items() if one is acl), "")
    if bare in known and known.index(bare) >= known.index(own):
        return NEVER
    found = acls.condition(bare, request)
    return ~found if name.startswith("!") else found


def _as_he_likes(_acls: Acls, _acl: Acl, _request: Request) -> Iterable[Condition]:
    yield AS_HE_LIKES


def _always(_acls: Acls, _acl: Acl, _request: Request) -> Iterable[Condition]:
    yield ALWAYS


def _never(_acls: Acls, _acl: Acl, _request: Request) -> Iterable[Condition]:
    yield NEVER


def _unknown(acls: Acls, acl: Acl, _request: Request) -> Iterable[Condition]:
    position = acl.values[0].directive.position if acl.values else None
    subject = acl.values[0].directive.text if acl.values else acl.kind
    yield unknown(acls.setup.note(Gap(GapKind.EXTERNAL, subject, position)))


_Evaluation = Callable[[Acls, Acl, Request], Iterable[Condition]]
_KINDS: Mapping[str, _Evaluation] = MappingProxyType(
    {
        "src": _src,
        "client_dst": _dst,
        "dst": _dst,
        "port": _ports,
        "localport": _local_ports,
        "myport": _local_ports,
        "localip": _local_addresses,
        "myip": _local_addresses,
        "method": _method,
        "proto": _proto,
        "dstdomain": by_domain,
        "dstdom_regex": by_name,
        "url_regex": by_url,
        "urlpath_regex": by_path,
        "myportname": _port_names,
        "srcdomain": _client_names,
        "srcdom_regex": _client_names,
        "any-of": _any_of,
        "all-of": _all_of,
        "arp": _never,
        "eui64": _never,
        "snmp_community": _never,
        "ext_user": _never,
        "ext_user_regex": _never,
        **dict.fromkeys(DEMANDING, _never),
        **dict.fromkeys(_AS_HE_LIKES, _as_he_likes),
        **dict.fromkeys(_CHANGING_NOTHING, _always),
        **dict.fromkeys(_FIELDS, _fields),
        **dict.fromkeys(
            (
                "adaptation_service",
                "at_step",
                "ca_cert",
                "clientside_mark",
                "connections_encrypted",
                "dst_as",
                "external",
                "has",
                "hier_code",
                "http_status",
                "ident",
                "ident_regex",
                "note",
                "peername",
                "peername_regex",
                "rep_header",
                "rep_mime_type",
                "server_cert_fingerprint",
                "src_as",
                "ssl::server_name",
                "ssl::server_name_regex",
                "ssl_error",
                "tag",
                "transaction_initiator",
                "url_login",
                "urllogin",
                "user_cert",
            ),
            _unknown,
        ),
    }
)
OWN = frozenset({"all", "localhost", "to_localhost", "to_linklocal", "manager", "connect"})
"""Acls that are there without a line; ``to_linklocal`` since version 6."""
