"""CONNECT of HTTP/1.x: the proxy carries TCP to wherever it is asked, mail too.

Asked by address, by name, by address of the other family, and with odd line ends, since filters have been
passed by those. At a door of TLS the same is said within TLS.
"""

from __future__ import annotations

from relaywatch.model.errors import ReadTimeoutError
from relaywatch.model.evidence import Weakness
from relaywatch.model.places import Family, Service, Transport
from relaywatch.model.tokens import Token
from relaywatch.script import http
from relaywatch.script.brief import Brief
from relaywatch.script.controls import ConnectControl
from relaywatch.script.link import Link
from relaywatch.script.probe import Probe
from relaywatch.script.tunnels import Destination, Opening, OpenTunnel, Way, survey

_CONNECT, _ODD_LINE_ENDS = "RW-2001", "RW-2002"
_LINE_END = b"\r\n"


def _connect(*, after: bytes = b"") -> OpenTunnel:
    """CONNECT, with octets that don't belong there after the request."""

    async def ask(link: Link, brief: Brief, destination: Destination, _token: Token) -> Opening:
        exchange = http.connect_exchange(destination, brief)
        head = await http.exchange_with(link, exchange, brief, after=after)
        return await http.read_tunnel(link, exchange, brief, head, _command(destination))

    return ask


async def _connect_behind_a_line_end(
    link: Link, brief: Brief, destination: Destination, _token: Token
) -> Opening:
    """CONNECT behind an empty line. Some look at what stands there only once more comes: to them one more is said."""
    exchange = http.connect_exchange(destination, brief)
    await link.send(_LINE_END + exchange.request)
    try:
        head = await http.read_head(link, exchange, within=brief.patience.first_words)
    except ReadTimeoutError:
        await link.send(_LINE_END)
        head = await http.read_head(link, exchange, within=brief.patience.tunnel)
    return await http.read_tunnel(link, exchange, brief, head, _command(destination))


def _command(destination: Destination) -> str:
    return f"CONNECT {destination} HTTP/1.1"


connect = _connect()

WAYS = (
    Way(name="address", advisory=_CONNECT, ask=connect),
    Way(name="name", advisory=_CONNECT, ask=connect, by_name=True, ports=2),
    Way(name="address-ipv6", advisory=_CONNECT, ask=connect, to=Family.IPV6, ports=1),
    Way(name="address-ipv4", advisory=_CONNECT, ask=connect, to=Family.IPV4, ports=1),
    Way(name="leading-line-end", advisory=_ODD_LINE_ENDS, ask=_connect_behind_a_line_end, ports=2),
    Way(name="extra-line-end", advisory=_ODD_LINE_ENDS, ask=_connect(after=_LINE_END), ports=2),
)


async def script(link: Link, brief: Brief) -> None:
    """Ask for tunnels in every way, until one leads to our canary."""
    control = ConnectControl()
    await survey(link, brief, [control.over(way) for way in WAYS])


PROBE = Probe(
    name="http-connect",
    weakness=Weakness.OPEN_PROXY,
    default_doors=(
        *((port, Transport.PLAIN) for port in (3128, 8080, 80, 8000, 8118, 8123, 8888, 3129, 1080)),
        *((port, Transport.TLS) for port in (443, 8443, 3129)),
    ),
    references=("RFC 9110 section 9.3.6", "RFC 9112 section 3.2.3"),
    script=script,
    rank=10,
    services=frozenset({Service.HTTP, Service.TLS}),
    tunnel=connect,
    ways=WAYS,
)
