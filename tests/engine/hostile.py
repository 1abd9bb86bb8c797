"""Small real servers on loopback that behave as badly as they are told to."""

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from ipaddress import ip_address

from relaywatch.model.places import Endpoint

Behaviour = Callable[[socket.socket, threading.Event], None]


@contextmanager
def serving(behave: Behaviour, address: str = "127.0.0.1") -> Iterator[Endpoint]:
    """Serve connections one after another; the behaviour gets each, and an event that says it's over."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    over = threading.Event()
    with socket.create_server((address, 0), family=family) as listener:
        endpoint = Endpoint(ip_address(address), listener.getsockname()[1])
        thread = threading.Thread(target=_accept, args=(listener, behave, over))
        thread.start()
        try:
            yield endpoint
        finally:
            over.set()
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            thread.join(10)
            assert not thread.is_alive()


@contextmanager
def serving_each(behave: Behaviour, address: str = "127.0.0.1") -> Iterator[Endpoint]:
    """Serve connections all at once, each by a thread of its own."""
    threads = []

    def hand_over(connection: socket.socket, over: threading.Event) -> None:
        own = connection.dup()
        own.settimeout(5)
        threads.append(threading.Thread(target=_serve, args=(own, behave, over)))
        threads[-1].start()

    with serving(hand_over, address) as endpoint:
        yield endpoint
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()


def _serve(connection: socket.socket, behave: Behaviour, over: threading.Event) -> None:
    with connection, suppress(OSError):
        behave(connection, over)


def _accept(listener: socket.socket, behave: Behaviour, over: threading.Event) -> None:
    while not over.is_set():
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        connection.settimeout(5)
        with connection, suppress(OSError):
            behave(connection, over)


def reset(connection: socket.socket) -> None:
    """Close with a RST."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def saying(*words: bytes) -> Behaviour:
    """Say each of the words, the first at once, each other when something has come; then close."""

    def behave(connection: socket.socket, over: threading.Event) -> None:
        for number, word in enumerate(words):
            if number:
                connection.recv(65536)
            connection.sendall(word)
        while connection.recv(65536):  # no reset because of unread octets
            pass

    return behave


def silent(connection: socket.socket, over: threading.Event) -> None:
    """Say and read nothing."""
    over.wait(10)


@contextmanager
def nobody(address: str = "127.0.0.1") -> Iterator[Endpoint]:
    """A port where nobody listens, and that nobody else gets meanwhile."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as holder:
        holder.bind((address, 0))
        yield Endpoint(ip_address(address), holder.getsockname()[1])


@contextmanager
def deaf(address: str = "127.0.0.1") -> Iterator[Endpoint]:
    """A listener whose queue is full, so that Linux answers no further SYN."""
    with socket.create_server((address, 0), backlog=0) as listener:
        where = listener.getsockname()
        callers = [socket.socket() for _ in range(4)]
        for caller in callers:
            caller.setblocking(False)
            caller.connect_ex(where)
        try:
            yield Endpoint(ip_address(address), where[1])
        finally:
            for caller in callers:
                caller.close()
