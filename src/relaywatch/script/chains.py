"""A link that leads through an open proxy, so that any script can be run behind it, word for word."""

from __future__ import annotations

from relaywatch.model.errors import ConnectRefusedError
from relaywatch.model.places import Address, Endpoint

from .brief import Brief
from .link import Link
from .tunnels import Destination, OpenTunnel, open_link


class ChainedLink(Link):
    """Connects to the proxy, and there asks for a tunnel to the destination each time.

    ``proxy`` is the brief with which the proxy was found; it stays bound to the proxy's door.
    """

    __slots__ = ("_destination", "_proxy", "_tunnel")

    def __init__(self, tunnel: OpenTunnel, proxy: Brief, destination: Destination) -> None:
        super().__init__()
        self._tunnel, self._proxy, self._destination = tunnel, proxy, destination

    async def connect(
        self,
        *,
        at: Endpoint | None = None,  # noqa: ARG002 -- a chain leads to one place
        source: Address | None = None,  # noqa: ARG002
        within: float | None = None,  # noqa: ARG002
    ) -> None:
        """Open a connection to the proxy and a tunnel through it.

        :raises ConnectRefusedError: if the proxy leads no further, as if nobody listened there.
        """
        self._buffer.clear()
        plain = Link()
        await open_link(plain, self._proxy)
        token = self._proxy.token(f"chain {self._destination}")
        opening = await self._tunnel(plain, self._proxy, self._destination, token)
        self._buffer += plain.taken()
        if (
            opening.stream is not plain
        ):  # our own operations go through a tunnel that is the connection itself
            raise ConnectRefusedError(f"the proxy doesn't lead to {self._destination}: {opening.reply}")
