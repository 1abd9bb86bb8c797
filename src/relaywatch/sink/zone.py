"""The DNS zone of our canaries: every name in it leads to our sink; no socket, no clock.

Authoritative for one zone and nothing else (RFC 1034 section 4.3.1): no recursion, no transfers, no errors
for what can't be read, since whoever sends that may lie about where it comes from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset

from relaywatch.model.places import Address

_TTL = 0
"""Of addresses and of their absence: nobody is to remember them, so that each look-up comes to us."""
_APEX_TTL = 300
_EACH_FAMILY = 4
"""Addresses of each, so that an answer fits into the smallest datagram."""
_PAYLOAD = 1232
_PLAIN_DATAGRAM = 512
"""Octets (RFC 1035 section 4.2.1)."""
_ADDRESSES = frozenset({dns.rdatatype.A, dns.rdatatype.AAAA, dns.rdatatype.ANY})
_TRANSFERS = frozenset({dns.rdatatype.AXFR, dns.rdatatype.IXFR})


@dataclass(frozen=True, slots=True)
class Look:
    """An answer, and the labels below the zone whose address was asked for."""

    answer: bytes
    labels: tuple[str, ...] = ()


class Zone:
    """Answers queries for one zone."""

    def __init__(self, name: str, addresses: Sequence[Address], *, server: str | None) -> None:
        """``server`` is the name server's name, if it has one outside of the zone.

        :raises ValueError: if a name is none.
        """
        try:
            self._name = dns.name.from_text(name)
            self._server = (
                dns.name.from_text(server) if server else dns.name.Name([b"ns", *self._name.labels])
            )
        except dns.exception.DNSException as error:
            raise ValueError(f"{name!r} is no domain: {error}") from error
        self._addresses = {
            dns.rdatatype.A: [str(one) for one in addresses if one.version == 4][:_EACH_FAMILY],
            dns.rdatatype.AAAA: [str(one) for one in addresses if one.version == 6][:_EACH_FAMILY],
        }

    def look(self, wire: bytes) -> Look | None:
        """Answer a query; nothing if it can't be read, or is none."""
        try:
            query = dns.message.from_wire(wire, ignore_trailing=True)
        except (dns.exception.DNSException, ValueError):
            return None
        if query.flags & dns.flags.QR:
            return None  # two servers would go on for ever
        response = dns.message.make_response(query, our_payload=_PAYLOAD)
        labels: tuple[str, ...] = ()
        if query.opcode() != dns.opcode.QUERY:
            response.set_rcode(dns.rcode.NOTIMP)
        elif len(query.question) != 1:
            response.set_rcode(dns.rcode.FORMERR)
        else:
            labels = self._answer(query.question[0], response)
        return Look(response.to_wire(max_size=_PLAIN_DATAGRAM, prefer_truncation=True), labels)

    def _answer(self, question: dns.rrset.RRset, response: dns.message.Message) -> tuple[str, ...]:
        name, kind = question.name, question.rdtype
        is_ours = question.rdclass == dns.rdataclass.IN and name.is_subdomain(self._name)
        if not is_ours or kind in _TRANSFERS:
            response.set_rcode(dns.rcode.REFUSED)
            return ()
        response.flags |= dns.flags.AA
        response.answer += self._records(name, kind)
        if not response.answer:
            response.authority.append(self._start_of_authority(_TTL))
        if kind not in _ADDRESSES:
            return ()
        below = name.labels[: len(name.labels) - len(self._name.labels)]
        return tuple(label.decode("latin-1") for label in below)

    def _records(self, name: dns.name.Name, kind: dns.rdatatype.RdataType) -> list[dns.rrset.RRset]:
        if name == self._name and kind == dns.rdatatype.SOA:
            return [self._start_of_authority(_APEX_TTL)]
        if name == self._name and kind == dns.rdatatype.NS:
            return [dns.rrset.from_text(name, _APEX_TTL, "IN", "NS", self._server.to_text())]
        return [
            dns.rrset.from_text_list(name, _TTL, "IN", family, texts)
            for family, texts in self._addresses.items()
            if texts and kind in {family, dns.rdatatype.ANY}
        ]

    def _start_of_authority(self, ttl: int) -> dns.rrset.RRset:
        person = dns.name.Name([b"hostmaster", *self._name.labels])
        text = f"{self._server} {person} 1 3600 600 86400 {_TTL}"
        return dns.rrset.from_text(self._name, ttl, "IN", "SOA", text)
