"""CONNECT of HTTP/2: the proxy carries TCP on a stream, to wherever it is asked.

Proxies have rules for each version of HTTP, and forget one. In TLS HTTP/2 is offered by ALPN; in the clear it
is spoken at once (RFC 9113 section 3.3), or after an Upgrade where the door knows no other way.

What is said first in the clear looks to a server of HTTP/1.1 like a request without a host, and one that fetches
from whatever host it is shown makes itself of that, again and again (seen with Caddy). So such a server is asked
by Upgrade alone, which names our canary.
"""

from __future__ import annotations

from dataclasses import replace

from relaywatch.model.errors import PeerClosedError, ReadTimeoutError, RemoteProtocolError
from relaywatch.model.evidence import Weakness
from relaywatch.model.places import Family, Service, Transport
from relaywatch.model.tokens import Token
from relaywatch.script import http2
from relaywatch.script.brief import Brief
from relaywatch.script.controls import ConnectControl, may_lack_host
from relaywatch.script.link import Link
from relaywatch.script.probe import Probe
from relaywatch.script.tunnels import Answer, Destination, Opening, OpenTunnel, Way, survey
from relaywatch.wire.http2 import Http2Exchange

_CONNECT = "RW-2003"


async def connect(link: Link, brief: Brief, destination: Destination, token: Token) -> Opening:
    """CONNECT on a stream of HTTP/2; at a door in the clear also by Upgrade."""
    fields, command = http2.connect_fields(destination, brief), f"CONNECT {destination} HTTP/2"
    opening = await http2.ask_for_tunnel(link, brief, Http2Exchange(fields), command)
    if opening.answer is not Answer.FOREIGN or brief.door.transport is Transport.TLS:
        return opening
    await link.connect(within=brief.patience.connect)
    return await connect_by_upgrade(link, brief, destination, token)


async def connect_by_upgrade(link: Link, brief: Brief, destination: Destination, _token: Token) -> Opening:
    """CONNECT on a stream of HTTP/2 to which a connection of HTTP/1.1 was upgraded."""
    fields = http2.connect_fields(destination, brief)
    command = f"CONNECT {destination} HTTP/2 (Upgrade: h2c)"
    try:
        exchange = await http2.upgrade(link, brief, destination, fields)
    except (PeerClosedError, ReadTimeoutError, RemoteProtocolError):
        exchange = None
    if exchange is None:
        return Opening(answer=Answer.FOREIGN, command=command)
    return await http2.ask_for_tunnel(link, brief, exchange, command)


WAYS = (
    Way(name="address", advisory=_CONNECT, ask=connect),
    Way(name="name", advisory=_CONNECT, ask=connect, by_name=True, ports=2),
    Way(name="address-ipv6", advisory=_CONNECT, ask=connect, to=Family.IPV6, ports=1),
)


async def script(link: Link, brief: Brief) -> None:
    """Ask for tunnels in every way, until one leads to our canary."""
    control = ConnectControl()
    ways = [control.over(way) for way in await _harmless(link, brief)]
    await survey(link, brief, ways, opener=http2.open_http2_link)


async def connect_harmlessly(link: Link, brief: Brief, destination: Destination, token: Token) -> Opening:
    """CONNECT in a way that leads no server to itself, for chains, which don't know what the script has found out."""
    ask = await _harmless_way(link, brief)
    await http2.open_http2_link(link, brief)
    return await ask(link, brief, destination, token)


async def _harmless(link: Link, brief: Brief) -> tuple[Way, ...]:
    """The ways that lead no server to itself."""
    ask = await _harmless_way(link, brief)
    return tuple(replace(way, ask=ask) for way in WAYS)


async def _harmless_way(link: Link, brief: Brief) -> OpenTunnel:
    if brief.door.transport is Transport.TLS or await may_lack_host(link, brief):
        return connect
    return connect_by_upgrade


PROBE = Probe(
    name="http2-connect",
    weakness=Weakness.OPEN_PROXY,
    default_doors=(
        *((port, Transport.TLS) for port in (443, 8443, 3129)),
        *((port, Transport.PLAIN) for port in (80, 8080, 3128, 10000)),
    ),
    references=("RFC 9113 section 8.5", "RFC 7540 section 3.2"),
    script=script,
    rank=20,
    services=frozenset({Service.HTTP, Service.TLS}),
    tunnel=connect_harmlessly,
    opener=http2.open_http2_link,
)
