"""Relay control as servers have it: who may send what where, and in which words the rest is refused."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from relaywatch.model.places import Address, address_literal
from relaywatch.model.smtp import Reply

from .addresses import Destination, Path, claimed_domain, resolve
from .phrases import say
from .policy import Greylist, GreylistKey, Policy, RelayCheck, UnknownUser


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """What a server knows of whoever speaks to it."""

    address: Address
    helo: str = ""
    tls: bool = False


@dataclass(frozen=True, slots=True)
class Recipient:
    """A forward-path that was taken. ``refusal`` waits for DATA, where relay control sits there."""

    path: str
    mailbox: str
    """Where delivery goes."""
    local: bool = False
    """It ends here; mail for a domain that the server backs up too, since its primary isn't in this world."""
    exists: bool = True
    """Somebody lives there, as far as this server knows."""
    refusal: Reply | None = None


@dataclass(slots=True)
class GreylistMemory:
    """When each client or triplet came first; bounded, and forgotten with the server."""

    first_seen: dict[tuple[str, ...], float] = field(default_factory=dict)
    limit: int = 10_000

    def defers(self, greylist: Greylist, triplet: tuple[str, str, str], now: float) -> float | None:
        """How many seconds are left to wait, if any; ``now`` is any clock that only runs forward."""
        key = triplet[:1] if greylist.key is GreylistKey.CLIENT else triplet
        if len(self.first_seen) >= self.limit:
            self.first_seen.clear()
        left = self.first_seen.setdefault(key, now) + greylist.seconds - now
        return left if left > 0 else None


def greylisted(policy: Policy, seconds: float) -> Reply:
    """The answer to who came too early."""
    wait = max(1, round(seconds + 0.5))
    return say(
        "450 4.7.1 {hostname}: Greylisted, please try again in {wait} seconds",
        hostname=policy.hostname,
        wait=str(wait),
    )


def local_domains(policy: Policy, own: Address) -> frozenset[str]:
    """The domains for which the server is the last stop."""
    literals = {address_literal(own).lower()} if policy.own_literals_are_local else set()
    return frozenset({*policy.local_domains, *literals})


def admit(
    policy: Policy, client: Client, own: Address, reverse_path: str, path: Path, *, first: bool
) -> Recipient | Reply:
    """Take a forward-path or refuse it; ``own`` is the address that the client reached."""
    local = local_domains(policy, own)
    destination = resolve(path.text, policy, local)
    own_domains = local | policy.relay_domains
    if destination.claimed_domain in own_domains and destination.domain in own_domains:
        return _admit_own(policy, path, destination)
    recipient = Recipient(path.text, destination.mailbox)
    if destination.claimed_domain in own_domains:
        return recipient
    if _may_relay(policy, client, local, reverse_path) or _slips_past(policy, path, first=first):
        return recipient
    refusal = say(policy.phrases.relay_denied, path=path.text)
    return replace(recipient, refusal=refusal) if policy.relay_check is RelayCheck.AT_DATA else refusal


def _admit_own(policy: Policy, path: Path, destination: Destination) -> Recipient | Reply:
    exists = destination.local_part.lower() in policy.mailboxes
    if not exists and policy.unknown_user is UnknownUser.REFUSE:
        return say(policy.phrases.unknown_user, path=path.text)
    return Recipient(path.text, destination.mailbox, local=True, exists=exists)


def _may_relay(policy: Policy, client: Client, local: frozenset[str], reverse_path: str) -> bool:
    if any(client.address in network for network in policy.trusted_networks):
        return True
    if client.helo.lower() in policy.trusted_helo_names or (policy.tls_clients_relay and client.tls):
        return True
    if not reverse_path:
        return policy.null_reverse_path_relays
    trusted = policy.trusted_reverse_path_domains
    domain = claimed_domain(reverse_path, policy)
    return domain in trusted or (bool(trusted) and domain in local)


def _slips_past(policy: Policy, path: Path, *, first: bool) -> bool:
    if policy.checks_first_recipient_only and not first:
        return True
    return policy.bare_paths_unchecked and not path.bracketed
