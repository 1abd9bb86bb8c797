"""A sendmail.cf's own rulesets, run for a stranger."""

from __future__ import annotations

from dataclasses import dataclass

from relaywatch.audit.findings import Cause
from relaywatch.audit.strangers import Stranger

from .cf import META, Cf
from .rewriting import MAILER, Rewriting, Tokens, is_refused
from .strangers import POINTING

_CHECKS = ("check_relay", "check_mail", "check_rcpt")
_STAYS = frozenset({"local", "error", "discard"})


@dataclass(slots=True)
class Running:
    """One listener: the file, and the flags of its daemon."""

    cf: Cf
    flags: str
    host: str

    def through(self, stranger: Stranger) -> list[Cause] | None:
        """The settings that let him through; nothing if he is refused, or what he asks for stays here.

        :raises UnknownError: if something that decides can't be told.
        """
        rewriting = self._begun(stranger)
        address = self.cf.macros.get("client_addr", rewriting.macros["client_addr"])
        client = (*self.cf.tokens(stranger.client.name), META + "|", *self.cf.tokens(address))
        sender = self.cf.tokens(f"<{stranger.sender.text or ''}>")
        recipient = self.cf.tokens(f"<{stranger.recipient.text}>")
        for name, tokens in zip(_CHECKS, (client, sender, recipient), strict=True):
            rewriting.hits.clear()
            if is_refused(rewriting.run(name, tokens)):
                return None
        hits, decided = list(rewriting.hits), rewriting.decided
        if self._stays(rewriting, recipient):
            return None
        if any(hit.rule for hit in hits):
            return [hit for hit in hits if hit.rule]
        if rewriting.macros["deliveryMode"] == "d":
            found = self.cf.option("DeliveryMode")
            return [Cause("DeliveryMode=deferred", found[1] if found else None, "sm-defer")]
        return [self._ruled(stranger, decided)]

    def _ruled(self, stranger: Stranger, decided: Cause | None) -> Cause:
        """The rule of the file that lets him through, and what is wrong with it."""
        rule = "sm-promiscuous"
        if any(claim.kind.value == "dns" for claim in stranger.claims):
            rule = "sm-mx"
        elif any(claim.kind.value == "reverse-path" for claim in stranger.claims):
            rule = "sm-local-from"
        if decided is not None:
            return Cause(decided.text[:200], decided.position, rule)
        checks = self.cf.ruleset("Basic_check_rcpt") or self.cf.ruleset("check_rcpt")
        return Cause("check_rcpt refuses nobody", checks.position if checks else None, rule)

    def _begun(self, stranger: Stranger) -> Rewriting:
        address = stranger.client.address
        named = stranger.client.name
        written = str(address)
        if address.version == 6:
            written = "IPv6:" + ":".join(f"{int(group, 16):x}" for group in address.exploded.split(":"))
        option = self.cf.option("DeliveryMode")
        macros = {
            **self.cf.macros,
            "client_addr": written,
            "client_name": named,
            "client_ptr": named,
            "client_resolve": "OK",
            "client_flags": "",
            "daemon_flags": self.flags,
            "deliveryMode": (option[0] if option else "background")[:1].lower(),
            "f": stranger.sender.text or "<>",
            "mail_from": stranger.sender.text or "<>",
            "s": stranger.greeting.text or "",
            "verify": "NO",
            "auth_type": "",
            "auth_authen": "",
            "opMode": "d",
        }
        known = {named, *(_domain(said.text) for said in (stranger.sender, stranger.recipient))}
        known |= {"elsewhere.example", POINTING}
        return Rewriting(self.cf, macros, frozenset(known), POINTING)

    def _stays(self, rewriting: Rewriting, recipient: Tokens) -> bool:
        """Whether ruleset *parse* gives it to a mailer of this machine."""
        if self.cf.ruleset("parse") is None and self.cf.ruleset("0") is None:
            return False
        canonical = rewriting.run("canonify", recipient)
        parsed = rewriting.run("parse", canonical)
        return parsed[:1] == (MAILER,) and len(parsed) > 1 and parsed[1].lower() in _STAYS


def _domain(address: str | None) -> str:
    return (address or "").rpartition("@")[2].lower()
