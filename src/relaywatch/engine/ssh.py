"""SSH servers that forward TCP for whoever asks (CVE-2004-1653): asked without any credentials.

The library does its own I/O, so that all of it stands behind one operation (docs/adr/0011). It is imported
when the first such operation is asked for, since that takes long.
"""

from __future__ import annotations

import asyncio
import logging
import warnings
from typing import Any

import asyncssh

from relaywatch.model.canary import holds_answer
from relaywatch.model.errors import ConnectTimeoutError
from relaywatch.model.evidence import Direction
from relaywatch.model.places import Endpoint
from relaywatch.script import ops

from .dialing import Dialer
from .failures import connect_error, written
from .owner import Owner

_MAX_OCTETS_IN = 64 << 10
"""What a server may send in all; a key exchange takes some 5 KiB."""
_PIECE = 8 << 10
"""The library copies what it has not read yet for every packet, so it gets little at a time."""
_MAX_LINE = 255
"""An identification line (RFC 4253 section 4.2)."""
_MAX_HEAD = 8 << 10
"""Lines that may come before it, all together."""
_MAX_HEARD = 4096
_MAX_ERROR = 200

_ALGORITHMS = {
    # No group exchange and no RSA key exchange: there the server names numbers of any size to reckon with.
    "kex_algs": "curve25519-sha256*,ecdh-sha2-nistp*,diffie-hellman-group14-*,diffie-hellman-group16-sha512,"
    "diffie-hellman-group1-sha1",
    "server_host_key_algs": "ssh-ed25519,ecdsa-sha2-nistp*,rsa-sha2-*,ssh-rsa,ssh-dss",
    # Devices that forward for anybody are old; nothing that is said here is a secret.
    "encryption_algs": "+*-ctr,*-cbc,arcfour*",
    "mac_algs": "+*",
    "compression_algs": None,
}
_NOTHING_OF_OURS: dict[str, Any] = {
    "config": None,
    "known_hosts": None,
    "host_key_alias": None,
    "x509_trusted_certs": None,
    "x509_trusted_cert_paths": (),
    "password": None,
    "client_keys": None,
    "client_certs": (),
    "passphrase": None,
    "client_host_keys": None,
    "client_host_keysign": False,
    "agent_path": None,
    "agent_identities": None,
    "agent_forwarding": False,
    "pkcs11_provider": None,
    "host_based_auth": False,
    "gss_auth": False,
    "gss_kex": False,
    "proxy_command": None,
    "canonicalize_hostname": False,
    "x11_forwarding": False,
}
"""No key, password, agent, host key or setting of whoever runs the check."""
_ASKED_FOR = ("publickey", "password", "keyboard-interactive")
"""Methods whose being offered is told; none of them is ever tried (RFC 4252 section 5.1)."""

# The library logs what peers say, and a program without handlers shows warnings on standard error.
logging.getLogger("asyncssh").setLevel(logging.CRITICAL + 1)
# That the key exchange of old devices is old is no news to anybody who looks for them.
warnings.filterwarnings("ignore", message="Diffie-Hellman over finite fields")


class Forwarding:
    """One try at one server; what has come of it so far can be told at any moment."""

    def __init__(self, op: ops.ForwardBySSH, endpoint: Endpoint, dialer: Dialer, owner: Owner) -> None:
        self._op, self._endpoint, self._dialer, self._owner = op, endpoint, dialer, owner
        self._head = bytearray()
        self._octets_in = 0
        self._heard = bytearray()
        self._identification = ""
        self._methods: list[str] = []
        self._is_admitted = self._is_opened = False
        self.source = ""

    async def run(self) -> ops.SSHForwarding:
        """Connect, ask, say the words, and tell what came of it: whatever the server does, and in time.

        :raises NetworkError: if there is no connection to be had.
        """
        error = ""
        try:
            async with asyncio.timeout(self._op.within):
                await self._forward()
        except TimeoutError:
            error = f"not done in {self._op.within:g} s"
            if not self.source:
                raise ConnectTimeoutError(error) from None
        except OSError as failure:
            if not self.source:  # no connection yet, which the script hears as of any other channel
                raise connect_error(failure) from None
            error = str(connect_error(failure))
        except Exception as failure:  # noqa: BLE001 -- whatever the library makes of what the server sends
            error = _in_one_line(str(failure) or type(failure).__name__)
        if self._octets_in > _MAX_OCTETS_IN:
            error = f"more than {_MAX_OCTETS_IN} octets came"
        if error:
            self._note(error)
        return self._told(error)

    # --- from the connection ---------------------------------------------------------------------

    def connected(self, transport: asyncio.BaseTransport) -> None:
        """The server has answered the SYN."""
        here, there = transport.get_extra_info("sockname"), transport.get_extra_info("peername")
        if here is not None and there is not None:
            self.source = here[0]
            self._note(f"connected from {written(here)} to {written(there)}")

    def has_room_for(self, data: bytes) -> bool:
        """Count what came; whether it isn't too much."""
        self._octets_in += len(data)
        self._owner.count(len(data))
        if not self._identification and len(self._head) < _MAX_HEAD:
            self._head += data
            self._identify()
        return self._octets_in <= _MAX_OCTETS_IN

    def admitted(self) -> None:
        """The server has let us in without credentials."""
        self._is_admitted = True
        self._note("admitted without credentials")

    def offered(self, method: str) -> None:
        """The server would take this method instead."""
        self._methods.append(method)

    # --- within ----------------------------------------------------------------------------------

    async def _forward(self) -> None:
        client = await asyncssh.connect(
            str(self._endpoint.address),
            self._endpoint.port,
            tunnel=_Carrier(self, self._dialer, self._endpoint),
            client_factory=lambda: _Client(self),
            username=self._op.username,
            client_username=self._op.username,
            client_version="relaywatch",
            preferred_auth=_ASKED_FOR,
            login_timeout=0,
            keepalive_interval=0,
            **_ALGORITHMS,
            **_NOTHING_OF_OURS,
        )
        try:
            await self._talk(client)
        except BaseException:
            client.abort()
            raise
        else:
            client.close()
        finally:
            await client.wait_closed()

    async def _talk(self, client: asyncssh.SSHClientConnection) -> None:
        reader, writer = await client.open_connection(
            str(self._op.to.address),
            self._op.to.port,
            encoding=None,
            window=_MAX_HEARD,
            max_pktsize=_MAX_HEARD,
        )
        self._is_opened = True
        self._note(f"forwards to {self._op.to}")
        words = self._op.words + b"\r\n"
        self._owner.record(Direction.CLIENT, words)
        writer.write(words)
        while len(self._heard) < _MAX_HEARD and not self._is_answered():
            data = await reader.read(_MAX_HEARD - len(self._heard))
            if not data:
                break
            self._heard += data
            self._owner.record(Direction.SERVER, data)

    def _is_answered(self) -> bool:
        """Whether an answer has come, in a whole line; mail canaries greet before they answer."""
        *lines, _unfinished = self._heard.split(b"\n")
        return any(holds_answer(line.decode("latin-1")) for line in lines)

    def _identify(self) -> None:
        *lines, _unfinished = self._head.split(b"\n")
        for line in lines:
            if line.startswith(b"SSH-"):
                text = bytes(line.removesuffix(b"\r")[:_MAX_LINE]).decode("ascii", "backslashreplace")
                self._identification = _in_one_line(text)
                self._note(f"the server says {self._identification}")
                return

    def _told(self, error: str) -> ops.SSHForwarding:
        return ops.SSHForwarding(
            identification=self._identification,
            is_admitted=self._is_admitted,
            is_opened=self._is_opened,
            heard=bytes(self._heard),
            methods=tuple(dict.fromkeys(self._methods)),
            error=error,
        )

    def _note(self, text: str) -> None:
        self._owner.note(f"SSH: {text}")


class _Client(asyncssh.SSHClient):
    """Has nothing to offer for any method, and notes that it was offered."""

    def __init__(self, forwarding: Forwarding) -> None:
        self._forwarding = forwarding

    def auth_completed(self) -> None:
        self._forwarding.admitted()

    def public_key_auth_requested(self) -> None:
        self._forwarding.offered("publickey")

    def password_auth_requested(self) -> None:
        self._forwarding.offered("password")

    def kbdint_auth_requested(self) -> None:
        self._forwarding.offered("keyboard-interactive")


class _Carrier:
    """What the library opens its connection with: ours, so that it comes from where we come from and is counted."""

    def __init__(self, forwarding: Forwarding, dialer: Dialer, endpoint: Endpoint) -> None:
        self._forwarding, self._dialer, self._endpoint = forwarding, dialer, endpoint

    async def create_connection(self, factory: Any, _host: str, _port: int) -> tuple[Any, Any]:
        """Connect to the endpoint, whatever the library thinks where to."""
        transport, metered = await self._dialer.open(
            lambda: _Metered(self._forwarding, factory()), self._endpoint
        )
        return transport, metered.inner


class _Metered(asyncio.Protocol):
    """Hands the library what comes, up to a limit."""

    def __init__(self, forwarding: Forwarding, inner: asyncio.Protocol) -> None:
        self._forwarding, self.inner = forwarding, inner
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]
        self._forwarding.connected(transport)
        self.inner.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        if not self._forwarding.has_room_for(data):
            if self._transport is not None:
                self._transport.abort()
            return
        for start in range(0, len(data), _PIECE):
            self.inner.data_received(data[start : start + _PIECE])

    def eof_received(self) -> bool | None:
        return self.inner.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self.inner.connection_lost(exc)


def _in_one_line(text: str) -> str:
    shown = "".join(char if char.isprintable() else " " for char in text)
    return " ".join(shown.split())[:_MAX_ERROR]
