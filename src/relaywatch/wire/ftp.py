"""FTP on the wire: reply lines, and the commands that announce a data port (RFC 959, RFC 2428)."""

from __future__ import annotations

import re

from relaywatch.model.errors import LocalProtocolError, RemoteProtocolError
from relaywatch.model.places import Endpoint

REPLY_LINE_LIMIT = 4096
REPLY_LINES_LIMIT = 200
"""Greetings of public servers run to dozens of lines."""

_REPLY_LINE = re.compile(rb"([1-5][0-9]{2})([ -]|\Z)")


def parse_reply_code(line: bytes) -> int:
    """The reply code of a reply's first line (RFC 959 section 4.2).

    :raises RemoteProtocolError: if it is none.
    """
    match = _REPLY_LINE.match(line)
    if match is None:
        raise RemoteProtocolError("not an FTP reply line", line)
    return int(match[1])


def is_first_of_many(line: bytes) -> bool:
    """Whether further lines follow the first one: a hyphen stands behind its code."""
    return line[3:4] == b"-"


def is_last(line: bytes, code: int) -> bool:
    """Whether a later line ends the reply: the same code, and a space; what is between may be anything."""
    return line[:4] == b"%d " % code or line == b"%d" % code


def port_argument(endpoint: Endpoint) -> str:
    """The argument of PORT: four numbers of the address, two of the port (RFC 959 section 5.3.2).

    :raises LocalProtocolError: if the address is one of IPv6.
    """
    if endpoint.address.version != 4:
        raise LocalProtocolError("PORT has no IPv6 addresses")
    return ",".join(str(octet) for octet in endpoint.address.packed + endpoint.port.to_bytes(2, "big"))


def eprt_argument(endpoint: Endpoint) -> str:
    """The argument of EPRT (RFC 2428 section 2)."""
    protocol = 1 if endpoint.address.version == 4 else 2
    return f"|{protocol}|{endpoint.address}|{endpoint.port}|"
