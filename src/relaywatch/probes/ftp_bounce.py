"""FTP bounce: the server opens connections to whatever address and port a stranger names by PORT or EPRT."""

from __future__ import annotations

from relaywatch.model.errors import PeerClosedError, RemoteProtocolError
from relaywatch.model.evidence import Fact, Observation, Weakness
from relaywatch.model.places import Family, Service, Transport
from relaywatch.script import bounce, ftp
from relaywatch.script.bounce import Form
from relaywatch.script.brief import Brief
from relaywatch.script.entry import report_no_entry
from relaywatch.script.link import Link
from relaywatch.script.probe import Probe
from relaywatch.wire.ftp import eprt_argument, port_argument

_BOUNCE = "RW-2013"

FORMS = (
    Form("port", "PORT", port_argument, frozenset({Family.IPV4})),
    Form("eprt", "EPRT", eprt_argument, frozenset(Family)),
)


async def script(link: Link, brief: Brief) -> None:
    """Come in as the public does, and ask for data connections that aren't ours."""
    source, _ = bounce.outside_source(brief)
    await link.connect(source=source, within=brief.patience.connect)
    try:
        kept_out_by, reply = await ftp.enter(link, brief)
    except (PeerClosedError, RemoteProtocolError):
        await link.report(Observation(fact=Fact.NOT_THIS_PROTOCOL))
        return
    if kept_out_by is Fact.AUTH_REQUIRED:
        await report_no_entry(link, _BOUNCE, reply=str(reply), command="USER anonymous")
    elif kept_out_by is not None:
        await link.report(Observation(fact=kept_out_by, reply=str(reply)))
    else:
        await _ask(link, brief, [form for form in FORMS if brief.door.family in form.families])
    await link.close()


async def _ask(link: Link, brief: Brief, forms: list[Form]) -> None:
    await link.report(Observation(fact=Fact.PLANNED, count=len(forms)))
    await link.report(Observation(fact=Fact.TALKS))
    for form in forms:
        seen = await bounce.ask(link, brief, form, _BOUNCE)
        await link.report(seen)
        if seen.token is not None and await link.await_arrival(seen.token) is not None:
            break


PROBE = Probe(
    name="ftp-bounce",
    weakness=Weakness.OPEN_PROXY,
    default_doors=((21, Transport.PLAIN),),
    references=("RFC 2577 section 3", "RFC 959 section 5.3.2", "RFC 2428", "RFC 1635", "CVE-1999-0017"),
    script=script,
    services=frozenset({Service.FTP}),
)
