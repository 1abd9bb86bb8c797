"""Who lives in the loopback world: a row each, a name of ours and a server as its administrator would set it up.

Hostnames are trees, so that no server's name tells what it is.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network
from typing import Any

from relaywatch.model.places import Transport

from . import oddities, proxies
from .phrases import EXIM, POSTFIX, QMAIL, SENDMAIL
from .policy import (
    EVERYWHERE,
    Conduct,
    Fate,
    Greylist,
    GreylistKey,
    Policy,
    RelayCheck,
    Rewrite,
    UnknownUser,
)
from .server import Handler

BEHIND_PROXY = "behind-proxy"
"""A mail server that trusts the proxies beside it, and no stranger: the chain leads to it."""


class Role(StrEnum):
    """What a server of the world is asked about."""

    MAIL = "mail"
    PROXY = "proxy"
    CHAIN = "chain"
    """Whether mail goes through it to a server that trusts it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the administrator who asks for a check says of the server: nothing that a stranger couldn't know."""

    local_domains: tuple[str, ...] = ()
    transport: Transport | None = None
    """The port's own transport, where it is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inhabitant:
    """A server of the world: a policy, or a handler that speaks for itself, or neither (a dead port)."""

    name: str
    policy: Policy | None = None
    handler: Handler | None = None
    settings: Settings = Settings()
    both_families_by_name: bool = False
    """Asked by the name ``localhost``, and so over IPv4 and IPv6 alike."""
    role: Role = Role.MAIL


def policy(tree: str, **terms: Any) -> Policy:
    """A policy for ``mail.TREE.example``, which serves ``TREE.example``."""
    domain = f"{tree}.example"
    return Policy(hostname=f"mail.{domain}", local_domains=(domain, f"mail.{domain}"), **terms)


def _rewriting(tree: str, *rewrites: Rewrite, **terms: Any) -> Policy:
    return policy(tree, rewrites=frozenset(rewrites), **terms)


CLOSED = policy("alder")
OPEN = policy("birch", trusted_networks=EVERYWHERE)

_PLAIN_HOLES = {
    "open": OPEN,
    "trusts-reverse-path": policy("cedar", trusted_reverse_path_domains=frozenset({"cedar.example"})),
    "trusts-helo": policy("dogwood", trusted_helo_names=frozenset({"localhost", "localhost.localdomain"})),
    "null-reverse-path": policy("elm", null_reverse_path_relays=True),
    "percent-hack": _rewriting("fir", Rewrite.PERCENT_HACK, phrases=SENDMAIL),
    "source-route": policy("ginkgo", source_route_hides_mailbox=True),
    "bang-path": _rewriting("hazel", Rewrite.BANG_PATH),
    "quoted-local-part": _rewriting("iroko", Rewrite.DEQUOTE),
    "second-at": _rewriting(
        "juniper", Rewrite.SECOND_AT, rewriting_domains=frozenset({"mail.juniper.example"})
    ),
    "encapsulated": _rewriting("kauri", Rewrite.DECAPSULATE),
    "lax-syntax": policy("linden", bare_paths_unchecked=True),
    "second-recipient": policy("mango", checks_first_recipient_only=True),
    "bdat": policy("neem", relay_check=RelayCheck.AT_DATA, bdat_unchecked=True, offers_chunking=True),
    "late-hole": _rewriting("oak", Rewrite.ADDRESS_LIST, phrases=EXIM, conduct=Conduct(drops_after_errors=3)),
    "starttls-only": policy("pine", offers_starttls=True, tls_clients_relay=True),
}

_CLOSED = {
    "closed": CLOSED,
    "postfix-like": policy(
        "quince",
        phrases=POSTFIX,
        own_literals_are_local=True,
        conduct=Conduct(sleeps_after_errors=10, drops_after_errors=20),
    ),
    "exim-like": policy("rowan", phrases=EXIM),
    "sendmail-like": policy("spruce", phrases=SENDMAIL, own_literals_are_local=True),
    "refuses-at-data": policy("tamarind", relay_check=RelayCheck.AT_DATA, offers_chunking=True),
    "catch-all": policy("umbu", unknown_user=UnknownUser.KEEP),
    "slow-greeting": policy("viburnum", phrases=POSTFIX, conduct=Conduct(greeting_seconds=1.0)),
    "drops-after-errors": policy("willow", conduct=Conduct(drops_after_errors=3)),
    "tls-required": policy("yucca", offers_starttls=True, requires_tls=True),
}

_DECEIVING = {
    "accept-then-drop": policy("acacia", trusted_networks=EVERYWHERE, outside_mail=Fate.DROP),
    "accept-then-bounce": policy("balsa", trusted_networks=EVERYWHERE, outside_mail=Fate.BOUNCE),
    "qmail-like": policy("camellia", unknown_user=UnknownUser.BOUNCE, phrases=QMAIL),
    "greylisting-closed": policy("durian", greylist=Greylist(seconds=2.0, key=GreylistKey.CLIENT)),
    "greylisting-open": policy("ebony", greylist=Greylist(seconds=2.0), trusted_networks=EVERYWHERE),
    "auth-required": policy("fig", requires_auth=True),
    "blocks-client": policy("guava", conduct=Conduct(blocks_client=True)),
    "too-many-connections": policy("holly", conduct=Conduct(connections_served=0)),
    "tarpit": policy("ivy", conduct=Conduct(reply_seconds=3.0)),
}

_ODDITIES = {
    "yes-to-everything": oddities.say_yes_to_everything,
    "garbage": oddities.speak_garbage,
    "endless-greeting": oddities.greet_without_end,
    "silent": oddities.stay_silent,
    "resets": oddities.reset,
}

_PROXIES: dict[str, Handler] = {
    "proxy": proxies.http_proxy(),
    "connect-only": proxies.http_proxy(forwards=False),
    "forward-only": proxies.http_proxy(connects=False),
    "odd-line-ends": proxies.http_proxy(forwards=False, filters_first_line=True),
    "misrouting": proxies.misrouting,
    "socks": proxies.socks_server(),
    "telnet-gateway": proxies.telnet_gateway,
    "proxy-for-users": proxies.http_proxy(wants_credentials=True),
    "socks-for-users": proxies.socks_server(wants_credentials=True),
    "web-server": proxies.web_server,
    "welcomes-all": proxies.welcome_all,
    "captive-portal": proxies.captive_portal,
    "tunnel-to-nowhere": proxies.tunnel_to_nowhere,
    "socks-to-nowhere": proxies.socks_server(pretends=True),
}

_SPECIAL = (
    Inhabitant(name="chain", handler=proxies.http_proxy(), role=Role.CHAIN),
    Inhabitant(
        name=BEHIND_PROXY, policy=policy("papaya", trusted_networks=(IPv4Network(f"{proxies.SOURCE}/32"),))
    ),
    Inhabitant(
        name="backup-mx",
        policy=policy(
            "jujube",
            relay_domains=frozenset({"larch.example"}),
            rewrites=frozenset({Rewrite.SECOND_AT}),
            rewriting_domains=frozenset({"larch.example"}),
        ),
        settings=Settings(local_domains=("larch.example",)),
    ),
    Inhabitant(
        name="implicit-tls",
        policy=policy("kola", implicit_tls=True, tls_clients_relay=True),
        settings=Settings(transport=Transport.TLS),
    ),
    Inhabitant(
        name="ipv6-only",
        policy=replace(policy("maple"), trusted_networks=(IPv6Network("::/0"),)),
        both_families_by_name=True,
    ),
    Inhabitant(name="dead-port"),
)

POPULATION: tuple[Inhabitant, ...] = (
    *(Inhabitant(name=name, policy=one) for name, one in {**_PLAIN_HOLES, **_CLOSED, **_DECEIVING}.items()),
    *(Inhabitant(name=name, handler=one) for name, one in _ODDITIES.items()),
    *(Inhabitant(name=name, handler=one, role=Role.PROXY) for name, one in _PROXIES.items()),
    *_SPECIAL,
)
"""Everybody, in the order in which they are shown."""
