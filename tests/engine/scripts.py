"""Small scripts to drive."""

from relaywatch.model.evidence import Fact, Observation
from relaywatch.script import ops


async def greet(link, brief):
    """Reads a greeting, says QUIT, and reads the answer."""
    await link.connect()
    await link.report(Observation(fact=Fact.NOTE, reply=(await link.read_line(limit=512)).decode("latin-1")))
    await link.send(b"QUIT\r\n")
    await link.read_line(limit=512)
    await link.close()


async def receive_all(link, brief):
    await link.connect()
    while await ops.Receive():
        pass


async def wait_for_octets(link, brief):
    await link.connect()
    await link.report(Observation(fact=Fact.NOTE))
    await ops.Receive()
