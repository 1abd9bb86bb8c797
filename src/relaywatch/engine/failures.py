"""What the kernel says of a connection, in our own errors and words."""

from __future__ import annotations

import errno

from relaywatch.model.errors import (
    ConnectRefusedError,
    ConnectTimeoutError,
    PeerClosedError,
    UnreachableError,
)


def connect_error(failure: BaseException) -> Exception:
    """The error that a failure to connect is for a script; a fault of ours if it is no failure of the network."""
    if isinstance(failure, ConnectionRefusedError):
        return ConnectRefusedError("nobody listens there")
    if isinstance(failure, TimeoutError):
        return ConnectTimeoutError("nothing answered")
    if isinstance(failure, ConnectionError):
        return PeerClosedError(f"the peer reset the connection ({words(failure)})")
    if isinstance(failure, OSError):
        return UnreachableError(words(failure))
    return RuntimeError(f"could not connect: {failure!r}")


def datagram_error(failure: OSError) -> Exception:
    """The error that a failure of a UDP socket is for a script: mostly what ICMP said (RFC 1122 section 4.1.3.3)."""
    if isinstance(failure, ConnectionRefusedError):
        return ConnectRefusedError("nobody listens there")
    return UnreachableError(words(failure))


def words(failure: BaseException) -> str:
    """The failure in a word: the name of its number, if it has one."""
    number = getattr(failure, "errno", None)
    return errno.errorcode.get(number, str(failure)) if number else (str(failure) or type(failure).__name__)


def written(address: tuple[str, int]) -> str:
    """A socket's address as an endpoint is written."""
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
