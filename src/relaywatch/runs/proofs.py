"""What the sandbox shows: who tried, what he came to, and whether that proves the mend."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from relaywatch.model.verdicts import Reason, Verdict
from relaywatch.script.signing_in import SigningIn

from .reporting import TargetReport
from .sandbox import Listener

OWN_MACHINE: Final = "the server's own machine"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """What one client came to: the stranger, or one for whom the way is meant to be open."""

    client: str
    """His address, or the server's own machine's."""
    reports: tuple[TargetReport, ...] = ()
    is_own_machine: bool = False
    """Whether he is on the server's own machine, whichever of its addresses he comes by."""
    is_cut_short: bool = False
    """Whether there was no time to ask everything."""
    is_out_of_reach: bool = False
    """Whether nothing listens but for the server's own machine."""

    @property
    def gets_through(self) -> bool:
        """Whether something of ours arrived through the server: proof, not a yes."""
        return any(report.line.verdict is Verdict.OPEN for report in self.reports)

    @property
    def is_asked_for_credentials(self) -> bool:
        """Whether he is refused for want of a password or a key, which somebody else may have."""
        return self.is_refused and any(Reason.AUTH_REQUIRED in report.line.reasons for report in self.reports)

    @property
    def is_refused(self) -> bool:
        """Whether everything was asked, and refused: in words, or by not talking to him where others are talked to.

        So is whoever nothing listens for.
        """
        verdicts = {report.line.verdict for report in self.reports}
        refused = bool(verdicts) and verdicts <= {Verdict.CLOSED, Verdict.ABSENT}
        return self.is_out_of_reach or (refused and not self.is_cut_short)


class SignedInUsers(StrEnum):
    """What the mend does to users who sign in."""

    KEPT = "kept"
    """With the owner's credentials the stranger gets through after it, at every port at which he did before."""
    LOST = "lost"
    """At a port at which he got through before he no longer does."""
    REFUSED = "refused"
    """The credentials were refused before already, so they say nothing of the mend."""
    UNTRIED = "untried"
    """Credentials would be taken, and none were tried; or there was no mend to try them on."""
    NOT_OFFERED = "not-offered"
    """Nobody is asked for any, as far as we can tell."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedInAt:
    """What signing in came to at one port."""

    port: int
    protocol: str
    """smtp, http or socks5."""
    outcome: SigningIn
    said: str = ""
    """The answer that decided it; the password is left out of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One configuration, running: where it listens, what the stranger came to, and the controls."""

    listeners: tuple[Listener, ...] = ()
    stranger: Tried | None = None
    controls: tuple[Tried, ...] = ()
    signed_in: tuple[SignedInAt, ...] = ()
    """The control with credentials, from the stranger's address; without any, where they would be taken."""
    trouble: str = ""
    """Why the server doesn't run, with its own last words."""

    @property
    def kept(self) -> frozenset[str]:
        """The clients of the owner's that get through; his machine is one, by whatever address."""
        return frozenset(
            OWN_MACHINE if control.is_own_machine else control.client
            for control in self.controls
            if control.gets_through
        )

    @property
    def wants_credentials(self) -> bool:
        """Whether somebody is asked for a password or a key, by whatever protocol."""
        tried = (*filter(None, (self.stranger,)), *self.controls)
        offers = {SigningIn.OFFERED, SigningIn.REFUSED}
        return any(one.is_asked_for_credentials for one in tried) or any(
            one.outcome in offers for one in self.signed_in
        )

    @property
    def has_signed_in(self) -> bool:
        """Whether credentials were tried anywhere, with whatever success."""
        return bool(self.signed_in_with(SigningIn.THROUGH) | self.signed_in_with(SigningIn.REFUSED))

    def signed_in_with(self, outcome: SigningIn) -> frozenset[int]:
        """The ports at which signing in came to that."""
        return frozenset(one.port for one in self.signed_in if one.outcome is outcome)


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """What the sandbox showed, before and after the mend."""

    server: str
    path: str
    diff: str = ""
    before: Stage
    after: Stage | None = None
    """Nothing where there is no mend to try."""
    allowed: frozenset[str] = frozenset()
    """The clients that came out of the networks that the owner allows."""
    has_login: bool = False
    """Whether the owner gave credentials to sign in with."""

    @property
    def is_open_before(self) -> bool:
        """Whether something of the stranger's arrived through it as it is."""
        return self.before.stranger is not None and self.before.stranger.gets_through

    @property
    def is_closed_after(self) -> bool:
        """Whether the mended one refused everything that he asked for."""
        return self.after is not None and self.after.stranger is not None and self.after.stranger.is_refused

    @property
    def is_control_kept(self) -> bool:
        """Whether the owner's clients who got through before still do, and there are any.

        Those are the networks that he allows; the server's own machine where he names none. Where the mend leaves
        users with credentials alone, and his still get through, they are his clients.
        """
        before, after = self.before.kept, self.after.kept if self.after else frozenset()
        meant = before & self.allowed if self.allowed else before
        if self.is_left_to_credentials and not self.allowed:
            return self.signed_in is SignedInUsers.KEPT
        return bool(meant) and meant <= after

    @property
    def signed_in(self) -> SignedInUsers:
        """What the mend does to users who sign in, port by port."""
        stages = [self.before] if self.after is None else [self.before, self.after]
        if not self.has_login or self.after is None or self.after.trouble:
            is_wanted = self.has_login or any(stage.wants_credentials for stage in stages)
            return SignedInUsers.UNTRIED if is_wanted else SignedInUsers.NOT_OFFERED
        before, after = (stage.signed_in_with(SigningIn.THROUGH) for stage in stages)
        if before - after:
            return SignedInUsers.LOST
        if after:
            return SignedInUsers.KEPT
        is_wanted = any(stage.signed_in_with(SigningIn.REFUSED) for stage in stages)
        if not is_wanted and any(stage.wants_credentials for stage in stages):
            return SignedInUsers.UNTRIED  # by a protocol in which we don't sign in
        return SignedInUsers.REFUSED if is_wanted else SignedInUsers.NOT_OFFERED

    @property
    def is_left_to_credentials(self) -> bool:
        """Whether the mended one serves those alone who have credentials: none are guessed, the owner's own are tried."""
        return (
            self.after is not None
            and not self.after.kept
            and any(control.is_asked_for_credentials for control in self.after.controls)
        )

    @property
    def holds(self) -> bool:
        """Whether the mend is proven: open before, closed after, control kept, and the owner's credentials still good."""
        is_seen = self.is_open_before and self.is_closed_after and self.is_control_kept
        return is_seen and self.signed_in not in {SignedInUsers.LOST, SignedInUsers.REFUSED}
