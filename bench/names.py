"""A name server of one answer: every name is 127.0.0.2. nmap's SOCKS script asks nothing without one.

python -m bench.names
"""

from __future__ import annotations

import socket

import dns.exception
import dns.flags
import dns.message
import dns.rdatatype
import dns.rrset

_ADDRESS = ("127.0.0.1", 53)


def answer(query: bytes) -> bytes | None:
    """The reply to a query; nothing to what is none."""
    try:
        asked = dns.message.from_wire(query)
    except dns.exception.DNSException:
        return None
    reply = dns.message.make_response(asked, recursion_available=True)
    for question in asked.question:
        if question.rdtype == dns.rdatatype.A:
            reply.answer.append(dns.rrset.from_text(question.name, 60, "IN", "A", "127.0.0.2"))
    return reply.to_wire()


def main() -> None:
    """Answer until killed."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(_ADDRESS)
        print("ready", flush=True)
        while True:
            query, client = server.recvfrom(4096)
            if reply := answer(query):
                server.sendto(reply, client)


if __name__ == "__main__":
    main()
