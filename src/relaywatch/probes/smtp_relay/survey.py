"""The script: one door, from the first word to the last case."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from relaywatch.model.evidence import Fact, Observation
from relaywatch.model.smtp import Reply
from relaywatch.model.tokens import Token
from relaywatch.script.brief import Brief, Depth
from relaywatch.script.link import Link
from relaywatch.script.smtp import Session
from relaywatch.script.software import Where

from .asking import Answer, ask
from .cases import Case, Envelope, gather_names, write
from .contact import Contact
from .controls import DOOR_WIDE, Controls
from .forms import OURS, ReversePath
from .planning import UNKNOWN_REFUSALS, by_transaction, plan_cases, take_batch
from .proving import Outcome, deliver, reason_not_to_send
from .readings import is_full, is_greylisting, read_refusal, read_waiting_time, speaks_of_relaying

_FRUITLESS = 3
"""Connections in a row that may end without an answer."""

Replies = Mapping[Token, Reply | None]


async def script(link: Link, brief: Brief) -> None:
    """Ask every planned case at this door, prove what gets a yes, and stop at the first proof."""
    contact = Contact(link, brief)
    session = await contact.first()
    if session is None:
        return
    names = gather_names(brief, contact.names)
    survey = Survey(link, brief, contact, Controls(link, brief, contact, names))
    if await survey.begin(session):
        await survey.go_on()
    await link.close()


@dataclass(slots=True)
class Survey:
    """The course of one door's questioning."""

    link: Link
    brief: Brief
    contact: Contact
    controls: Controls
    limit: int = UNKNOWN_REFUSALS
    transaction_size: int | None = None
    """Forward-paths that one transaction takes, once the server has told."""
    pending: list[Envelope] = field(default_factory=list)
    deferred: list[tuple[Envelope, Reply]] = field(default_factory=list)
    is_retrying: bool = False
    is_proven: bool = False
    accepts_anything: bool = False
    is_out_of_messages: bool = False

    async def begin(self, session: Session) -> bool:
        """Ask the plain case, with the positive control, in the first session; whether to go on."""
        self._learn_limit()
        plain = write(Case(), self.controls.names, self.brief)
        asked = await ask(self.link, self.brief, session, [plain], with_control=self.limit > 1)
        answer = asked.answers[0] if asked.answers else None
        if answer is not None:
            await self.contact.recognise(Where.REPLY, answer.rcpt or answer.mail)
        if not asked.was_cut and asked.refusals < self.limit:
            await self.contact.ask_for_help()
        await self.link.close()
        base = OURS
        if answer is None or not (answer.rcpt and answer.rcpt.is_positive):
            base_found = await self.controls.find_base(asked, answer)
            if base_found is None:
                return False
            base = base_found
        self._plan(base)
        await self.link.report(Observation(fact=Fact.PLANNED, count=len(self.pending)))
        if answer is not None and base is OURS:
            self.pending.pop(0)
            await self._take([answer])
        return True

    async def go_on(self) -> None:
        """Ask what is left, batch by batch; then once more what was deferred."""
        await self._work_off()
        if self.deferred and not self._is_done() and not self.contact.is_shut:
            waiting = [read_waiting_time(reply) for _, reply in self.deferred]
            wanted = max((seconds for seconds in waiting if seconds), default=self.brief.patience.greylist)
            if wanted <= self.brief.patience.greylist:
                await self.link.pause(wanted + 1)
                self.pending = [envelope for envelope, _ in self.deferred]
                self.deferred = []
                self.is_retrying = True
                await self._work_off()
        for envelope, reply in self.deferred:
            await self._report(envelope, Fact.DEFERRED, reply, "greylisted" if is_greylisting(reply) else "")

    def _learn_limit(self) -> None:
        software = self.contact.software
        if self.brief.refusal_limit is not None:
            self.limit = self.brief.refusal_limit
        elif software is not None and software.refusals is not None:
            self.limit = software.refusals

    def _plan(self, base: ReversePath) -> None:
        self._learn_limit()
        names, extensions = self.controls.names, self.contact.extensions
        cases = plan_cases(self.brief, names, extensions, self.contact.software)
        if base is not OURS:
            cases = list(dict.fromkeys(replace(c, reverse=base) if c.reverse is OURS else c for c in cases))
        self.pending = [write(case, self.controls.names, self.brief) for case in cases]

    # --- batches -----------------------------------------------------------------------------

    def _is_done(self) -> bool:
        if self.is_proven and self.brief.depth is not Depth.EXHAUSTIVE:
            return True
        return self.accepts_anything and self.is_out_of_messages

    async def _work_off(self) -> None:
        fruitless = 0
        while self.pending and not self._is_done():
            batch = take_batch(self.pending, self.limit)
            session = await self.contact.again(batch.envelopes[0].helo)
            if session is None:
                return
            asked = await ask(
                self.link, self.brief, session, batch.envelopes, transaction_size=self.transaction_size
            )
            await self.link.close()
            answered = {answer.envelope.token for answer in asked.answers}
            self.pending = [envelope for envelope in self.pending if envelope.token not in answered]
            fruitless = 0 if answered else fruitless + 1
            if fruitless == _FRUITLESS:
                await self.link.report(
                    Observation(
                        fact=Fact.RATE_LIMITED, detail=f"hangs up without an answer, {_FRUITLESS} times"
                    )
                )
                return
            if asked.was_cut:
                self.limit = max(1, min(self.limit, len(answered)))  # it bears no more than that
            await self._take(asked.answers)

    async def _take(self, answers: Sequence[Answer]) -> None:
        """Put answers on record, and prove those that are a yes."""
        accepted: list[Answer] = []
        for answer in self._without_full(answers):
            if answer.rcpt is not None and answer.rcpt.is_positive:
                accepted.append(answer)
            else:
                await self._take_no(answer)
        replies: Replies = {answer.envelope.token: answer.rcpt for answer in accepted}
        for run in by_transaction([answer.envelope for answer in accepted], self.transaction_size):
            if self._is_done():
                return
            await self._take_yes(run, replies)

    def _without_full(self, answers: Sequence[Answer]) -> list[Answer]:
        """Leave out what was asked of a full transaction: from now on each case has one of its own."""
        full = [answer.envelope for answer in answers if answer.rcpt is not None and is_full(answer.rcpt)]
        if not full or self.transaction_size is not None:
            return list(answers)
        self.transaction_size = 1
        self.pending = [*full, *self.pending]
        return [answer for answer in answers if answer.envelope not in full]

    async def _take_no(self, answer: Answer) -> None:
        envelope, reply = answer.envelope, answer.rcpt or answer.mail
        await self.contact.recognise(Where.REPLY, reply)
        fact = read_refusal(reply)
        if answer.local is not None and not answer.local.is_positive:
            await self._report(envelope, Fact.VOID, reply, "the forward-path before it was refused")
        elif answer.local is not None and is_full(reply):
            await self._report(envelope, Fact.VOID, reply, "takes no second forward-path")
        elif answer.rcpt is None and envelope.case.reverse is not OURS:
            await self._report(envelope, Fact.VOID, reply, "reverse-path refused")
        elif fact is Fact.DEFERRED and _blames_reverse_path(reply) and envelope.case.reverse is not OURS:
            await self._report(envelope, Fact.VOID, reply, "reverse-path deferred")
        elif fact is Fact.DEFERRED:
            self.deferred.append((envelope, reply))
        else:
            if speaks_of_relaying(reply):
                await self.controls.report_talks("refuses by name of relaying", reply)
            await self._report(envelope, Fact.REFUSED, reply, fact.value if fact in DOOR_WIDE else "")

    async def _take_yes(self, run: tuple[Envelope, ...], replies: Replies) -> None:
        """Prove the envelopes of one transaction, those with leave by a message, and look for a catch-all."""
        for envelope in run:
            if envelope.case.forward.is_weak:
                await self._report_weak(envelope, replies[envelope.token])
        strong = [envelope for envelope in run if not envelope.case.forward.is_weak]
        for envelope in strong:
            if envelope.control and await self.controls.is_catch_all(envelope.control):
                detail = f"takes {envelope.control} as well"
                await self._report(envelope, Fact.ACCEPTS_ANYTHING, None, detail)
        sendable = [envelope for envelope in strong if not reason_not_to_send(envelope, self.brief)]
        for envelope in strong:
            if envelope not in sendable:
                detail = reason_not_to_send(envelope, self.brief)
                await self._report(envelope, Fact.ACCEPTED, replies[envelope.token], detail)
        for message in self._messages(sendable):
            if self._is_done():
                return
            await self._send(message, replies)

    def _messages(self, envelopes: list[Envelope]) -> Iterator[list[Envelope]]:
        """Share envelopes of one transaction out to messages.

        The first whose yes counts goes alone, so that a proof is of one case; whatever else there is goes
        into one further message, as the target takes few, and a catch-all says yes to many.
        """
        counting = [e for e in envelopes if not self.controls.catch_all.get(e.control)]
        if self.brief.depth is Depth.EXHAUSTIVE or len(envelopes) == 1 or not counting:
            yield from [envelopes] if envelopes else []
            return
        yield counting[:1]
        yield [envelope for envelope in envelopes if envelope is not counting[0]]

    async def _send(self, envelopes: list[Envelope], replies: Replies) -> None:
        if self.is_out_of_messages or not await self.link.may_send():
            self.is_out_of_messages = True
            await self._withhold(envelopes, replies, "not-sent: allowance used up")
            return
        if not await self.contact.may_connect():
            await self._withhold(envelopes, replies, "not-sent: connections used up")
            return
        outcomes = await deliver(self.link, self.brief, envelopes)
        queued = [outcome.envelope for outcome in outcomes if outcome.fact is Fact.QUEUED]
        for outcome in outcomes:
            await self._report_outcome(outcome, messages=int(outcome.envelope in queued[:1]))
        if queued:
            await self._await_proof(queued)

    async def _withhold(self, envelopes: list[Envelope], replies: Replies, why: str) -> None:
        for envelope in envelopes:
            await self._report(envelope, Fact.ACCEPTED, replies[envelope.token], why)

    async def _await_proof(self, queued: list[Envelope]) -> None:
        """Wait for what was queued: for one arrival, or for all of them where every proof is wanted."""
        awaited = {envelope.token for envelope in queued}
        backward = {envelope.return_token for envelope in queued if envelope.return_token}
        arrival = await self.link.await_arrival(*sorted(awaited), *sorted(backward))
        while arrival is not None:
            self.is_proven = self.is_proven or arrival.token in awaited
            awaited.discard(arrival.token)
            if self._is_done() or not awaited:
                return
            arrival = await self.link.await_arrival(
                *sorted(awaited)
            )  # a bounce for one refutes not the others
        if not self.is_proven and not self.accepts_anything:
            self.accepts_anything = await self.controls.says_yes_to_everything()

    # --- records -----------------------------------------------------------------------------

    async def _report_weak(self, envelope: Envelope, reply: Reply | None) -> None:
        """A yes that nothing of ours can prove: a note, and no answer to the question."""
        detail = "accepts a name under a hosted domain"
        note = Observation(fact=Fact.NOTE, advisory=envelope.case.advisory, reply=str(reply), detail=detail)
        await self.link.report(note)
        await self._report(envelope, Fact.VOID, reply, detail)

    async def _report_outcome(self, outcome: Outcome, *, messages: int) -> None:
        if outcome.fact is Fact.DEFERRED and outcome.reply is not None and not self.is_retrying:
            self.deferred.append((outcome.envelope, outcome.reply))
            return
        if outcome.fact is Fact.REFUSED and outcome.reply is not None and speaks_of_relaying(outcome.reply):
            await self.controls.report_talks("refuses by name of relaying, after RCPT", outcome.reply)
        detail = outcome.detail
        if outcome.fact is Fact.DEFERRED and outcome.reply is not None and is_greylisting(outcome.reply):
            detail = "greylisted"
        await self._report(outcome.envelope, outcome.fact, outcome.reply, detail, messages)

    async def _report(
        self, envelope: Envelope, fact: Fact, reply: Reply | None, detail: str = "", count: int = 0
    ) -> None:
        await self.link.report(
            Observation(
                fact=fact,
                case=envelope.case.name,
                advisory=envelope.case.advisory,
                reply=str(reply or ""),
                detail=detail,
                count=count,
                token=envelope.token,
                return_token=envelope.return_token,
                command=envelope.command,
            )
        )


def _blames_reverse_path(reply: Reply) -> bool:
    """Whether a deferral is about the reverse-path: X.1.7 and X.1.8 (RFC 3463), or in words."""
    if reply.enhanced is not None and (reply.enhanced.subject, reply.enhanced.detail) in {(1, 7), (1, 8)}:
        return True
    return "sender" in reply.text.lower()
