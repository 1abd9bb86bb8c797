"""What every canary does with a token of ours: note that it came and from where, then answer."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import UTC, datetime

from relaywatch.model.canary import canary_answer
from relaywatch.model.evidence import ArrivalKind
from relaywatch.model.places import Endpoint
from relaywatch.model.tokens import Token

from .journal import Record
from .notebook import Notebook

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Circumstances:
    """How a token came: who connected, to which port of ours, in which protocol."""

    kind: ArrivalKind
    peer: Endpoint
    port: int
    tls: str = ""
    fields: tuple[tuple[str, str], ...] = ()


class Answerer:
    """Notes tokens and makes the answers that only the key's owner can."""

    def __init__(self, key: bytes, notebook: Notebook) -> None:
        self._key, self._notebook = key, notebook

    async def answer(self, token: Token, how: Circumstances) -> str | None:
        """Have it on disk, then give the answer; nothing if it can't be written down.

        One that has come often enough is answered alike and not noted.
        """
        if not await self.note(token, how):
            return None
        return canary_answer(self._key, token, how.peer.address)

    async def note(self, token: Token, how: Circumstances) -> bool:
        """Have it on disk, unless it has come often enough; whether that is done."""
        if not self._notebook.is_worth_noting(token, how.kind):
            return True
        record = Record(
            at=datetime.now(UTC),
            token=token,
            kind=how.kind,
            source_address=str(how.peer.address),
            source_port=how.peer.port,
            port=how.port,
            tls=how.tls,
            fields=how.fields,
        )
        try:
            await self._notebook.note([record])
        except Exception:  # noqa: BLE001  whatever it is, an answer would be a lie
            _log.exception("an arrival can't be written down; it gets no answer")
            return False
        return True
