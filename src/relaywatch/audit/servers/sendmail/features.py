"""What a sendmail.mc comes to: the features that decide who may relay, evaluated as their rules do (cf/README)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from relaywatch.audit.findings import Cause, Gap, GapKind, Position
from relaywatch.audit.setup import Setup
from relaywatch.audit.strangers import Stranger
from relaywatch.audit.text import SourceFile

from .mc import Call, Raw, read_mc
from .tables import Entry, Table, UnknownError, addresses_of, read_table, read_words

_LOOPBACK = frozenset({"127.0.0.1", "ipv6:0:0:0:0:0:0:0:1"})
_HARMLESS = frozenset(
    {
        "accept_unqualified_senders", "accept_unresolvable_domains", "allmasquerade", "always_add_domain",
        "authinfo", "badmx", "bcc", "bestmx_is_local", "bitdomain", "block_bad_helo", "check_cert_altnames",
        "compat_check", "conncontrol", "dnsbl", "domainmap", "domaintable", "enhdnsbl",
        "generics_entire_domain", "genericstable", "greet_pause", "ldap_routing", "limited_masquerade",
        "local_lmtp", "local_no_masquerade", "local_procmail", "mailertable", "masquerade_entire_domain",
        "masquerade_envelope", "msp", "mtamark", "nocanonify", "notsticky", "nullclient", "prefixmod",
        "preserve_local_plus_detail", "preserve_luser_host", "queuegroup", "ratecontrol", "rbl", "redirect",
        "require_rdns", "rhsbl", "smrsh", "stickyhost", "sts", "tls_failures", "tls_session_features",
        "use_client_ptr", "use_ct_file", "uucpdomain", "virtuser_entire_domain", "virtusertable", "vnet",
    }
)  # fmt: skip
"""Features that let nobody relay who couldn't without them."""
_DECIDING = frozenset(
    {
        "access_db", "blacklist_recipients", "blocklist_recipients", "delay_checks", "loose_relay_check",
        "nopercenthack", "nouucp", "promiscuous_relay", "relay_based_on_mx", "relay_entire_domain",
        "relay_hosts_only", "relay_local_from", "relay_mail_from", "lookupdotdomain", "no_default_msa",
        "use_cw_file",
    }
)  # fmt: skip
_KNOWN_DOMAINS = frozenset({"debian-mta", "debian-msp", "generic", ""})
_RULES = re.compile(
    r"^S(?:Local_check_|check_|Basic_check|Local_Relay|Rcpt_ok|Relay_ok|ParseRecipient)", re.IGNORECASE
)
_REFUSES = ("reject", "discard", "error:", "quarantine")
Hits = list[Cause]


@dataclass(slots=True)
class Features:
    """One sendmail.mc, read."""

    host: str
    own: dict[str, Position | None] = field(default_factory=dict)
    relayed: dict[str, Position] = field(default_factory=dict)
    switched: dict[str, Call] = field(default_factory=dict)
    defined: dict[str, Call] = field(default_factory=dict)
    daemons: list[Call] = field(default_factory=list)
    access: Table = field(default_factory=Table)
    gaps: list[Gap] = field(default_factory=list)
    """What may let everybody through, for all that is known."""

    @property
    def signs(self) -> str:
        """Those that route within a local part."""
        return "@" + "".join(
            sign for sign, name in (("%", "nopercenthack"), ("!", "nouucp")) if name not in self.switched
        )

    # --- what a stranger comes to ------------------------------------------------------------------

    def through(self, stranger: Stranger, pointing: str) -> Hits | None:
        """The settings that let him through; nothing if he is refused, or what he asks for stays here.

        :raises UnknownError: if a table that decides can't be read.
        """
        if "defer" in self.delivery and self.delivery != "queueonly":
            return [self.defined["confDELIVERY_MODE"].cause("sm-defer")]
        local, domain = self._parted(stranger.recipient.text or "")
        if not domain or domain in self.own or self._is_refused_before(stranger, local):
            return None
        if "blocklist_recipients" in self.switched or "blacklist_recipients" in self.switched:
            found = self._address(local, domain, "to")
            if found is not None and found.value.lower() not in {"ok", "relay", "skip"}:
                return None
        if "promiscuous_relay" in self.switched:
            return [self.switched["promiscuous_relay"].cause("sm-promiscuous")]
        return self._to(domain, pointing) or self._from(stranger)

    @property
    def delivery(self) -> str:
        """The delivery mode's word."""
        call = self.defined.get("confDELIVERY_MODE")
        mode = call.rest.lower() if call else ""
        return "deferred" if mode[:1] == "d" else mode

    def _parted(self, address: str) -> tuple[str, str]:
        """Local part and domain once everything that this server would strip is gone."""
        local, domain = _split(address)
        loose = "loose_relay_check" in self.switched
        for _ in range(10):
            local = local.strip('"') if domain in self.own or not loose else local
            sign = next((one for one in local if one in self.signs), "")
            strips = domain in self.own or (not loose and self._is_relayed(domain))
            if not sign or not strips:
                break
            local, domain = _split(local)
        return local, domain

    def _is_relayed(self, domain: str) -> bool:
        """Whether ParseRecipient takes the domain for one of those that this server relays to."""
        found = self._domain(domain, "to")
        return (
            self._is_entire(domain)
            or self._relay_domain(domain) is not None
            or (found is not None and found.value.upper() == "RELAY")
        )

    def _is_refused_before(self, stranger: Stranger, local: str) -> bool:
        """By check_relay and check_mail; and by what forbids signs in a local part."""
        for sign, name in (("!", "nouucp"), ("%", "nopercenthack")):
            if sign in local and name in self.switched and self.switched[name].rest == "reject":
                return True
        sender = None
        if stranger.sender.text:
            sender = self._address(*_split(stranger.sender.text), "from")
        if sender is not None and _refuses(sender):
            return True
        if sender is not None and "delay_checks" in self.switched and sender.value.upper() in {"OK", "RELAY"}:
            return False
        client = self._domain(stranger.client.name, "connect") or self._client(stranger)
        return client is not None and _refuses(client)

    def _to(self, domain: str, pointing: str) -> Hits | None:
        entire = self.switched.get("relay_entire_domain")
        if entire is not None:
            if not self.host:
                raise UnknownError(
                    Gap(GapKind.NOT_EVALUATED, f"{entire.text}: the server's own name", entire.position)
                )
            if self._is_entire(domain):
                return [entire.cause("sm-entire")]
        hit = self._relay_domain(domain)
        if hit is not None:
            return [hit]
        found = self._domain(domain, "to")
        if found is not None and found.value.upper() == "RELAY":
            return [found.cause]
        if "relay_based_on_mx" in self.switched and domain == pointing:
            return [self.switched["relay_based_on_mx"].cause("sm-mx")]
        return None

    def _from(self, stranger: Stranger) -> Hits | None:
        address = _written(stranger)
        if address in _LOOPBACK or f"[{address}]" in self.own:
            return [Cause(f"client {address}")]
        for prefix, position in self.relayed.items():
            if addresses_of(prefix) and stranger.client.address in addresses_of(prefix):
                return [Cause(prefix, position, "sm-relay-domains")]
        found = self._client(stranger)
        if found is not None and found.value.upper() == "RELAY":
            return [found.cause]
        local, domain = _split(stranger.sender.text or "")
        if "relay_local_from" in self.switched and domain in self.own:
            return [self.switched["relay_local_from"].cause("sm-local-from")]
        if "relay_local_from" in self.switched and not self.host and not any("." in one for one in self.own):
            call = self.switched["relay_local_from"]
            raise UnknownError(
                Gap(GapKind.NOT_EVALUATED, f"{call.text}: the server's own name", call.position)
            )
        feature = self.switched.get("relay_mail_from")
        if feature is not None and domain:
            found = self._full(local, domain, "from", is_tagged=True)
            if found is None and feature.rest == "domain":
                found = self._domain(domain, "from", is_tagged=True)
            if found is not None and found.value.upper() == "RELAY":
                return [found.cause, feature.cause("sm-mail-from")]
        return self._named(stranger.client.name)

    def _named(self, name: str) -> Hits | None:
        if "." not in name:
            return None
        if self._is_entire(name):
            return [self.switched["relay_entire_domain"].cause("sm-entire")]
        hit = self._relay_domain(name)
        if hit is not None:
            return [hit]
        found = self._domain(name, "connect")
        return [found.cause] if found is not None and found.value.upper() == "RELAY" else None

    # --- lookups -----------------------------------------------------------------------------------

    def _relay_domain(self, domain: str) -> Cause | None:
        """Class R: the domain itself, or a domain above it."""
        exact = "relay_hosts_only" in self.switched
        for name in [domain] if exact else _upwards(domain):
            if name in self.relayed:
                return Cause(name, self.relayed[name], "sm-relay-domains")
        return None

    def _is_entire(self, domain: str) -> bool:
        """Whether it is below the domain in which the machine's name is."""
        parent = self.host.partition(".")[2]
        is_below = bool(parent) and f".{domain}".endswith(f".{parent}")
        return is_below and "relay_entire_domain" in self.switched

    def _keyed(self, tag: str, key: str, *, is_tagged: bool = False) -> Entry | None:
        return self.access.find(f"{tag}:{key}") or (None if is_tagged else self.access.find(key))

    def _domain(self, domain: str, tag: str, *, is_tagged: bool = False) -> Entry | None:
        names = [domain] if "relay_hosts_only" in self.switched and tag != "from" else _upwards(domain)
        for name in names:
            found = self._keyed(tag, name, is_tagged=is_tagged)
            if found is None and "lookupdotdomain" in self.switched and name != domain:
                found = self._keyed(tag, f".{name}", is_tagged=is_tagged)
            if found is not None:
                return found
        return None

    def _client(self, stranger: Stranger) -> Entry | None:
        address = _written(stranger)
        sign = ":" if ":" in address else "."
        while address:
            found = self._keyed("connect", address)
            if found is not None or sign not in address:
                return found
            address = address.rpartition(sign)[0].rstrip(":")
            if address == "ipv6":
                return None
        return None

    def _full(self, local: str, domain: str, tag: str, *, is_tagged: bool = False) -> Entry | None:
        user, plus, _ = local.partition("+")
        keys = [local, *([f"{user}+*", user] if plus else [])]
        found = (self._keyed(tag, f"{key}@{domain}", is_tagged=is_tagged) for key in keys)
        return next((one for one in found if one is not None), None)

    def _address(self, local: str, domain: str, tag: str) -> Entry | None:
        user, plus, _ = local.partition("+")
        found = self._full(local, domain, tag)
        for key in [local, *([f"{user}+*", user] if plus else [])] if tag == "from" else []:
            found = found or self._keyed(tag, f"{key}@")
        return found or self._domain(domain, tag)


def _split(address: str) -> tuple[str, str]:
    """Local part and domain, routes taken off: ``@a:b@c``, ``a!b``, ``b%a``."""
    text = address.strip("<>").lower()
    while text.startswith("@") and ":" in text:
        text = text.partition(":")[2]
    if "@" in text:
        local, _, domain = text.rpartition("@")
        return local, domain.rstrip(".")
    if "!" in text:
        domain, _, local = text.partition("!")
        return local, domain if "." in domain else f"{domain}.uucp"
    local, sign, domain = text.rpartition("%")
    return (local, domain) if sign else (text, "")


def _written(stranger: Stranger) -> str:
    """The address as ``{client_addr}`` has it, in lower case."""
    address = stranger.client.address
    if address.version == 4:
        return str(address)
    return "ipv6:" + ":".join(f"{int(group, 16):x}" for group in address.exploded.split(":"))


def _upwards(domain: str) -> Iterator[str]:
    labels = domain.lower().split(".")
    for index in range(len(labels)):
        yield ".".join(labels[index:])


def _refuses(entry: Entry) -> bool:
    value = entry.value.lower()
    return value.startswith(_REFUSES) or (value[:1].isdigit() and value[:1] in "45")


# --- reading --------------------------------------------------------------------------------------


def read_features(source: SourceFile, setup: Setup, host: str) -> Features:
    """Read the file and the tables that it names."""
    features = Features(host, own={"localhost": None, **({host: None} if host else {})})
    try:
        for one in read_mc(source):
            if isinstance(one, Raw):
                _raw(features, one, setup)
            else:
                _call(features, one, setup)
    except ValueError as error:
        gap = Gap(GapKind.SYNTAX, "a quote or a bracket without an end", source.at(int(str(error))))
        features.gaps.append(setup.note(gap))
    file = features.defined.get("confCR_FILE")
    path = (file.rest if file else "/etc/mail/relay-domains").split(" ")[-1]
    position = file.position if file else None
    for word, where in read_words(setup, path.removeprefix("-o"), position, is_optional=file is None):
        features.relayed.setdefault(word.lower(), where)
    if "use_cw_file" in features.switched:
        named = features.defined.get("confCW_FILE")
        path = (named.rest if named else "/etc/mail/local-host-names").split(" ")[-1]
        for word, where in read_words(setup, path, named.position if named else None, is_optional=False):
            features.own.setdefault(word.lower(), where)
    return features


def _call(features: Features, call: Call, setup: Setup) -> None:
    words = call.first.lower().split()
    if call.name == "FEATURE":
        _feature(features, call, setup)
    elif call.name in {"define", "undefine"}:
        features.defined[call.first] = call
    elif call.name == "RELAY_DOMAIN":
        features.relayed.update(dict.fromkeys(words, call.position))
    elif call.name == "LOCAL_DOMAIN":
        features.own.update(dict.fromkeys(words, call.position))
    elif call.name == "RELAY_DOMAIN_FILE":
        for word, where in read_words(setup, call.first.split(" ")[-1], call.position, is_optional=False):
            features.relayed.setdefault(word.lower(), where)
    elif call.name == "DAEMON_OPTIONS":
        features.daemons.append(call)
    elif _brings_more(call):
        features.gaps.append(setup.note(Gap(GapKind.NOT_EVALUATED, call.text, call.position)))


def _feature(features: Features, call: Call, setup: Setup) -> None:
    name = call.first.lower()
    features.switched[name] = call
    if name == "access_db":
        features.access = _access(call, setup)
    elif name not in _DECIDING and name not in _HARMLESS:
        features.gaps.append(setup.note(Gap(GapKind.NOT_EVALUATED, call.text, call.position)))


def _brings_more(call: Call) -> bool:
    """Whether it stands for text in another file."""
    if call.name == "DOMAIN":
        return call.first not in _KNOWN_DOMAINS
    return call.name in {"include", "sinclude", "HACK"} and not call.first.endswith("/cf.m4")


def _access(call: Call, setup: Setup) -> Table:
    words = (call.rest or "hash -T<TMPF> /etc/mail/access").split()
    if words[0].lower() not in {"hash", "btree", "dbm", "cdb", "text", "implicit"}:
        return Table(gap=setup.note(Gap(GapKind.EXTERNAL, call.text, call.position)))
    return read_table(setup, words[-1], call.position, is_optional="-o" in words)


def _raw(features: Features, line: Raw, setup: Setup) -> None:
    """Lines of sendmail.cf: classes count, rulesets that decide aren't evaluated here."""
    if _RULES.match(line.text):
        features.gaps.append(setup.note(Gap(GapKind.NOT_EVALUATED, line.text, line.position)))
        return
    found = re.match(r"([CF])(?:\{([wR])\}|([wR]))\s*(.*)", line.text)
    if found is None:
        return
    members = features.relayed if (found[2] or found[3]) == "R" else features.own
    if found[1] == "C":
        words = found[4].split("#")[0].lower().split()
        members.update(dict.fromkeys(words, line.position))
        return
    parts = [part for part in found[4].split() if part.startswith("/")]
    for path in parts[:1]:
        for word, where in read_words(setup, path, line.position, is_optional="-o" in found[4]):
            members.setdefault(word.lower(), where)
