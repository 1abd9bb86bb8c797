"""Postfix set-ups as tests write them: main.cf, master.cf, and tables beside."""

from __future__ import annotations

from collections.abc import Iterable

from tests.audit.auditing import audited

from relaywatch.audit.findings import ServerReport
from relaywatch.audit.servers.postfix import SERVER
from relaywatch.audit.setup import FrontEnd

MASTER = "smtp inet n - y - - smtpd\n"
OWN = "compatibility_level = 3.6\nmydestination = own.example\n"
NARROW = OWN + "mynetworks = 127.0.0.1/32\n"


def files(main: str, master: str | None = MASTER, **tables: str) -> dict[str, str]:
    """The files of a set-up, main.cf first."""
    named = {"main.cf": main, **({} if master is None else {"master.cf": master}), **tables}
    return {f"/etc/postfix/{name}": text for name, text in named.items()}


def postfix(
    main: str,
    master: str | None = MASTER,
    *,
    front_ends: Iterable[FrontEnd] = (),
    allowed: Iterable[str] = (),
    **tables: str,
) -> ServerReport:
    """The report of a set-up."""
    return audited(SERVER, files(main, master, **tables), front_ends=front_ends, allowed=allowed)
