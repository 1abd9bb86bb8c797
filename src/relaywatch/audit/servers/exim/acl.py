"""Access control lists (chapter 43), evaluated for one stranger in one dialogue."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from enum import Enum

from relaywatch.audit.addresses import AddressSet
from relaywatch.audit.claims import Claim, ClaimKind
from relaywatch.audit.conditions import Way, shortest
from relaywatch.audit.findings import Cause, Gap, GapKind
from relaywatch.audit.placed import Placed
from relaywatch.audit.setup import Setup
from relaywatch.audit.strangers import Stranger

from .config import MODIFIERS, Condition, Config, Statement
from .expansion import Expander, ForcedError, UnknownError, is_true
from .matching import PRIMARY, Listed, Lists

_MOST_DEEP = 20
_MATCH_IP = re.compile(r"match_ip\s*\{[^{}]*\}\s*\{([^{}]*)\}")
SPOKEN = re.compile(r"sender_helo_name|sender_address|return_path|sender_host_name|local_part|domain\b")
"""Variables that he chooses."""
_MOST_OPEN = 16
_ANY_PASSWORD = frozenset({"true", "yes", "1"})
REPUTATION = frozenset(
    {
        "dnslists",
        "ratelimit",
        "spam",
        "malware",
        "decode",
        "regex",
        "mime_regex",
        "demime",
        "dkim_signers",
        "dkim_status",
        "dmarc_status",
        "bmi_optin",
        "seen",
    }
)
"""What a stranger of good reputation, who doesn't come often, doesn't meet."""


class Answer(Enum):
    """What an ACL comes to."""

    ACCEPT = "accept"
    REFUSE = "refuse"
    DEFER = "defer"
    """Put off, or taken and thrown away: whichever ACL says so, it holds for the whole."""


Outcome = tuple[Answer, Way]
Test = tuple[bool | None, Way]


@dataclass(frozen=True, slots=True)
class Port:
    """The listener that he came to."""

    number: str
    is_encrypted: bool = False
    """TLS from the start."""


@dataclass(slots=True)
class Dialogue:
    """One stranger's dialogue: what its ACLs say."""

    config: Config
    setup: Setup
    stranger: Stranger
    port: Port
    leaves: Callable[[Stranger], list[Way]]
    """The ways in which mail for his forward-path is routed somewhere."""
    stage: str = "rcpt"
    opaque: frozenset[str] = frozenset()

    @property
    def lists(self) -> Lists:
        """The lists, expanded for him."""
        return Lists(self.config, self.setup, self._expander().expand)

    def _expander(self) -> Expander:
        return Expander(self._variables(), self._exists, self._is_listed)

    def _variables(self) -> dict[str, str]:
        stranger = self.stranger
        sender, recipient = stranger.sender.text or "", stranger.recipient.text or ""
        primary = self.config.options.get("primary_hostname")
        known = {
            "sender_address": sender,
            "sender_address_domain": sender.rpartition("@")[2],
            "sender_address_local_part": sender.rpartition("@")[0],
            "return_path": sender,
            "sender_host_address": str(stranger.client.address),
            "sender_host_name": "" if stranger.client.name == "unknown" else stranger.client.name,
            "sender_helo_name": stranger.greeting.text or "",
            "authenticated_id": "",
            "sender_host_authenticated": "",
            "authenticated_sender": "",
            "primary_hostname": primary.text if primary else PRIMARY,
            "smtp_active_hostname": primary.text if primary else PRIMARY,
            "received_port": self.port.number,
            "interface_port": self.port.number,
            "recipients_count": "0",
            "rcpt_count": "1",
            "message_size": "0",
            "smtp_command": "RCPT",
        }
        if self.stage == "rcpt":
            known |= {"local_part": recipient.rpartition("@")[0], "domain": recipient.rpartition("@")[2]}
        return known

    def _exists(self, name: str) -> bool:
        if self.setup.has(name):
            return True
        if not name.startswith((str(self.setup.home), str(self.setup.main.parent))):
            raise UnknownError(f"exists {name}")
        return False

    def _is_listed(self, kind: str, text: str, what: str) -> bool:
        found = self.lists.find(kind, Placed(text), what)
        if found.gap is not None:
            raise UnknownError(f"match_{kind}")
        return found.holds

    # --- statements ------------------------------------------------------------------------------

    def accepted(self, statements: tuple[Statement, ...]) -> list[Way]:
        """The ways in which an ACL accepts."""
        return [way for answer, way in self.answers(statements) if answer is Answer.ACCEPT]

    def answers(self, statements: tuple[Statement, ...], depth: int = 0) -> list[Outcome]:
        """What an ACL comes to, and how; at its end stands an implicit refusal."""
        if depth >= _MOST_DEEP:
            return [(Answer.DEFER, Way())]  # nested too deep: possible loop
        done, open_ways = list[Outcome](), [Way()]
        for statement in statements:
            going_on: list[Way] = []
            for way in open_ways:
                for next_way, answer in self._said(statement, depth):
                    both = way.joined(next_way)
                    if answer is None:
                        going_on.append(both)
                    else:
                        done.append((answer, both))
            open_ways = list(shortest(going_on))[:_MOST_OPEN]
        return [*done, *((Answer.REFUSE, way) for way in open_ways)]

    def _said(self, statement: Statement, depth: int) -> Iterator[tuple[Way, Answer | None]]:
        """The ways through a statement: it decides, or the next one is asked."""
        verb = statement.verb
        for holds, way, passed_end in self._tested(statement, depth):
            if holds is None:
                yield (way, None) if verb == "warn" else (way, Answer.DEFER)
            elif verb == "accept" and holds:
                yield self._blamed(statement, way), Answer.ACCEPT
            elif verb in {"accept", "discard"} and not holds:
                yield way, Answer.REFUSE if passed_end else None
            elif verb == "require":
                yield (way, None) if holds else (way, Answer.REFUSE)
            elif verb == "warn" or not holds:
                yield way, None
            else:
                yield way, Answer.DEFER if verb in {"defer", "discard"} else Answer.REFUSE

    def _tested(self, statement: Statement, depth: int) -> Iterator[tuple[bool | None, Way, bool]]:
        """Whether all conditions hold, in order, and whether ``endpass`` stood before the one that doesn't.

        Neither, where a condition can't be told, for which Exim puts him off.
        """
        ways = [Way()]
        passed_end = False
        for condition in statement.conditions:
            if condition.name == "endpass":
                passed_end = True
            if condition.name in MODIFIERS or condition.name.startswith("set"):
                continue
            held: list[Way] = []
            for way in ways:
                for holds, more in self._test(condition, statement, depth):
                    if holds is None:
                        yield None, way.joined(more), passed_end
                    elif holds is not condition.is_negated:
                        held.append(way.joined(more))
                    else:
                        yield False, Way(way.claims | more.claims, way.gaps | more.gaps), passed_end
            ways = list(shortest(held))
        for way in ways:
            yield True, way, passed_end

    def _blamed(self, statement: Statement, way: Way) -> Way:
        """An accept is to blame if nothing in it is."""
        if any(cause.rule for cause in way.causes):
            return way
        is_route = any(sign in (self.stranger.recipient.text or "") for sign in '%!"')
        rule = "ex-norequire" if self.stage == "rcpt" and not way.gaps and not is_route else ""
        return way.because(Cause(statement.text, statement.position, rule))

    # --- conditions ------------------------------------------------------------------------------

    def _test(self, condition: Condition, statement: Statement, depth: int) -> list[Test]:
        name = condition.name
        if name == "dnslists" and statement.verb in {"accept", "require"} and not condition.is_negated:
            return [(False, Way()), self._unknown(condition, condition.said.text)[0]]
        if name in REPUTATION:
            return [(False, Way())]
        if name == "spf" or name.startswith("spf"):
            return [("pass" in condition.value.text, Way())]
        known = _TESTS.get(name)
        if known is not None:
            return known(self, condition, statement)
        if name == "acl":
            return self._nested(condition, depth)
        return self._unknown(condition, f"{name} = {condition.value.text}")

    def _unknown(self, condition: Condition, subject: str) -> list[Test]:
        gap = Gap(GapKind.NOT_EVALUATED, subject[:200], condition.said.position)
        self.setup.set_aside(gap)
        cause = Cause(condition.said.text[:200], condition.said.position)
        way = Way(gaps=frozenset({gap}), causes=(cause,))
        return [(True, way), (False, way)]

    def _list(self, condition: Condition, found: Listed, statement: Statement, rule: str) -> list[Test]:
        if found.is_broken:
            return [(None, Way())]
        if found.gap is not None:
            return self._unknown(condition, found.gap.subject)
        if not found.holds or condition.is_negated or statement.verb not in {"accept", "require"}:
            return [(found.holds, Way())]
        by_list = rule in {"ex-nets", "ex-net-gateway", "ex-doms", "ex-mx"}
        position = (found.position if by_list else None) or condition.said.position
        text = (found.name if by_list else "") or condition.said.text
        return [(True, Way(causes=(Cause(text[:200], position, rule),)))]

    def hosts(self, condition: Condition, statement: Statement) -> list[Test]:
        """Where he comes from; an empty item is a program on the same host without TCP."""
        client = self.stranger.client
        name = "" if client.name == "unknown" else client.name
        found = self.lists.find("host", condition.value, str(client.address), name)
        rule = {None: "ex-nets", ClaimKind.FRONT_END: "ex-net-gateway"}.get(client.how, "")
        if statement.verb == "accept" and _has_recipients(statement):
            rule = ""
        return self._list(condition, found, statement, rule)

    def domains(self, condition: Condition, statement: Statement) -> list[Test]:
        """The forward-path's domain."""
        domain = (self.stranger.recipient.text or "").rpartition("@")[2]
        found = self.lists.find("domain", condition.value, domain)
        rule = "ex-mx" if found.item.startswith("@mx_") else "ex-doms"
        if "%" in (self.stranger.recipient.text or ""):
            rule = ""
        return self._list(condition, found, statement, rule)

    def local_parts(self, condition: Condition, statement: Statement) -> list[Test]:
        """The forward-path's local part."""
        local = (self.stranger.recipient.text or "").rpartition("@")[0]
        return self._list(condition, self.lists.find("localpart", condition.value, local), statement, "")

    def recipients(self, condition: Condition, statement: Statement) -> list[Test]:
        """The whole forward-path."""
        found = self.lists.find("address", condition.value, self.stranger.recipient.text or "")
        return self._list(condition, found, statement, "ex-doms")

    def senders(self, condition: Condition, statement: Statement) -> list[Test]:
        """The reverse-path that he claims."""
        sender = self.stranger.sender.text or ""
        found = self.lists.find("address", condition.value, sender)
        return self._list(condition, found, statement, "ex-sender" if sender else "ex-null-sender")

    def sender_domains(self, condition: Condition, statement: Statement) -> list[Test]:
        """Its domain."""
        domain = (self.stranger.sender.text or "").rpartition("@")[2]
        return self._list(
            condition, self.lists.find("domain", condition.value, domain), statement, "ex-sender"
        )

    def condition(self, condition: Condition, statement: Statement) -> list[Test]:
        """An expansion that is yes or no."""
        try:
            holds = is_true(self._expander().expand(condition.value.text))
        except ForcedError:
            return [(True, Way())]
        except UnknownError as error:
            return self._unknown(condition, f"condition: {error}")
        text = condition.value.text
        if text in self.opaque:
            opposite = self._unknown(condition, f"condition: {text}")[0][1]
            return [(holds, Way()), (not holds, opposite)]
        rule = ""
        if "helo_name" in text and self.stranger.greeting.claims:
            rule = "ex-helo"
        elif "sender_address" in text or "return_path" in text:
            rule = "ex-sender" if self.stranger.sender.text else "ex-null-sender"
        if not holds or not rule or condition.is_negated or statement.verb not in {"accept", "require"}:
            return [(holds, Way())]
        return [(True, Way(causes=(Cause(condition.said.text[:200], condition.said.position, rule),)))]

    def holds(self, condition: Condition) -> bool | None:
        """Whether an expansion says yes; nothing where nobody knows."""
        try:
            return is_true(self._expander().expand(condition.value.text))
        except (ForcedError, UnknownError):
            return None

    def encrypted(self, condition: Condition, statement: Statement) -> list[Test]:
        """He encrypts, or doesn't, as he likes; where TLS isn't offered he can't."""
        offered = self.config.options.get("tls_advertise_hosts")
        cause = Cause(condition.said.text[:200], condition.said.position, "ex-encrypted")
        blamed = statement.verb in {"accept", "require"} and not condition.is_negated
        tls = (True, Way(causes=(cause,) if blamed and statement.verb == "accept" else ()))
        if self.port.is_encrypted:
            return [tls]
        return [(False, Way())] if offered is not None and not offered.text else [tls, (False, Way())]

    def authenticated(self, _condition: Condition, _statement: Statement) -> list[Test]:
        """He has no password; it is asked for unless a plaintext authenticator says yes to any."""
        for one in self.config.authenticators:
            said = one.get("server_condition", Placed())
            if one.get("driver", Placed()).text == "plaintext" and said.text.strip().lower() in _ANY_PASSWORD:
                cause = Cause(f"server_condition = {said.text}", said.position, "ex-any-password")
                return [(True, Way(causes=(cause,))), (False, Way())]
        return [(False, Way())]

    def verify(self, condition: Condition, statement: Statement) -> list[Test]:
        """His host, name and reverse-path are proper, or not, as he likes; his forward-path is, if it is routed."""
        what = condition.value.text.split("/")[0].split("=")[0].strip().lower()
        if what == "recipient":
            ways = self.leaves(self.stranger)
            return [(True, way) for way in ways] or [(False, Way())]
        if what == "certificate":
            return self._certificate(condition, statement)
        return [(True, Way()), (False, Way())]

    def _certificate(self, condition: Condition, statement: Statement) -> list[Test]:
        asked = [self.config.options.get(name) for name in ("tls_verify_hosts", "tls_try_verify_hosts")]
        if not any(value is not None and value.text for value in asked):
            return [(False, Way())]
        authorities = self.config.options.get("tls_verify_certificates")
        whose = authorities.text if authorities else "the system's authorities"
        claim = Claim(ClaimKind.CERTIFICATE, f"of {whose}")
        cause = Cause(condition.said.text[:200], condition.said.position, "ex-certificate")
        causes = (cause,) if statement.verb == "accept" and not condition.is_negated else ()
        return [(True, Way(frozenset({claim}), causes=causes)), (False, Way())]

    def _nested(self, condition: Condition, depth: int) -> list[Test]:
        """Another ACL: true if it accepts; false if it refuses."""
        statements = self.config.acls.get(condition.value.text.partition(" ")[0])
        if statements is None:
            return self._unknown(condition, f"acl = {condition.value.text}")
        meaning = {Answer.ACCEPT: True, Answer.REFUSE: False, Answer.DEFER: None}
        outcomes = self.answers(statements, depth + 1)
        return list(dict.fromkeys((meaning[answer], replace(way, causes=())) for answer, way in outcomes))


_TESTS: dict[str, Callable[[Dialogue, Condition, Statement], list[Test]]] = {
    method.__name__: method
    for method in (
        Dialogue.authenticated,
        Dialogue.condition,
        Dialogue.domains,
        Dialogue.encrypted,
        Dialogue.hosts,
        Dialogue.local_parts,
        Dialogue.recipients,
        Dialogue.sender_domains,
        Dialogue.senders,
        Dialogue.verify,
    )
}


def _has_recipients(statement: Statement) -> bool:
    return any(one.name in {"domains", "recipients"} and not one.is_negated for one in statement.conditions)


def conditions_of(config: Config) -> Iterator[Condition]:
    """The expansions that ACLs ask for yes or no."""
    for statements in config.acls.values():
        for statement in statements:
            yield from (one for one in statement.conditions if one.name == "condition")


def host_sets(config: Config, lists: Lists) -> list[AddressSet]:
    """The sets of addresses that the conditions of all ACLs ask about."""
    values = [
        condition.value
        for statements in config.acls.values()
        for statement in statements
        for condition in statement.conditions
        if condition.name == "hosts"
    ]
    for condition in conditions_of(config):
        values += [Placed(found) for found in _MATCH_IP.findall(condition.value.text)]
    return [one for one in map(lists.addresses, values) if one]
