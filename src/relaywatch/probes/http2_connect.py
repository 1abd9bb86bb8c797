"""CONNECT of HTTP/2: the proxy carries TCP on a stream, to wherever it is asked.

Proxies have rules for each version of HTTP, and forget one. In TLS HTTP/2 is offered by ALPN; in the clear it
is spoken at once (RFC 9113 section 3.3), or after an Upgrade where the door knows no other way.
"""

from __future__ import annotations

from relaywatch.model.errors import PeerClosedError, ReadTimeoutError, RemoteProtocolError
from relaywatch.model.evidence import Weakness
from relaywatch.model.places import Family, Service, Transport
from relaywatch.model.tokens import Token
from relaywatch.script import http2
from relaywatch.script.brief import Brief
from relaywatch.script.controls import ConnectControl
from relaywatch.script.link import Link
from relaywatch.script.probe import Probe
from relaywatch.script.tunnels import Answer, Destination, Opening, Way, survey
from relaywatch.wire.http2 import Http2Exchange

_CONNECT = "RW-2003"


async def connect(link: Link, brief: Brief, destination: Destination, _token: Token) -> Opening:
    """CONNECT on a stream of HTTP/2; at a door in the clear also by Upgrade."""
    fields, command = http2.connect_fields(destination, brief), f"CONNECT {destination} HTTP/2"
    opening = await http2.ask_for_tunnel(link, brief, Http2Exchange(fields), command)
    if opening.answer is not Answer.FOREIGN or brief.door.transport is Transport.TLS:
        return opening
    await link.connect(within=brief.patience.connect)
    try:
        exchange = await http2.upgrade(link, brief, destination, fields)
    except (PeerClosedError, ReadTimeoutError, RemoteProtocolError):
        return opening
    if exchange is None:
        return opening
    return await http2.ask_for_tunnel(link, brief, exchange, f"{command} (Upgrade: h2c)")


WAYS = (
    Way(name="address", advisory=_CONNECT, ask=connect),
    Way(name="name", advisory=_CONNECT, ask=connect, by_name=True, ports=2),
    Way(name="address-ipv6", advisory=_CONNECT, ask=connect, to=Family.IPV6, ports=1),
)


async def script(link: Link, brief: Brief) -> None:
    """Ask for tunnels in every way, until one leads to our canary."""
    control = ConnectControl()
    ways = [control.over(way) for way in WAYS]
    await survey(link, brief, ways, opener=http2.open_http2_link)


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
    tunnel=connect,
    opener=http2.open_http2_link,
)
