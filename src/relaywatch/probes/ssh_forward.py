"""SSH that admits anybody and forwards TCP: sshd on devices left as they came (CVE-2004-1653, SSHowDowN).

One request of authentication method ``none``, which brings no credentials and guesses none. Only where that
is enough is a channel asked for, to our canary.
"""

from __future__ import annotations

from dataclasses import replace

from relaywatch.model.evidence import Weakness
from relaywatch.model.places import Service, Transport
from relaywatch.script import ssh
from relaywatch.script.brief import Brief
from relaywatch.script.entry import report_no_entry
from relaywatch.script.link import Link
from relaywatch.script.probe import Probe
from relaywatch.script.tunnels import Way, destinations, survey

_FORWARDS = "RW-2014"

ADDRESS = Way(name="address", advisory=_FORWARDS, ask=ssh.open_channel, ports=3)


async def script(link: Link, brief: Brief) -> None:
    """Come without credentials; if that is enough, ask for channels to our canary, to two ports and to mail's."""
    brief = replace(brief, canaries=replace(brief.canaries, ports=brief.canaries.ports[:2]))
    for destination in destinations(brief, ADDRESS)[:1]:
        seen = await ssh.forward(brief, destination, brief.token("entry"))
        if not seen.is_admitted:
            command = f"authentication method none as {ssh.USERNAME}"
            await report_no_entry(link, _FORWARDS, reply=ssh.show_methods(seen), command=command)
            return
    await survey(link, brief, (ADDRESS,), opener=_by_the_operation_itself)


async def _by_the_operation_itself(_link: Link, _brief: Brief) -> None:
    """No connection: each forwarding opens its own."""


PROBE = Probe(
    name="ssh-forward",
    weakness=Weakness.OPEN_PROXY,
    default_doors=((22, Transport.PLAIN),),
    references=("RFC 4252 section 5.2", "RFC 4254 section 7.2", "CVE-2004-1653"),
    script=script,
    services=frozenset({Service.SSH}),
)
