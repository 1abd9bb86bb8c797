"""Reverse proxies that fetch from whatever host the request names, instead of from their own.

``proxy_pass http://$http_host``, ``RewriteRule ^(.*) http://%{HTTP_HOST}$1 [P]``, routers that believe
X-Forwarded-Host: the request looks like any other, and no list of open proxies has them.
"""

from __future__ import annotations

from dataclasses import replace

from relaywatch.model.errors import NetworkError
from relaywatch.model.evidence import Weakness
from relaywatch.model.places import Service, Transport
from relaywatch.model.tokens import Token
from relaywatch.script import fetching, http, http2
from relaywatch.script.brief import Brief
from relaywatch.script.controls import OwnName
from relaywatch.script.link import Link
from relaywatch.script.probe import Probe
from relaywatch.script.tunnels import Answer, Destination, Opening, OpenTunnel, Way, survey

_MISROUTING = "RW-2006"
_NO = {Answer.PAGE: "page", Answer.FOREIGN: "no HTTP/2"}


def _ask(
    own: OwnName, *, target: str = "{path}", host: str = "{own}", field: tuple[str, str] | None = None
) -> OpenTunnel:
    """Ask for a page of the target's, naming our canary wherever ``{canary}`` stands.

    Where ``{own}`` stands, the target is named, or our canary if the target may fetch from there.
    """

    async def ask(link: Link, brief: Brief, destination: Destination, token: Token) -> Opening:
        canary = f"{fetching.labelled(destination, brief, token)}:{destination.port}"
        path = fetching.canary_path(token)
        shown = http.own_authority(brief) if own.is_harmless else canary

        def fill(text: str) -> str:
            return text.format(canary=canary, path=path, own=shown)

        fields = [(field[0], fill(field[1]))] if field else []
        exchange = fetching.request(brief, "GET", fill(target), host=fill(host), fields=fields)
        named = "; ".join(f"{name}: {value}" for name, value in fields or [("Host", fill(host))])
        control = own.page if host == "{own}" and own.is_harmless else None
        question = fetching.Question(
            token=token, command=f"GET {fill(target)} HTTP/1.1; {named}", control=control
        )
        try:
            opening = await fetching.fetch(link, brief, exchange, question)
        except NetworkError:
            own.is_harmless = False
            raise
        await own.note(link, brief, opening)
        return _plain_no(opening)

    return ask


async def _ask_by_authority(link: Link, brief: Brief, destination: Destination, token: Token) -> Opening:
    """The same in HTTP/2, on a connection that offers it."""
    canary = f"{destination.host}:{destination.port}"
    path = fetching.canary_path(token)
    fields = [(":method", "GET"), (":scheme", "https"), (":authority", canary), (":path", path)]
    await http2.open_http2_link(link, brief)
    question = fetching.Question(token=token, command=f"GET {path} HTTP/2; :authority: {canary}")
    return _plain_no(await http2.fetch(link, brief, [*fields, *http2.own_fields(brief)], question))


def _plain_no(opening: Opening) -> Opening:
    """A page of its own is what every web server has for a host that it doesn't know; and HTTP/2 few offer."""
    if opening.answer not in _NO:
        return opening
    return replace(opening, answer=Answer.NO, detail=_NO[opening.answer])


def _way(name: str, ask: OpenTunnel, *, by_name: bool = False, ports: int = 1) -> Way:
    return Way(name=name, advisory=_MISROUTING, ask=ask, by_name=by_name, ports=ports, takes_smtp=False)


def _ways(own: OwnName) -> tuple[Way, ...]:
    """In this order: whether it may be shown its own name, its answers to our canary's tell."""
    return (
        _way("host", _ask(own, host="{canary}"), ports=2),
        _way("host-name", _ask(own, host="{canary}"), by_name=True),
        _way("absolute-uri", _ask(own, target="http://{own}{path}", host="{canary}")),
        _way("x-forwarded-host", _ask(own, field=("X-Forwarded-Host", "{canary}"))),
        _way("x-host", _ask(own, field=("X-Host", "{canary}"))),
        _way("forwarded", _ask(own, field=("Forwarded", 'host="{canary}"'))),
        _way("at-sign", _ask(own, target="@{canary}{path}")),  # CVE-2011-3368
    )


_TLS_WAYS = (_way("authority", _ask_by_authority),)


async def script(link: Link, brief: Brief) -> None:
    """Name our canary in every place where a host is named, until its answer comes back."""
    ways = _ways(OwnName())
    await survey(link, brief, (*ways, *_TLS_WAYS) if brief.door.transport is Transport.TLS else ways)


PROBE = Probe(
    name="http-misrouting",
    weakness=Weakness.OPEN_PROXY,
    default_doors=(
        *((port, Transport.PLAIN) for port in (80, 8080, 8000, 8888)),
        *((port, Transport.TLS) for port in (443, 8443)),
    ),
    references=("RFC 9110 section 7.2", "RFC 9112 section 3.2", "RFC 7239", "CVE-2011-3368"),
    script=script,
    services=frozenset({Service.HTTP, Service.TLS}),
)
