"""The script: one door, from the first word to the last case."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from relaywatch.model.evidence import Fact, Observation
from relaywatch.model.smtp import Reply
from relaywatch.model.tokens import Token
from relaywatch.script.brief import Brief, Depth
from relaywatch.script.link import Link
from relaywatch.script.smtp import Helo, Session
from relaywatch.script.software import Where

from .asking import Answer, Asked, ask, finish
from .cases import Case, Envelope, gather_names, write
from .contact import Contact
from .controls import DOOR_WIDE, Controls
from .forms import OURS, OWN, PLAIN, ReversePath
from .planning import MAX_CASES, UNKNOWN_REFUSALS, Batch, by_transaction, plan_cases, take_batch
from .proving import Outcome, deliver, reason_not_to_send
from .readings import (
    blames_reverse_path,
    is_full,
    is_greylisting,
    read_refusal,
    read_waiting_time,
    speaks_of_relaying,
)

_FRUITLESS = 3
"""Connections in a row that may end without an answer."""

_TAKEN = frozenset({Fact.QUEUED, Fact.HANDED_OVER})

Replies = Mapping[Token, Reply | None]


async def script(link: Link, brief: Brief) -> None:
    """Ask every planned case at this door, prove what gets a yes, and stop at the first proof."""
    contact = Contact(link, brief)
    session = await contact.first()
    if session is None:
        return
    brief = contact.brief
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
    held: list[tuple[Envelope, Reply | None]] = field(default_factory=list)
    """What got a yes that anybody may get there."""
    stuck_at: set[Token] = field(default_factory=set)
    """Cases at which the server fell silent once."""
    is_retrying: bool = False
    is_proven: bool = False
    accepts_anything: bool = False
    is_out_of_messages: bool = False

    async def begin(self, session: Session) -> bool:
        """Ask the plain case, with the positive control, in the first session; whether to go on."""
        self._learn_limit()
        plain = write(Case(helo=self.contact.helo_form), self.controls.names, self.brief)
        asked = await ask(self.link, self.brief, session, [plain], with_control=self.limit > 1)
        if asked.trouble is not None and not asked.answers:
            raise asked.trouble  # not even the first question got an answer
        for answer in asked.answers:
            await self.contact.recognise(Where.REPLY, answer.rcpt or answer.mail)
        if not (asked.was_cut or asked.trouble) and asked.refusals < self.limit:
            await self.contact.ask_for_help()
        await finish(self.link, asked)
        base = await self.controls.find_base(asked)
        if base is None:
            return False
        planned = self._plan(base)
        await self.link.report(Observation(fact=Fact.PLANNED, count=planned))
        if asked.answers and base is OURS:
            self.pending.pop(0)
            await self._take(asked.answers)
        return True

    async def go_on(self) -> None:
        """Ask what is left, batch by batch; once more what was deferred; prove what was held back."""
        await self._work_off()
        if self.deferred and not self._is_done() and not self.contact.is_shut:
            await self._retry()
        await self._prove_held()
        for envelope, reply in self.deferred:
            await self._report(envelope, Fact.DEFERRED, reply, "greylisted" if is_greylisting(reply) else "")
        if not self._is_done() and not self.contact.is_shut:
            await self.controls.close()

    async def _retry(self) -> None:
        """Let the greylist's time pass, if we have as much, and ask the same again."""
        waiting = [read_waiting_time(reply) for _, reply in self.deferred]
        wanted = max((seconds for seconds in waiting if seconds), default=self.brief.patience.greylist)
        if wanted > self.brief.patience.greylist:
            return
        await self.link.pause(wanted + 1)
        self.pending = [envelope for envelope, _ in self.deferred]
        self.deferred = []
        self.is_retrying = True
        await self._work_off()

    def _learn_limit(self) -> None:
        software = self.contact.software
        if self.brief.refusal_limit is not None:
            self.limit = self.brief.refusal_limit
        elif software is not None and software.refusals is not None:
            self.limit = software.refusals

    def _plan(self, base: ReversePath) -> int:
        """Put down what to ask, and give how many cases there would be without a limit."""
        self._learn_limit()
        names, extensions = self.controls.names, self.contact.extensions
        cases = plan_cases(self.brief, names, extensions, self.contact.software)
        if base is not OURS:
            cases = list(dict.fromkeys(replace(c, reverse=base) if c.reverse is OURS else c for c in cases))
        if self.contact.helo_form is not OWN:
            cases = [replace(c, helo=self.contact.helo_form) if c.helo is OWN else c for c in cases]
        if self.controls.wants_login:
            cases = [case for case in cases if case.forward is PLAIN]
        asked = cases[: MAX_CASES[self.brief.depth]]
        self.pending = [write(case, self.controls.names, self.brief) for case in asked]
        return len(cases)

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
            if not session.is_ready:
                await self._take_refused_helo(batch.envelopes[0].helo, session.last_reply)
                continue
            asked = await ask(
                self.link, self.brief, session, batch.envelopes, transaction_size=self.transaction_size
            )
            await finish(self.link, asked)
            answered = self._strike_off(batch, asked)
            fruitless = 0 if answered else fruitless + 1
            if fruitless == _FRUITLESS:
                detail = f"no answer in {_FRUITLESS} connections: {asked.trouble or 'it hangs up'}"
                await self.link.report(Observation(fact=Fact.RATE_LIMITED, detail=detail))
                return
            await self._take(asked.answers)

    def _strike_off(self, batch: Batch, asked: Asked) -> int:
        """Take what was answered off the list, and learn from a break; how many answers there were."""
        answered = {answer.envelope.token for answer in asked.answers}
        self.pending = [envelope for envelope in self.pending if envelope.token not in answered]
        if asked.was_cut:
            self.limit = max(1, min(self.limit, len(answered)))  # it bears no more than that
        open_ones = [envelope for envelope in batch.envelopes if envelope.token not in answered]
        if asked.trouble and open_ones:
            self._put_off(open_ones[0])
        return len(answered)

    def _put_off(self, envelope: Envelope) -> None:
        """Ask what the server fell silent at once more, last of all; the second time leave it."""
        self.pending = [other for other in self.pending if other.token != envelope.token]
        if envelope.token not in self.stuck_at:
            self.stuck_at.add(envelope.token)
            self.pending.append(envelope)

    async def _take_refused_helo(self, helo: Helo, reply: Reply) -> None:
        """Put on record that a claim by HELO gets nobody in, for all cases that make it."""
        for envelope in self.pending:
            if envelope.helo == helo:
                await self._report(envelope, Fact.REFUSED, reply, "HELO refused")
        self.pending = [envelope for envelope in self.pending if envelope.helo != helo]

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
        elif self._is_void(answer, fact):
            await self._report(envelope, Fact.VOID, reply, "the reverse-path isn't taken")
        elif fact is Fact.DEFERRED:
            self.deferred.append((envelope, reply))
        else:
            if speaks_of_relaying(reply):
                await self.controls.report_talks("refuses by name of relaying", reply)
            await self._report(envelope, Fact.REFUSED, reply, fact.value if fact in DOOR_WIDE else "")

    def _is_void(self, answer: Answer, fact: Fact) -> bool:
        """Whether it is the reverse-path that is refused or put off, whatever the forward-path."""
        if answer.envelope.case.reverse is OURS or fact in DOOR_WIDE:
            return False
        reply = answer.rcpt or answer.mail
        if fact is Fact.DEFERRED:
            return blames_reverse_path(reply)
        return answer.rcpt is None

    async def _take_yes(self, run: tuple[Envelope, ...], replies: Replies) -> None:
        """Prove each yes by a message of its own, but hold back those that anybody may get."""
        for envelope in run:
            if self._is_done():
                return
            if envelope.case.forward.is_weak:
                await self._report_weak(envelope, replies[envelope.token])
            elif await self.controls.may_be_catch_all(envelope):
                detail = f"takes {envelope.control} as well"
                await self._report(envelope, Fact.ACCEPTS_ANYTHING, None, detail)
                self.held.append((envelope, replies[envelope.token]))
            else:
                is_guess = envelope.case.l in self.controls.names.guessed
                await self._prove([envelope], replies, may_be_local=is_guess)

    async def _prove_held(self) -> None:
        """Send what a catch-all took in as few messages as there are reverse-paths: all or none arrive."""
        replies: Replies = {envelope.token: reply for envelope, reply in self.held}
        for run in by_transaction([envelope for envelope, _ in self.held], self.transaction_size):
            if self._is_done():
                return
            await self._prove(list(run), replies, may_be_local=True)

    async def _prove(self, envelopes: list[Envelope], replies: Replies, *, may_be_local: bool) -> None:
        sendable: list[Envelope] = []
        for envelope in envelopes:
            reason = reason_not_to_send(envelope, self.brief, may_be_local=may_be_local)
            if reason:
                await self._report(envelope, Fact.ACCEPTED, replies[envelope.token], reason)
            else:
                sendable.append(envelope)
        if sendable:
            await self._send(sendable, replies)

    async def _send(self, envelopes: list[Envelope], replies: Replies) -> None:
        if self.is_out_of_messages or not await self.link.may_send():
            self.is_out_of_messages = True
            await self._withhold(envelopes, replies, "not-sent: allowance used up")
            return
        if not await self.contact.may_connect():
            await self._withhold(envelopes, replies, "not-sent: connections used up")
            return
        outcomes = await deliver(self.link, self.brief, envelopes)
        queued = [outcome.envelope for outcome in outcomes if outcome.fact in _TAKEN]
        sent = queued or [outcome.envelope for outcome in outcomes if outcome.is_sent]
        for outcome in outcomes:
            await self._report_outcome(outcome, messages=int(outcome.envelope in sent[:1]))
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
            arrival = await self.link.await_arrival(*sorted(awaited))  # one bounce refutes not the others
        if not self.is_proven and not self.accepts_anything:
            self.accepts_anything = await self.controls.says_yes_to_everything()

    # --- records -----------------------------------------------------------------------------

    async def _report_weak(self, envelope: Envelope, reply: Reply | None) -> None:
        """A yes that nothing of ours can prove: a note, and no answer to the question."""
        detail = "accepts a name under a hosted domain"
        if not self.controls.takes_plain:  # otherwise it takes every domain at RCPT, and decides later
            advisory = envelope.case.advisory
            await self.link.report(
                Observation(fact=Fact.NOTE, advisory=advisory, reply=str(reply), detail=detail)
            )
        await self._report(envelope, Fact.VOID, reply, detail)

    async def _report_outcome(self, outcome: Outcome, *, messages: int) -> None:
        if outcome.fact is Fact.DEFERRED and outcome.reply is not None and not self.is_retrying:
            self.deferred.append((outcome.envelope, outcome.reply))
            if messages:
                note = "puts a message off after its last octet"
                case = outcome.envelope.case.name
                await self.link.report(Observation(fact=Fact.NOTE, case=case, detail=note, count=messages))
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
