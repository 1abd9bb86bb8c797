"""The question before all others: does the server let in whoever brings no credentials?

Some protocols decide that before they hear of a destination (SOCKS5, SSH, FTP, a login prompt). It is asked
once then, since to ask again for every destination would look like somebody who tries passwords.
"""

from __future__ import annotations

from relaywatch.model.evidence import Fact, Observation

from .link import Link

ENTRY = "entry"
"""The one case of a door that lets nobody in."""


async def report_no_entry(link: Link, advisory: str, *, reply: str, command: str) -> None:
    """Report that it wants credentials, which we have none of: that was the only question."""
    await link.report(Observation(fact=Fact.PLANNED, count=1))
    await link.report(Observation(fact=Fact.TALKS, reply=reply))
    refused = Observation(
        fact=Fact.REFUSED, case=ENTRY, advisory=advisory, reply=reply, detail="credentials", command=command
    )
    await link.report(refused)
    await link.report(Observation(fact=Fact.AUTH_REQUIRED, reply=reply))
