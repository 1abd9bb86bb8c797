"""Controls of HTTP: what a server says to a plain request for a host that can't exist, and what follows.

Load balancers say 503 of every host that they don't know, and some of every CONNECT, as a proxy does that tried
in vain. And a server that fetches from whatever host it is shown would fetch from itself, again and again, if it
were shown its own.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from relaywatch.model.canary import CANARY_PATH
from relaywatch.model.errors import NetworkError, PeerClosedError, ReadTimeoutError, RemoteProtocolError
from relaywatch.model.tokens import Token
from relaywatch.wire.http1 import Exchange

from . import http
from .brief import Brief
from .link import Link
from .page import Page
from .tunnels import Answer, CanaryKind, Destination, Opening, OpenTunnel, Way, open_link

AS_TO_THE_CONTROL = "as to the control"
"""Of a no: the control was told the same."""
_BESIDE = 1
"""The channel of a question beside the one that is asked."""


def nobody(brief: Brief) -> str:
    """A host that can't exist (RFC 6761 section 6.4), of this attempt alone."""
    return f"{brief.mint.random_local_part('nobody')}.invalid"


async def ask_plainly(link: Link, brief: Brief, host: str, target: str = "/") -> Page | None:
    """Ask for a page of that host, on a connection of its own; nothing if no answer in HTTP comes."""
    try:
        await open_link(link, brief)
        return await _page_of(link, brief, host, target)
    except (NetworkError, RemoteProtocolError):
        return None


async def _page_of(link: Link, brief: Brief, host: str, target: str) -> Page:
    fields = [("Host", host), *http.own_fields(brief), ("Accept", "*/*"), ("Connection", "close")]
    exchange = Exchange("GET", target, fields)
    head = await http.exchange_with(link, exchange, brief)
    return Page(head.status_code, await http.read_rest(link, exchange, brief))


async def may_lack_host(link: Link, brief: Brief) -> bool:
    """Whether a request that names no host does no harm: not at who fetches from the host it is shown.

    Whoever doesn't answer in HTTP/1.1 at all makes no request of what we say.

    :raises NetworkError: if there is no connection to be had.
    """
    await open_link(link, brief)
    try:
        page = await _page_of(link, brief, nobody(brief), "/")
    except ReadTimeoutError:
        return False  # it may be looking for that host
    except (PeerClosedError, RemoteProtocolError):
        return True
    finally:
        await link.close()
    return page.is_plain


@dataclass(slots=True)
class ConnectControl:
    """The control of CONNECT, asked once a door: whether a 5xx says anything of the tunnel.

    A proxy that tried in vain says something else to a plain request, which it refuses, or serves a page of its
    own. A server that says the same to both says it to everything.
    """

    is_asked: bool = False
    page: Page | None = None

    def over(self, way: Way) -> Way:
        """The way, with what failed compared."""
        return replace(way, ask=self._compared(way.ask))

    def _compared(self, asks: OpenTunnel) -> OpenTunnel:
        async def ask(link: Link, brief: Brief, destination: Destination, token: Token) -> Opening:
            opening = await asks(link, brief, destination, token)
            is_control = destination.kind is CanaryKind.NOTHING
            if opening.answer is not Answer.FAILED or opening.page is None or is_control:
                return opening
            if not self.is_asked:
                self.is_asked, self.page = True, await ask_plainly(link, brief, nobody(brief))
            if self.page is None or not _is_same(self.page, opening.page):
                return opening
            return replace(opening, answer=Answer.NO, detail=AS_TO_THE_CONTROL)

        return ask


def _is_same(control: Page, page: Page) -> bool:
    """Whether a server says the same to both; one that has a word for one of them alone tells them apart."""
    return bool(control.body) == bool(page.body) and control.is_like(page)


@dataclass(slots=True)
class OwnName:
    """Whether the target may be shown its own name, asked once a door.

    Only a server that has a plain answer for a host that can't exist, and has failed at nothing, fetches from no
    host that it is shown. Any other is shown our canary's instead, which it may fetch from as it likes.
    """

    is_harmless: bool | None = None
    """Not known until something was asked."""
    page: Page | None = None
    """What it said to a plain request by its own name: what it says to that name whatever else is asked."""

    async def shown(self, link: Link, brief: Brief, instead: Destination) -> str:
        """The authority to show, of the target or instead of it, after asking beside the link what isn't known."""
        if self.is_harmless is None:
            self.is_harmless = await _is_plain(link.beside(_BESIDE), brief)
        return http.own_authority(brief) if self.is_harmless else str(instead)

    async def note(self, link: Link, brief: Brief, opening: Opening) -> None:
        """Take what was answered to a request that names our canary; the first plain no is tried out further.

        After that no request shows the target its own name once anything has failed.
        """
        if opening.answer is Answer.YES or opening.page is None or not opening.page.is_plain:
            self.is_harmless = False
        elif self.is_harmless is None:
            self.is_harmless = await _is_plain(link, brief)
            if self.is_harmless:
                path = f"{CANARY_PATH}{brief.mint.random_local_part('nobody')}"
                self.page = await ask_plainly(link, brief, http.own_authority(brief), path)
                self.is_harmless = self.page is not None and self.page.is_plain


async def _is_plain(link: Link, brief: Brief) -> bool:
    """Whether its answer for a host that can't exist is one of who has fetched nothing."""
    page = await ask_plainly(link, brief, nobody(brief))
    await link.close()
    return page is not None and page.is_plain
