"""Real SSH servers on loopback, in a thread and an event loop of their own."""

import asyncio
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address

import asyncssh

from relaywatch.model.places import Endpoint
from relaywatch.script import ops

WORDS = b"relaywatch thetoken"
HOST_KEY = asyncssh.generate_private_key("ssh-ed25519")


@dataclass
class Seen:
    """What a server has seen of its callers."""

    usernames: list = field(default_factory=list)
    credentials: list = field(default_factory=list)
    forwardings: list = field(default_factory=list)
    versions: list = field(default_factory=list)
    compression: list = field(default_factory=list)
    ends: int = 0


class _Server(asyncssh.SSHServer):
    def __init__(self, seen, forward, *, admits, methods):
        self._seen, self._forward, self._admits, self._methods = seen, forward, admits, methods

    def connection_made(self, conn):
        self._connection = conn

    def connection_lost(self, exc):
        self._seen.ends += 1

    def begin_auth(self, username):
        self._seen.usernames.append(username)
        self._seen.versions.append(self._connection.get_extra_info("client_version"))
        self._seen.compression.append(self._connection.get_extra_info("recv_compression"))
        return not self._admits

    def public_key_auth_supported(self):
        return "publickey" in self._methods

    def validate_public_key(self, username, key):
        self._seen.credentials.append(("publickey", username))
        return True

    def password_auth_supported(self):
        return "password" in self._methods

    def validate_password(self, username, password):
        self._seen.credentials.append(("password", username))
        return True

    def kbdint_auth_supported(self):
        return "keyboard-interactive" in self._methods

    def get_kbdint_challenge(self, username, lang, submethods):
        self._seen.credentials.append(("keyboard-interactive", username))
        return True

    def connection_requested(self, dest_host, dest_port, orig_host, orig_port):
        self._seen.forwardings.append((dest_host, dest_port))
        return self._forward


@contextmanager
def ssh_server(*, forward=True, admits=True, methods=("publickey", "password"), **options):
    """An SSH server; ``forward`` is what asyncssh's ``connection_requested`` is to say. Gives endpoint and `Seen`."""
    seen = Seen()
    ready = threading.Event()
    places = []

    async def main():
        server = await asyncssh.listen(
            "127.0.0.1",
            0,
            server_host_keys=[HOST_KEY],
            config=None,
            **{"server_factory": lambda: _Server(seen, forward, admits=admits, methods=methods), **options},
        )
        async with server:
            over = asyncio.Event()
            places.extend([server.sockets[0].getsockname()[1], asyncio.get_running_loop(), over])
            ready.set()
            await over.wait()

    thread = threading.Thread(target=asyncio.run, args=(main(),))
    thread.start()
    try:
        assert ready.wait(10)
        yield Endpoint(ip_address("127.0.0.1"), places[0]), seen
    finally:
        _port, loop, over = places
        loop.call_soon_threadsafe(over.set)
        thread.join(10)
        assert not thread.is_alive()


def asking(answers, to, within=8.0):
    """A script that asks for one forwarding."""

    async def script(link, brief):
        answers.append(await ops.ForwardBySSH(username="anonymous", to=to, words=WORDS, within=within))

    return script
