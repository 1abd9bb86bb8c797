"""The error tree, which tells whose fault it was."""

from __future__ import annotations


class RelaywatchError(Exception):
    """Anything that relaywatch itself raises."""


class UsageError(RelaywatchError):
    """The user asked for something that can't be: exit code 2."""


class NetworkError(RelaywatchError):
    """The network, or the peer's host, ended an operation; thrown into the script by the engine."""


class ConnectRefusedError(NetworkError):
    """The peer's host answered the SYN with a reset: no listener."""


class ConnectTimeoutError(NetworkError):
    """Nothing answered the SYN."""


class UnreachableError(NetworkError):
    """A router, or our own host, said that there is no way."""


class ReadTimeoutError(NetworkError):
    """The peer was silent for longer than the operation allows."""


class AttemptTimeoutError(NetworkError):
    """The whole attempt took longer than it may; the peer spoke, but slowly."""


class PeerClosedError(NetworkError):
    """The peer closed or reset the connection while more was expected."""


class TLSFailedError(NetworkError):
    """The TLS handshake failed."""


class TLSRefusedError(TLSFailedError):
    """The peer answered our hello by an alert, or in no TLS: it spoke for itself."""


class NotPermittedError(RelaywatchError):
    """The target led us to an address that isn't its own and that no permission covers."""


class LimitError(RelaywatchError):
    """The script or the peer passed a limit of octets or operations."""


class InterruptedRunError(RelaywatchError):
    """The run was told to stop; what was gathered is kept."""


class ProtocolError(RelaywatchError):
    """A rule of the protocol was broken."""


class LocalProtocolError(ProtocolError):
    """We were about to break it: a fault of ours."""


class RemoteProtocolError(ProtocolError):
    """The peer broke it.

    ``data`` holds the octets at fault, cut to 200.
    """

    def __init__(self, message: str, data: bytes = b"") -> None:
        super().__init__(message)
        self.data = data[:200]
