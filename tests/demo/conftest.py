import socket

import pytest
from tests.demo.backdrop import Backdrop


@pytest.fixture(scope="session")
def backdrop():
    with Backdrop() as running:
        yield running


@pytest.fixture
def places(backdrop):
    return backdrop.places


@pytest.fixture
def recorder(backdrop):
    return backdrop.recorder


def _has_ipv6():
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


HOSTS = [
    "127.0.0.1",
    pytest.param("::1", marks=pytest.mark.skipif(not _has_ipv6(), reason="this machine has no ::1")),
]


@pytest.fixture(params=HOSTS)
def host(request):
    return request.param
