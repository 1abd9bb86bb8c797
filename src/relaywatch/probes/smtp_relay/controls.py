"""The controls: does it talk to us at all, is any local part taken, does it say yes to everything?"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field

from relaywatch.model.errors import PeerClosedError
from relaywatch.model.evidence import Fact, Observation
from relaywatch.model.places import SUBMISSION_PORTS
from relaywatch.model.smtp import Reply
from relaywatch.script.brief import Brief
from relaywatch.script.link import Link
from relaywatch.script.smtp import command

from .asking import POSTMASTER, Answer, Asked
from .cases import Case, Names, write
from .contact import Contact
from .forms import OURS, REVERSE_PATHS, ReversePath
from .readings import in_same_words, read_refusal, speaks_of_login, speaks_of_relaying

DOOR_WIDE = frozenset({Fact.TLS_REQUIRED, Fact.AUTH_REQUIRED})
"""What a server wants before it answers anything."""
_FALLBACKS = tuple(reverse for reverse in REVERSE_PATHS if reverse.name in {"ours", "null", "second-domain"})


@dataclass(slots=True)
class Controls:
    """Questions whose answers say something of the server, and nothing of relaying."""

    link: Link
    brief: Brief
    contact: Contact
    names: Names
    talks: bool = False
    """Whether it is shown that the server answers our questions, rather than us."""
    catch_all: dict[str, bool] = field(default_factory=dict)
    """For forward-paths of nobody: whether they are taken."""

    async def find_base(self, asked: Asked, answer: Answer | None) -> ReversePath | None:
        """Find a reverse-path with which the server talks to us: the positive control.

        Gives nothing, and has reported why, if the server refuses whatever we ask.
        """
        refusal = (answer.rcpt or answer.mail) if answer else asked.farewell
        if (
            refusal is not None
            and (fact := read_refusal(refusal)) in DOOR_WIDE
            and not _lets_in(asked.control)
        ):
            await self.link.report(Observation(fact=fact, reply=str(refusal)))
            return None
        if _lets_in(asked.control):
            await self.report_talks("takes mail for its postmaster", asked.control)
            return OURS
        if answer is not None and answer.rcpt is not None and refusal is not None:
            if read_refusal(refusal) is Fact.DEFERRED:
                return OURS  # a greylist, perhaps; the cases that are asked again will tell
            if why := self._read_alike(refusal, asked.control):
                await self.report_talks(why, refusal)
                return OURS
        for reverse in _FALLBACKS:
            if reverse.fields <= self.names.known() and await self._talks_with(reverse):
                return reverse
        await self._report_blocked(refusal)
        return None

    def _read_alike(self, refusal: Reply, control: Reply | None) -> str:
        """Why a refused control may be passed over, empty if it mayn't."""
        if speaks_of_relaying(refusal):
            return "refuses by name of relaying"
        if self.brief.door.port in SUBMISSION_PORTS:
            return "a submission door, which refuses strangers alike"
        if control is not None and not in_same_words(refusal, control):
            return "answers differ by forward-path"
        return ""

    async def report_talks(self, why: str, reply: Reply | None) -> None:
        """Put on record, once, that the server answers the question."""
        if self.talks:
            return
        self.talks = True
        await self.link.report(Observation(fact=Fact.TALKS, detail=why, reply=str(reply or "")))

    async def _report_blocked(self, refusal: Reply | None) -> None:
        fact = read_refusal(refusal) if refusal else Fact.REFUSED
        if fact is Fact.REFUSED:
            wants_login = refusal is not None and speaks_of_login(refusal)
            fact = Fact.AUTH_REQUIRED if wants_login else Fact.CLIENT_BLOCKED
        await self.link.report(Observation(fact=fact, reply=str(refusal or "")))

    async def _talks_with(self, reverse: ReversePath) -> bool:
        """Whether the server takes mail for its postmaster, or its name's, with that reverse-path."""
        paths = [
            POSTMASTER,
            *(f"<postmaster@{name}>" for name in (*self.names.hosted[:1], *self.names.targets[:1])),
        ]
        for path in paths:
            reply = await self._ask(path, reverse)
            if reply is None:
                return False
            if reply.is_positive:
                await self.report_talks(f"takes mail for {path} with the reverse-path {reverse.name}", reply)
                return True
        return False

    async def says_yes_to_everything(self) -> bool:
        """The negative control: does it say yes to a domain that can't exist (RFC 2606)?"""
        nobody = (
            f"<{self.brief.mint.random_local_part('yes')}@{self.brief.mint.random_local_part('no')}.invalid>"
        )
        reply = await self._ask(nobody)
        if reply is None or not reply.is_positive:
            return False
        await self.link.report(
            Observation(fact=Fact.ACCEPTS_ANYTHING, reply=str(reply), detail=f"RCPT TO:{nobody}")
        )
        return True

    async def is_catch_all(self, control: str) -> bool:
        """Whether the forward-path of nobody, at the target, is taken; asked once each."""
        if control not in self.catch_all:
            reply = await self._ask(control)
            self.catch_all[control] = reply is not None and reply.is_positive
        return self.catch_all[control]

    async def _ask(self, forward_path: str, reverse: ReversePath = OURS) -> Reply | None:
        """Ask about one forward-path in a connection of its own; nothing if it came to no RCPT."""
        envelope = write(Case(reverse=reverse), self.names, self.brief)
        session = await self.contact.again(envelope.helo)
        if session is None:
            return None
        within = self.brief.patience.reply
        reply = None
        with suppress(PeerClosedError):
            mail = await command(self.link, "MAIL", f"FROM:{envelope.mail}", within=within)
            if mail.is_positive:
                reply = await command(self.link, "RCPT", f"TO:{forward_path}", within=within)
        await self.link.close()
        return reply


def _lets_in(control: Reply | None) -> bool:
    return control is not None and control.is_positive
