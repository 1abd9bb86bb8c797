"""What holds for every test: hypothesis profiles, and that no test but the lab's leaves the machine."""

import os
import socket
import sys
from ipaddress import ip_address

import pytest
from hypothesis import HealthCheck, settings

# The suite says the same twice; `make deep` looks further, with other examples each time.
settings.register_profile("fast", max_examples=25, deadline=None, derandomize=True)
settings.register_profile("ci", max_examples=200, deadline=None)
settings.register_profile(
    "deep", max_examples=20_000, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fast"))

try:
    import uvloop
except ImportError:  # pragma: no cover
    uvloop = None


class LeavesTheMachineError(BaseException):
    """A test tried to reach something that isn't loopback; no ``except Exception`` swallows it."""


class _Guard:
    """Looks at every address that is connected or sent to, while it is up."""

    is_up = False

    def hook(self, event, arguments):
        if not self.is_up or event not in {"socket.connect", "socket.sendto", "socket.sendmsg"}:
            return
        sends_nothing = event == "socket.connect" and arguments[0].type == socket.SOCK_DGRAM
        if not sends_nothing:  # connecting a datagram socket asks only our own routing table
            self.check(arguments[1])

    def check(self, address):
        """:raises LeavesTheMachineError: if it is an internet address other than loopback."""
        if not self.is_up or not isinstance(address, tuple) or address[0] is None:
            return  # a local socket, or one that is connected already
        host = str(address[0])
        if host in {"localhost", ""}:
            return
        try:
            parsed = ip_address(host)
        except ValueError:
            raise LeavesTheMachineError(f"looks up {host!r}") from None
        # The unspecified address means this machine itself.
        if not (parsed.is_loopback or parsed.is_unspecified):
            raise LeavesTheMachineError(f"reaches out to {host}")


_guard = _Guard()
# An audit hook sees what C code does with Python's sockets; one can't be taken down again.
sys.addaudithook(_guard.hook)


def _watch(loop_class, method):
    """libuv connects past Python's sockets, so that uvloop's own methods have to be watched."""
    original = getattr(loop_class, method)

    async def watched(self, factory, host=None, port=None, **options):
        if host is not None:
            _guard.check((host, port))
        return await original(self, factory, host, port, **options)

    setattr(loop_class, method, watched)


if uvloop is not None:
    _watch(uvloop.Loop, "create_connection")
    _original_sock_connect = uvloop.Loop.sock_connect

    async def _watched_sock_connect(self, sock, address):
        _guard.check(address)
        return await _original_sock_connect(self, sock, address)

    uvloop.Loop.sock_connect = _watched_sock_connect


@pytest.fixture(autouse=True)
def _no_test_leaves_the_machine(request):
    """Refuse every connect but loopback, save for the lab, whose traffic stays in its own namespaces."""
    if request.node.get_closest_marker("interop") is not None:
        yield
        return
    _guard.is_up = True
    try:
        yield
    finally:
        _guard.is_up = False
