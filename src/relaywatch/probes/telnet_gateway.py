"""Telnet gateways (WinGate and its kind): a prompt that takes a host and a port of anybody.

Only a service that shows a prompt without asking who we are is spoken to; where it asks for a name or a
password, nothing is typed. It is a gateway if our canary answers through it, and says yes only by naming the
host that it has connected to: an ordinary login, a shell, or whatever else talks is refused or absent.
"""

from __future__ import annotations

from relaywatch.model.evidence import Weakness
from relaywatch.model.places import Service, Transport
from relaywatch.model.tokens import Token
from relaywatch.script import telnet
from relaywatch.script.brief import Brief
from relaywatch.script.link import Link
from relaywatch.script.probe import Probe
from relaywatch.script.tunnels import Destination, Opening, OpenTunnel, Way, survey

_GATEWAY = "RW-2012"


def _line(form: str) -> OpenTunnel:
    """Type the destination in that form."""

    async def ask(link: Link, brief: Brief, destination: Destination, token: Token) -> Opening:
        line = form.format(where=destination, address=destination.address, port=destination.port)
        return await telnet.ask_by_line(link, brief, destination, token, line)

    return ask


WAYS = (
    Way(name="colon", advisory=_GATEWAY, ask=_line("{where}"), ports=2),  # WinGate
    Way(name="space", advisory=_GATEWAY, ask=_line("{address} {port}"), ports=1),
    Way(name="telnet", advisory=_GATEWAY, ask=_line("telnet {address} {port}"), ports=1),  # routers
    Way(name="connect", advisory=_GATEWAY, ask=_line("connect {address} {port}"), ports=1),  # TIS tn-gw
)


async def script(link: Link, brief: Brief) -> None:
    """Type our canary's address in every form, until it answers."""
    if await telnet.awaits_command(link, brief, _GATEWAY):
        await survey(link, brief, WAYS)


PROBE = Probe(
    name="telnet-gateway",
    weakness=Weakness.OPEN_PROXY,
    default_doors=((23, Transport.PLAIN),),
    references=("RFC 854", "CVE-1999-0291"),
    script=script,
    services=frozenset({Service.TELNET, Service.OTHER}),
)
