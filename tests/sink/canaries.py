"""A sink with canaries on loopback, and ways to talk to them."""

import asyncio
import contextlib
import ssl

from tests.sink.loopback import ANOTHER_KEY, IPV4, KEY, make_sink, token

from relaywatch.model.canary import canary_words, read_canary_answer

WORDS = canary_words(token()) + b"\r\n"
STRANGE_WORDS = canary_words(token(key=ANOTHER_KEY)) + b"\r\n"


def make_canaries(arrivals=None, **changes):
    """A sink with canaries on free ports of loopback."""
    return make_sink(arrivals, **{"canary_listen": (IPV4,), "canary_udp": (IPV4,)} | changes)


def tls(**options):
    """A client's context that takes any certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    for name, value in options.items():
        setattr(context, name, value)
    return context


async def connect(endpoint, **options):
    """Connect; gives reader and writer."""
    return await asyncio.open_connection(str(endpoint.address), endpoint.port, **options)


async def talk(endpoint, *pieces, pause=0, **options):
    """Say it, and give all that comes back until the canary hangs up."""
    reader, writer = await connect(endpoint, **options)
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(pause)
        return await asyncio.wait_for(reader.read(), 20)
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


def seen_from(heard, number=0):
    """The address in a canary's answer, as text; nothing if there is none that is ours."""
    address = read_canary_answer(KEY, token(number), heard.decode("latin-1"))
    return address and str(address)
