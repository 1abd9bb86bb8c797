"""Ports of this machine for the servers of tests."""

import socket


def free_port(host="127.0.0.1"):
    """A port that nobody has just now."""
    with socket.socket() as sock:
        sock.bind((host, 0))
        return sock.getsockname()[1]
