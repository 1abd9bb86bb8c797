"""FTP's data connection to somebody else's address (RFC 2577 section 3): is it taken, and does it come?

Two questions. Does the server take an address that can't be ours? That says most, and leads to nobody: the
address is a group's, to which no TCP connects (RFC 1122 section 4.2.3.10), since some servers connect as soon
as they hear of an address. Then a port of our own sink's, and a listing to send there. Where our sink shares the address that we come from, that would be no bounce but FTP as it should be:
then it isn't asked, and the yes stays unproven.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from relaywatch.model.evidence import Fact, Observation
from relaywatch.model.places import Address, Endpoint, Family, parse_address

from . import ftp
from .brief import Brief
from .link import Link
from .ops import OpenPort

_NOBODYS = {
    Family.IPV4: Endpoint(parse_address("233.252.0.1"), 40021),
    Family.IPV6: Endpoint(parse_address("ff0e::db8:0:1"), 40021),
}
"""Groups for documentation, to which nobody belongs (RFC 6676)."""
_FIRST_UNRESERVED_PORT = 1024
_TRIED = frozenset({425, 426})
"""It has tried to connect, and couldn't; some do as soon as they hear of an address."""
_LISTING = {425: Fact.FAILED, 426: Fact.FAILED, 500: Fact.REFUSED, 501: Fact.REFUSED, 504: Fact.REFUSED}
"""What LIST comes to, where that says something of the port; any other reply leaves the yes as it is."""


@dataclass(frozen=True, slots=True)
class Form:
    """A command that announces a data port: a row of the probe's table."""

    name: str
    verb: str
    argument: Callable[[Endpoint], str]
    families: frozenset[Family]


def outside_source(brief: Brief) -> tuple[Address | None, bool]:
    """The address to come from, nothing for the usual one; and whether that is surely another than our sink's."""
    second = brief.canaries.second_source(brief.door.family)
    sink = brief.canaries.address_of(brief.door.family)
    if second is None:
        return None, False
    return (second if second != sink else None), True


async def ask(link: Link, brief: Brief, form: Form, advisory: str) -> Observation:
    """Ask both questions in one form, and tell what came of them."""
    foreign = form.argument(_NOBODYS[brief.door.family])
    reply = await ftp.command(link, brief, form.verb, foreign)
    about = Observation(
        fact=Fact.FAILED if reply.code in _TRIED else Fact.ACCEPTED,
        case=form.name,
        advisory=advisory,
        reply=str(reply),
        command=f"{form.verb} {foreign}",
    )
    if not (reply.is_positive or reply.code in _TRIED):
        return replace(about, fact=Fact.DEFERRED if reply.is_transient else Fact.REFUSED)
    if not outside_source(brief)[1]:
        return replace(about, detail="not proven: our sink may share the address that we come from")
    token = brief.token(about.case)
    port = await OpenPort(token)
    if port is None or port.port < _FIRST_UNRESERVED_PORT:
        return replace(about, detail="not proven: needs a sink in this process")
    about = replace(about, token=token, destination=str(port))
    return await _send_listing(link, brief, form, port, about)


async def _send_listing(
    link: Link, brief: Brief, form: Form, port: Endpoint, about: Observation
) -> Observation:
    """Have a listing sent to our sink's port; whether it comes, the sink will tell."""
    reply = await ftp.command(link, brief, form.verb, form.argument(port))
    if reply.code in _TRIED:
        return replace(about, reply=str(reply), fact=Fact.FAILED)
    if not reply.is_positive:
        return replace(about, detail=f"not proven: takes that address, and not our sink's: {reply}")
    about = replace(about, command=f"{form.verb} {form.argument(port)}")
    reply = await ftp.command(link, brief, "LIST")
    return replace(about, reply=str(reply), fact=_LISTING.get(reply.code, Fact.ACCEPTED))
