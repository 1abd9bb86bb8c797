"""Does this mail server carry mail from strangers to strangers?

One script a door. It asks at RCPT level, many cases to a connection, within what the server bears;
what gets a yes is asked again and proven by a message to our own mailbox. See docs/probes/smtp-relay.md.
"""

from relaywatch.model.evidence import Weakness
from relaywatch.model.places import Transport
from relaywatch.script.probe import Probe

from .survey import script

PROBE = Probe(
    name="smtp-relay",
    weakness=Weakness.OPEN_RELAY,
    default_doors=(
        (25, Transport.PLAIN),
        (25, Transport.STARTTLS),
        (465, Transport.TLS),
        (587, Transport.PLAIN),
        (587, Transport.STARTTLS),
        (2525, Transport.PLAIN),
        (2525, Transport.STARTTLS),
    ),
    references=("RFC 5321", "RFC 2505", "RFC 6409", "RFC 3207", "CVE-1999-0512"),
    script=script,
)
