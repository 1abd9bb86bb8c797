"""The controls: does it answer us, is it a catch-all, does it say yes to everything?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from relaywatch.model.errors import PeerClosedError, ReadTimeoutError, RemoteProtocolError
from relaywatch.model.evidence import Fact, Observation
from relaywatch.model.places import SUBMISSION_PORTS
from relaywatch.model.smtp import Reply
from relaywatch.script.brief import Brief
from relaywatch.script.link import Link
from relaywatch.script.smtp import command, leave

from .asking import POSTMASTER, Asked, ask, finish
from .cases import Case, Envelope, Names, write
from .contact import Contact
from .forms import OURS, REVERSE_PATHS, ReversePath
from .readings import (
    blames_reverse_path,
    blames_us,
    in_same_words,
    read_refusal,
    speaks_of_login,
    speaks_of_relaying,
)

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
    wants_login: bool = False
    """Whether it wants credentials of those who claim nothing."""
    opening: Asked | None = None
    """How the plain case and the positive control were answered at first."""
    catch_all: dict[tuple[str, str, str], bool | None] = field(default_factory=dict)
    """For nobody's forward-path, with HELO and reverse-path: taken, refused, or (None) neither."""

    @property
    def takes_plain(self) -> bool:
        """Whether the plain case got a yes at RCPT."""
        return any(_is_yes(answer.rcpt) for answer in self.opening.answers) if self.opening else False

    async def find_base(self, asked: Asked) -> ReversePath | None:
        """Find a reverse-path with which the server answers us, by the plain case and its control.

        Gives nothing, and has reported why, if the server refuses whatever we ask.
        """
        self.opening = asked
        answer = asked.answers[0] if asked.answers else None
        reply = (answer.rcpt or answer.mail) if answer else asked.farewell
        if reply is None:
            return await self._fall_back(None)
        if reply.is_positive or self._lets_us_in(asked.control, reply):
            if _is_yes(asked.control):
                await self.report_talks("takes mail for its postmaster", asked.control)
            return OURS
        fact = read_refusal(reply)
        if fact in DOOR_WIDE:
            return await self._report_wish(fact, reply)
        if answer is not None and answer.rcpt is not None and fact is Fact.DEFERRED:
            return OURS  # a greylist, perhaps; the cases that are asked again will tell
        if answer is not None and answer.rcpt is not None and (why := self._read_alike(reply, asked.control)):
            await self.report_talks(why, reply)
            return OURS
        return await self._fall_back(reply)

    def _lets_us_in(self, control: Reply | None, refusal: Reply) -> bool:
        """Whether the postmaster's yes counts: some servers give it to those whom they block, too."""
        return _is_yes(control) and (not blames_us(refusal) or self._is_submission())

    def _is_submission(self) -> bool:
        return self.brief.door.port in SUBMISSION_PORTS

    async def _report_wish(self, fact: Fact, reply: Reply) -> ReversePath | None:
        await self.link.report(Observation(fact=fact, reply=str(reply)))
        self.wants_login = fact is Fact.AUTH_REQUIRED
        return OURS if self.wants_login else None  # whoever claims to be local may be asked for nothing

    def _read_alike(self, refusal: Reply, control: Reply | None) -> str:
        """Why a refused control may be passed over, empty if it mayn't."""
        if self._is_submission():
            return "a submission door, which refuses strangers alike"
        if blames_us(refusal) or blames_reverse_path(refusal):
            return ""
        if speaks_of_relaying(refusal):
            return "refuses by name of relaying"
        if control is not None and not control.is_transient and not in_same_words(refusal, control):
            return "answers differ by forward-path"
        return ""

    async def _fall_back(self, refusal: Reply | None) -> ReversePath | None:
        if refusal is None or not blames_us(refusal):
            for reverse in _FALLBACKS:
                if reverse.fields <= self.names.known() and await self._talks_with(reverse):
                    return reverse
        fact = read_refusal(refusal) if refusal else Fact.REFUSED
        if fact is Fact.REFUSED and refusal is not None and speaks_of_login(refusal):
            return await self._report_wish(Fact.AUTH_REQUIRED, refusal)
        blocked = Fact.CLIENT_BLOCKED if fact is Fact.REFUSED else fact
        await self.link.report(Observation(fact=blocked, reply=str(refusal or "")))
        return None

    async def report_talks(self, why: str, reply: Reply | None) -> None:
        """Put on record, once, that the server answers the question."""
        if self.talks:
            return
        self.talks = True
        await self.link.report(Observation(fact=Fact.TALKS, detail=why, reply=str(reply or "")))

    async def _talks_with(self, reverse: ReversePath) -> bool:
        """Whether the server takes mail for its postmaster, or its names', with that reverse-path."""
        envelope = write(Case(reverse=reverse), self.names, self.brief)
        for path in self._postmasters():
            reply = await self._ask(path, envelope)
            if reply is None:
                return False
            if reply.is_positive:
                await self.report_talks(f"takes mail for {path} with the reverse-path {reverse.name}", reply)
                return True
        return False

    def _postmasters(self) -> Iterator[str]:
        yield POSTMASTER
        for name in (*self.names.hosted[:4], *self.names.targets[:1]):
            yield f"<postmaster@{name}>"

    async def close(self) -> None:
        """Ask the plain case and its control once more: whether what was refused was refused to all.

        A server that has taken against us in the meantime gives another answer than at first.
        """
        plain = write(Case(), self.names, self.brief)
        session = await self.contact.again(plain.helo)
        if session is None:
            return
        now = await ask(self.link, self.brief, session, [plain], with_control=True)
        await finish(self.link, now)
        changed = self._change(now)
        if changed is not None:
            detail = "at the end it answered otherwise than at first"
            await self.link.report(Observation(fact=Fact.CLIENT_BLOCKED, reply=str(changed), detail=detail))

    def _change(self, now: Asked) -> Reply | None:
        """The reply that shows a change of mind since the opening; nothing if there is none."""
        if self.opening is None or not self.opening.answers or not now.answers:
            return None
        was = (self.opening.answers[0].rcpt or self.opening.answers[0].mail, self.opening.control)
        for then, reply in zip(was, (now.answers[0].rcpt or now.answers[0].mail, now.control), strict=True):
            if then is None or reply is None or _is_transient(then):
                continue
            if then.is_positive != reply.is_positive or (blames_us(reply) and not blames_us(then)):
                return reply
        return None

    async def says_yes_to_everything(self) -> bool:
        """The negative control: does it say yes to a domain that can't exist (RFC 2606)?"""
        mint = self.brief.mint
        nobody = f"<{mint.random_local_part('yes')}@{mint.random_local_part('no')}.invalid>"
        reply = await self._ask(nobody, write(Case(), self.names, self.brief))
        if not _is_yes(reply):
            return False
        await self.link.report(
            Observation(fact=Fact.ACCEPTS_ANYTHING, reply=str(reply), detail=f"RCPT TO:{nobody}")
        )
        return True

    async def may_be_catch_all(self, envelope: Envelope) -> bool:
        """Whether the envelope's yes may be one that anybody gets there: it isn't, if nobody is refused.

        Asked once for each place, HELO and reverse-path; an answer that is neither yes nor no counts
        as a yes.
        """
        if not envelope.control:
            return False
        place = (envelope.control, envelope.helo.argument, envelope.mail)
        if place not in self.catch_all:
            reply = await self._ask(envelope.control, envelope)
            is_clear = reply is not None and (reply.is_positive or reply.is_permanent)
            self.catch_all[place] = reply.is_positive if reply is not None and is_clear else None
        return self.catch_all[place] is not False

    async def _ask(self, forward_path: str, like: Envelope) -> Reply | None:
        """Ask about a forward-path as the envelope is asked; nothing if it came to no answer."""
        session = await self.contact.again(like.helo)
        if session is None or not session.is_ready:
            return None
        within = self.brief.patience.reply
        reply = None
        try:
            mail = await command(self.link, "MAIL", f"FROM:{like.mail}", within=within)
            if mail.is_positive:
                reply = await command(self.link, "RCPT", f"TO:{forward_path}", within=within)
            await leave(self.link)
        except (PeerClosedError, ReadTimeoutError, RemoteProtocolError):
            reply = None
        await self.link.close()
        return reply


def _is_yes(reply: Reply | None) -> bool:
    return reply is not None and reply.is_positive


def _is_transient(reply: Reply) -> bool:
    return not reply.is_positive and read_refusal(reply) is not Fact.REFUSED
