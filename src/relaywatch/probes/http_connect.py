"""CONNECT of HTTP/1.x: the proxy carries TCP to wherever it is asked, mail too.

Asked by address, by name, by address of the other family, and with odd line ends, since filters have been
passed by those. At a door of TLS the same is said within TLS.
"""

from __future__ import annotations

from relaywatch.model.evidence import Weakness
from relaywatch.model.places import Family, Service, Transport
from relaywatch.model.tokens import Token
from relaywatch.script import http
from relaywatch.script.brief import Brief
from relaywatch.script.link import Link
from relaywatch.script.probe import Probe
from relaywatch.script.tunnels import Destination, Opening, OpenTunnel, Way, survey

_CONNECT, _ODD_LINE_ENDS = "RW-2001", "RW-2002"


def _connect(*, before: bytes = b"", after: bytes = b"") -> OpenTunnel:
    """CONNECT with octets that don't belong there before or after the request."""

    async def ask(link: Link, brief: Brief, destination: Destination, _token: Token) -> Opening:
        exchange = http.connect_exchange(destination, brief)
        head = await http.exchange_with(link, exchange, brief, before=before, after=after)
        return http.read_tunnel(link, exchange, head, f"CONNECT {destination} HTTP/1.1")

    return ask


connect = _connect()

WAYS = (
    Way(name="address", advisory=_CONNECT, ask=connect),
    Way(name="name", advisory=_CONNECT, ask=connect, by_name=True, ports=2),
    Way(name="address-ipv6", advisory=_CONNECT, ask=connect, to=Family.IPV6, ports=1),
    Way(name="address-ipv4", advisory=_CONNECT, ask=connect, to=Family.IPV4, ports=1),
    Way(name="leading-line-end", advisory=_ODD_LINE_ENDS, ask=_connect(before=b"\r\n"), ports=2),
    Way(name="extra-line-end", advisory=_ODD_LINE_ENDS, ask=_connect(after=b"\r\n"), ports=2),
)


async def script(link: Link, brief: Brief) -> None:
    """Ask for tunnels in every way, until one leads to our canary."""
    await survey(link, brief, WAYS)


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
)
