"""The sandbox's DNS: every name that there is in it, and a quick NXDOMAIN for all others; no recursion."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable, Mapping
from ipaddress import IPv4Address
from typing import cast

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdatatype
import dns.reversename
import dns.rrset

from relaywatch.model.places import Address, Endpoint

_TTL = 5
_LONGEST = 1024
"""Octets of a query."""


class Names:
    """Answers queries over UDP; what it answers fits into a datagram of RFC 1035 section 2.3.4."""

    def __init__(self) -> None:
        self._records: dict[tuple[dns.name.Name, dns.rdatatype.RdataType], list[str]] = {}

    def add_host(self, name: str, addresses: Iterable[Address], *, has_reverse: bool = True) -> None:
        """A name that leads to these addresses, and, unless others do, they back to it."""
        for address in addresses:
            kind = dns.rdatatype.A if isinstance(address, IPv4Address) else dns.rdatatype.AAAA
            self._add(dns.name.from_text(name), kind, str(address))
            if has_reverse:
                self._add(dns.reversename.from_address(str(address)), dns.rdatatype.PTR, f"{name}.")

    def add_exchanges(self, domain: str, hosts: Mapping[str, int]) -> None:
        """A domain's mail exchangers, with their preferences."""
        for host, preference in hosts.items():
            self._add(dns.name.from_text(domain), dns.rdatatype.MX, f"{preference} {host}.")

    def answer(self, wire: bytes) -> bytes | None:
        """The answer to a query; nothing if it is none."""
        try:
            query = dns.message.from_wire(wire)
        except (dns.exception.DNSException, ValueError):
            return None
        if query.flags & dns.flags.QR or query.opcode() != dns.opcode.QUERY or len(query.question) != 1:
            return None
        question = query.question[0]
        response = dns.message.make_response(query, recursion_available=True)
        response.flags |= dns.flags.AA
        texts = self._records.get((question.name, question.rdtype))
        if texts:
            found = dns.rrset.from_text_list(question.name, _TTL, question.rdclass, question.rdtype, texts)
            response.answer.append(found)
        elif not any(name == question.name for name, _ in self._records):
            response.set_rcode(dns.rcode.NXDOMAIN)
        return response.to_wire()

    @contextlib.asynccontextmanager
    async def served(self, *places: Endpoint) -> AsyncIterator[None]:
        """Answer at these places, for as long as it is entered."""
        loop = asyncio.get_running_loop()
        async with contextlib.AsyncExitStack() as stack:
            for place in places:
                transport, _ = await loop.create_datagram_endpoint(
                    lambda: _Port(self), (str(place.address), place.port)
                )
                stack.callback(transport.close)
            yield

    def _add(self, name: dns.name.Name, kind: dns.rdatatype.RdataType, text: str) -> None:
        texts = self._records.setdefault((name, kind), [])
        if text not in texts:
            texts.append(text)


class _Port(asyncio.DatagramProtocol):
    def __init__(self, names: Names) -> None:
        self._names = names
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str | int, ...]) -> None:
        answer = self._names.answer(data) if len(data) <= _LONGEST else None
        if answer is not None and self._transport is not None:
            self._transport.sendto(answer, addr)
