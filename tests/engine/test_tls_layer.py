"""The TLS layer alone, against OpenSSL's server side."""

import shutil
import socket
import ssl
import subprocess
from contextlib import contextmanager, suppress
from ipaddress import ip_address

import pytest

from relaywatch.engine.tls import TLSLayer, lenient_context
from relaywatch.model.places import Endpoint

from .test_tls import CERTIFICATE, server_context


def test_octets_that_come_one_by_one_lose_nothing():
    """The layer alone, against OpenSSL's own server side, handed over octet by octet."""
    server_in, server_out = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = server_context("TLSv1_2").wrap_bio(server_in, server_out, server_side=True)
    layer = TLSLayer(lenient_context(), "mail.example.test")
    is_done = False
    for _ in range(10):
        is_done = layer.handshake()
        server_in.write(layer.outgoing())
        with suppress(ssl.SSLWantReadError):
            server.do_handshake()
        for octet in server_out.read():
            layer.feed(bytes([octet]))
        if is_done:
            break
    layer.write(b"EHLO x\r\n" * 10_000)
    server_in.write(layer.outgoing())
    heard = b""
    with suppress(ssl.SSLWantReadError):
        while True:
            heard += server.read(65536)

    assert is_done
    assert b"EHLO x\r\n" * 10_000 == heard


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the openssl command")
def test_what_is_said_during_a_renegotiation_is_said_after_it(tmp_path):
    """OpenSSL's own server renegotiates on the command ``R``, which Python's ``ssl`` can't."""
    layer = TLSLayer(lenient_context(), None)
    with (
        openssl_server(tmp_path) as (server, endpoint),
        socket.create_connection((str(endpoint.address), endpoint.port), timeout=5) as sock,
    ):
        while not layer.handshake():
            sock.sendall(layer.outgoing())
            layer.feed(sock.recv(65536))
        sock.sendall(layer.outgoing())
        layer.read()
        server.stdin.write("R\n")
        server.stdin.flush()
        layer.feed(sock.recv(65536))
        assert (b"", False) == layer.read()
        client_hello = layer.outgoing()
        layer.write(b"in ")
        layer.write(b"between\n")
        held_back = layer.outgoing()
        sock.sendall(client_hello)
        heard = server_lines(server)
        while layer._unsent:
            layer.feed(sock.recv(65536))
            layer.read()
            sock.sendall(layer.outgoing())

        assert (True, b"") == (bool(client_hello), held_back)
        assert "in between\n" in heard


def server_lines(server):
    """The lines that the server prints, as they come."""
    return iter(server.stdout.readline, "")


@contextmanager
def openssl_server(folder):
    (folder / "key.pem").write_bytes(CERTIFICATE.private_key_pem.bytes())
    (folder / "cert.pem").write_bytes(CERTIFICATE.cert_chain_pems[0].bytes())
    with subprocess.Popen(
        [
            *("openssl", "s_server", "-4", "-accept", "127.0.0.1:0", "-tls1_2"),
            *("-key", folder / "key.pem", "-cert", folder / "cert.pem"),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as server:
        try:
            for line in server.stdout:
                if line.startswith("ACCEPT "):
                    break
            yield server, Endpoint(ip_address("127.0.0.1"), int(line.rpartition(":")[2]))
        finally:
            server.kill()
