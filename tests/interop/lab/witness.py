"""The receiving end of the proofs of proxies: answers each caller with a word that nobody else knows.

It listens on TCP ports beside the recorder's mail ports, takes HTTP, HTTP inside TLS and a bare line on each
of them, and sends datagrams back. Who came, to which port, and what they said goes to the journal, one JSON
line each. It shares no code with relaywatch.
``python -m tests.interop.lab.witness JOURNAL CERTIFICATE ADDRESS...`` (the file holds key and certificate)
"""

import json
import os
import secrets
import socket
import socketserver
import ssl
import sys
import threading
from pathlib import Path

PORTS = (23, 80, 443, 6667, 40025)
_CLIENT_HELLO = b"\x16"  # content type "handshake": RFC 8446, section 5.1
_PATIENCE = 10.0  # seconds a caller has to say something
_MOST = 4096  # octets of a request that are read


class Journal:
    """What came, a line each; threads share it."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def note(self, source: str, port: int, transport: str, said: bytes) -> str:
        """Write a line, and return its answer."""
        answer = secrets.token_hex(8)
        line = {"source": source, "port": port, "transport": transport, "answer": answer}
        text = said.decode("ascii", "replace").strip()
        os.write(self._descriptor, json.dumps(line | {"said": text}).encode() + b"\n")
        return answer


class _Tcp(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, address: str, port: int, journal: Journal, context: ssl.SSLContext) -> None:
        self.address_family = _family(address)
        self.journal = journal
        self.context = context
        super().__init__((address, port), _Caller)


class _Caller(socketserver.BaseRequestHandler):
    server: _Tcp

    def handle(self) -> None:
        """Read a request, answer it, and hang up."""
        plain: socket.socket = self.request
        plain.settimeout(_PATIENCE)
        try:
            first = plain.recv(1, socket.MSG_PEEK)
            if first == _CLIENT_HELLO:
                with self.server.context.wrap_socket(plain, server_side=True) as inside:
                    self._answer(inside, "tls")
            else:
                self._answer(plain, "tcp")
        except OSError as error:  # a caller that says nothing or goes came all the same
            self._note("tcp", f"({error})".encode())

    def _answer(self, link: socket.socket, transport: str) -> None:
        said = _read(link)
        answer = self._note(transport, said).encode()
        if b" HTTP/1" in said.split(b"\n", 1)[0]:
            # As web servers do: a tunnel is not to be had here, whoever passed the request on.
            status = (
                b"200 OK" if said.startswith((b"GET ", b"HEAD ", b"POST ")) else b"405 Method Not Allowed"
            )
            head = b"HTTP/1.1 %s\r\nContent-Type: text/plain\r\nCache-Control: no-store\r\n" % status
            answer = head + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % (len(answer) + 1) + answer
        link.sendall(answer + b"\n")

    def _note(self, transport: str, said: bytes) -> str:
        return self.server.journal.note(
            self.client_address[0], self.server.server_address[1], transport, said
        )


class _Udp(socketserver.ThreadingUDPServer):
    daemon_threads = True

    def __init__(self, address: str, port: int, journal: Journal) -> None:
        self.address_family = _family(address)
        self.journal = journal
        super().__init__((address, port), _Datagram)


class _Datagram(socketserver.BaseRequestHandler):
    server: _Udp

    def handle(self) -> None:
        """Answer a line with our word; send anything else back as it came, as turnutils want it."""
        data, link = self.request
        answer = self.server.journal.note(self.client_address[0], self.server.server_address[1], "udp", data)
        is_line = data.endswith(b"\n") and data.isascii()
        link.sendto(answer.encode() + b"\n" if is_line else data, self.client_address)


def _read(link: socket.socket) -> bytes:
    """Return what comes up to the end of a request: an empty line in HTTP, else the end of a line."""
    said = b""
    while len(said) < _MOST and (more := link.recv(_MOST)):
        said += more
        first, ends, _ = said.partition(b"\n")
        if ends and (b" HTTP/1" not in first or b"\r\n\r\n" in said):
            break
    return said[:_MOST]


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def serve(path: Path, certificate: Path, addresses: list[str]) -> None:
    """Listen until killed."""
    journal = Journal(path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    servers: list[socketserver.BaseServer] = []
    for address in addresses:
        for port in PORTS:
            servers += [_Tcp(address, port, journal, context), _Udp(address, port, journal)]
    for server in servers:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    threading.Event().wait()


if __name__ == "__main__":
    serve(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
