"""Ports of one token each, for targets that connect and say nothing of ours; and ports where nobody answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from relaywatch.model.evidence import ArrivalKind
from relaywatch.model.places import Address, Endpoint
from relaywatch.model.tokens import Token

from .answering import Answerer, Circumstances
from .doorkeeper import Doorkeeper
from .errors import ListenError
from .guests import GuestConnection
from .listening import endpoints, listen

_MOST = 32
_SECONDS = 120.0
_READ = 4096
"""Octets that are read and thrown away."""

Admits = Callable[[Address], bool]
"""Whether whoever comes from there may be whom the port is for."""


def anybody(_peer: Address) -> bool:
    """Admit everybody."""
    return True


@dataclass(frozen=True, slots=True)
class _OwnPort:
    server: asyncio.Server
    timer: asyncio.TimerHandle


class OwnPorts:
    """Opens and closes them."""

    def __init__(self, answerer: Answerer, doorkeeper: Doorkeeper) -> None:
        self._answerer, self._doorkeeper = answerer, doorkeeper
        self._open: dict[Token, _OwnPort] = {}

    async def open(self, token: Token, address: Address, admits: Admits = anybody) -> Endpoint:
        """Listen at a port of the token's own until it is closed, for two minutes at most.

        :raises ListenError: if it can't be had, or too many are open.
        """
        self.close(token)
        if len(self._open) >= _MOST:
            raise ListenError(f"{_MOST} ports of a token's own are open already")
        servers = await listen(
            [Endpoint(address, 0)], lambda: _Passer(token, admits, self._answerer, self._doorkeeper)
        )
        timer = asyncio.get_running_loop().call_later(_SECONDS, self.close, token)
        self._open[token] = _OwnPort(servers[0], timer)
        return endpoints(servers)[0]

    def close(self, token: Token) -> None:
        """Close the token's port, if it has one."""
        port = self._open.pop(token, None)
        if port:
            port.timer.cancel()
            port.server.close()

    def close_all(self) -> None:
        """Close every port."""
        for token in list(self._open):
            self.close(token)


class _Passer(GuestConnection):
    """Whoever comes to a token's own port: that it came is all that counts."""

    def __init__(self, token: Token, admits: Admits, answerer: Answerer, doorkeeper: Doorkeeper) -> None:
        super().__init__(doorkeeper, _READ)
        self._token, self._admits, self._answerer = token, admits, answerer

    def welcomed(self, peer: Endpoint) -> None:
        """Note that it came, unless it can't be whom we wait for: the whole Internet is scanned all the time."""
        if not self._admits(peer.address):
            self.drop()
            return
        self.doorkeeper.run(self._note(peer))

    def heard(self, data: bytes) -> None:
        """Throw it away."""

    async def _note(self, peer: Endpoint) -> None:
        how = Circumstances(kind=ArrivalKind.TCP, peer=peer, port=self.port)
        await self._answerer.note(self._token, how)
