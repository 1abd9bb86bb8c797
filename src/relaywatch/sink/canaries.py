"""The sink's TCP canaries: one protocol for any port, behind the doorkeeper.

Sockets and TLS around `relaywatch.sink.canary_dialogue`; as in `relaywatch.sink.mailbox`, a connection is one
small object, and work is a task only while a token is being written down.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

from relaywatch.model.places import Endpoint

from .answering import Answerer, Circumstances
from .canary_dialogue import BeginTLS, CanaryDialogue, CanaryStep, FindToken, HangUp, Heard
from .canary_http import Continue, Page, write_response
from .doorkeeper import Doorkeeper
from .guests import GuestConnection
from .tls_layer import TLSLayer

_OCTETS = 65_536
"""What a peer may send in all: the head of a request, a body, and TLS around both."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Canaries:
    """What all canaries of one sink share."""

    find: FindToken
    answerer: Answerer
    doorkeeper: Doorkeeper
    tls: ssl.SSLContext
    notice: str
    """One line that says who runs this and whom to ask."""
    page: Callable[[], str]
    """The same as a page for people, in HTML."""

    def connection(self) -> CanaryConnection:
        """Make the protocol of a new connection."""
        return CanaryConnection(self)


class CanaryConnection(GuestConnection):
    """One peer: says a token of ours, and is answered."""

    def __init__(self, canaries: Canaries) -> None:
        super().__init__(canaries.doorkeeper, _OCTETS)
        self._canaries = canaries
        self._dialogue = CanaryDialogue(canaries.find, canaries.notice)
        self._tls: TLSLayer | None = None
        self._is_waiting = False
        """What was said is being written down: nothing more is heard."""

    def heard(self, data: bytes) -> None:
        """Go on with the dialogue, through TLS if there is TLS."""
        if self._is_waiting:
            return
        if self._tls is None:
            self._dialogue.feed(data)
            self._advance()
        else:
            self._unwrap(self._tls, data)

    def ended(self) -> None:
        """Stay until the answer is given, if there is one to give."""
        if not self._is_waiting:
            self.hang_up()

    def _unwrap(self, tls: TLSLayer, data: bytes) -> None:
        try:
            said = tls.feed(data)
        except ssl.SSLError:
            self.say(tls.to_send())  # the alert
            self.hang_up()
            return
        self.say(tls.to_send())
        if said:
            self._dialogue.feed(said)
            self._advance()
        if tls.is_at_end:
            self.ended()

    def _advance(self) -> None:
        step = self._dialogue.step()
        if step is not None:
            self._carry_out(step)

    def _carry_out(self, step: CanaryStep) -> None:
        self.renew()
        match step:
            case BeginTLS(octets):
                self._begin_tls(octets)
            case Continue(octets):
                self._tell(octets)
            case Page():
                self._tell(self._page(step))
                self._leave()
            case HangUp():
                self._leave()
            case Heard():
                self._is_waiting = True
                self.doorkeeper.run(self._answer(step, cast("Endpoint", self.peer)))

    def _begin_tls(self, octets: bytes) -> None:
        self._tls = TLSLayer(self._canaries.tls)
        self._dialogue = CanaryDialogue(self._canaries.find, self._canaries.notice, may_begin_tls=False)
        self._unwrap(self._tls, octets)

    async def _answer(self, heard: Heard, peer: Endpoint) -> None:
        answer = await self._canaries.answerer.answer(
            heard.token,
            Circumstances(
                kind=heard.kind,
                peer=peer,
                port=self.port,
                tls=self._tls.version if self._tls else "",
                fields=heard.fields,
            ),
        )
        if answer is not None:
            self._tell(heard.reply(answer))
        self._leave()

    def _page(self, step: Page) -> bytes:
        if step.is_root:
            body = self._canaries.page().encode()
            return write_response(200, body, media_type="text/html; charset=utf-8", is_head=step.is_head)
        body = f"There is nothing here. {self._canaries.notice}\n".encode()
        return write_response(step.status_code, body, is_head=step.is_head)

    def _tell(self, octets: bytes) -> None:
        if self._tls:
            self._tls.write(octets)
            octets = self._tls.to_send()
        self.say(octets)

    def _leave(self) -> None:
        if self._tls:
            self._tls.end()
            self.say(self._tls.to_send())
        self.hang_up()
