"""A small real name server on loopback."""

import contextlib
import socket
import threading

import dns.flags
import dns.message
import dns.rcode
import dns.rrset


@contextlib.contextmanager
def serving(zone):
    """Serve the zone, names and kinds to lists of records; gives the server as a run's setting names it.

    Names that the zone doesn't know don't exist.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        thread = threading.Thread(target=_serve, args=(sock, zone))
        thread.start()
        try:
            yield f"127.0.0.1:{sock.getsockname()[1]}"
        finally:
            sock.sendto(b"", sock.getsockname())
            thread.join(10)
            assert not thread.is_alive()


def _serve(sock, zone):
    while True:
        data, where = sock.recvfrom(4096)
        if not data:
            return
        sock.sendto(_answer(dns.message.from_wire(data), zone).to_wire(), where)


def _answer(query, zone):
    name, kind = query.question[0].name, query.question[0].rdtype.name
    response = dns.message.make_response(query)
    response.flags |= dns.flags.AA
    plain = name.to_text().lower().removesuffix(".")
    records = zone.get((plain, kind), [])
    if records:
        response.answer.append(dns.rrset.from_text(name, 300, "IN", kind, *records))
    elif not any(known == plain for known, _ in zone):
        response.set_rcode(dns.rcode.NXDOMAIN)
    return response
