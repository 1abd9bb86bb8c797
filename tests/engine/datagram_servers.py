"""Small real UDP servers on loopback, and ICMP."""

import socket
import struct
import threading
from contextlib import contextmanager, suppress
from ipaddress import ip_address

from relaywatch.model.places import Endpoint


@contextmanager
def answering(behave, address="127.0.0.1", port=0):
    """A UDP server: the behaviour gets its socket, each datagram, and who sent it."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.bind((address, port))
        thread = threading.Thread(target=_serve, args=(sock, behave))
        thread.start()
        try:
            yield Endpoint(ip_address(address), sock.getsockname()[1])
        finally:
            with socket.socket(family, socket.SOCK_DGRAM) as last:
                last.sendto(b"the end of the test", sock.getsockname())
            thread.join(10)
            assert not thread.is_alive()


def _serve(sock, behave):
    while True:
        datagram, sender = sock.recvfrom(65536)
        if datagram == b"the end of the test":
            return
        with suppress(OSError):
            behave(sock, datagram, sender)


def echo(sock, datagram, sender):
    sock.sendto(datagram, sender)


@contextmanager
def flooding(words):
    """A peer that never stops once it is asked."""
    over = threading.Event()

    def flood(sock):
        _, sender = sock.recvfrom(100)
        while not over.is_set():
            with suppress(OSError):
                sock.sendto(words, sender)

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        thread = threading.Thread(target=flood, args=(sock,))
        thread.start()
        try:
            yield Endpoint(ip_address("127.0.0.1"), sock.getsockname()[1])
        finally:
            over.set()
            thread.join(10)
            assert not thread.is_alive()


@contextmanager
def unused(address="127.0.0.1"):
    """A UDP port where nobody listens."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.bind((address, 0))
        port = sock.getsockname()[1]
    yield Endpoint(ip_address(address), port)


def icmp_from_the_host(kind, code, sender, to):
    """An ICMP error about a datagram that was sent, as a router on the way would have it."""
    here, there = (socket.inet_aton(address) for address in (sender[0], to[0]))
    ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 28, 0, 0, 64, socket.IPPROTO_UDP, 0, here, there)
    message = struct.pack("!BBHI", kind, code, 0, 0) + ip + struct.pack("!HHHH", sender[1], to[1], 8, 0)
    total = sum(struct.unpack(f"!{len(message) // 2}H", message))
    total = (total & 0xFFFF) + (total >> 16)
    checksum = ~(total + (total >> 16)) & 0xFFFF
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as raw:
        raw.sendto(message[:2] + struct.pack("!H", checksum) + message[4:], (sender[0], 0))
