"""SOCKS4 dialogues over a link: CONNECT by address, and by name as SOCKS4a has it."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv6Address

from relaywatch.model.tokens import Token
from relaywatch.wire import socks4 as wire
from relaywatch.wire.socks4 import ReplyCode

from .brief import Brief
from .link import Link
from .socks5 import noted_host
from .tunnels import Answer, Destination, Opening

_DETAILS = {
    ReplyCode.NO_IDENTD: "asks for an identd on the client",
    ReplyCode.OTHER_USER: "the client's identd names another user",
}


def with_ipv4_alone(brief: Brief) -> Brief:
    """The same brief without the canaries that SOCKS4 can't name, whatever family the door has."""
    addresses = tuple(address for address in brief.canaries.addresses if address.version == 4)
    return replace(brief, canaries=replace(brief.canaries, addresses=addresses))


async def connect(link: Link, brief: Brief, destination: Destination, token: Token) -> Opening:
    """Ask for a tunnel; with a yes, the link is the tunnel.

    :raises RemoteProtocolError: if what comes is no SOCKS4.
    """
    host = noted_host(brief, destination, token)
    command = f"CONNECT {host}:{destination.port}"
    if isinstance(host, IPv6Address):
        return Opening(answer=Answer.NO, detail="SOCKS4 has no IPv6 addresses", command=command)
    await link.send(wire.encode_connect(host, destination.port))
    head = await link.read_exactly(2, within=brief.patience.tunnel)
    code = wire.parse_reply_code(head)
    reply = f"CD {code} {code.name.lower().replace('_', ' ')}"
    if code is not ReplyCode.GRANTED:  # of a refusal some servers send no more than that
        return Opening(answer=Answer.NO, reply=reply, detail=_DETAILS.get(code, ""), command=command)
    await link.read_exactly(wire.REPLY_OCTETS - len(head), within=brief.patience.reply)
    return Opening(answer=Answer.YES, reply=reply, command=command, stream=link)
