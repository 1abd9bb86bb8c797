"""A polled sink on loopback."""

from tests.sink.loopback import IPV4, KEY, deliver_async, token

from relaywatch.sink.certificate import make_certificate
from relaywatch.sink.keys import SinkKeys
from relaywatch.sink.poll import PollServer

CERTIFICATE = make_certificate(["127.0.0.1"])
KEYS = SinkKeys(canary_key=KEY, poll_key="p" * 43, certificate_sha256=CERTIFICATE.sha256)


def poll_server(sink, **changes):
    """The HTTPS side of a sink on a free port."""
    options = {"poll_key": KEYS.poll_key, "listen": (IPV4,), "certificate": CERTIFICATE} | changes
    return PollServer(sink, options["poll_key"], options["listen"], certificate=options["certificate"])


def url(server):
    """Where it is."""
    return f"https://{server.addresses[0]}"


async def arrive(sink, number):
    """Deliver our number-th token."""
    await deliver_async(sink.addresses[0], [f"{token(number)}@sink.test"])
