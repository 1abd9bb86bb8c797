"""The world's proxies by clients that know nothing of them: the open lead to loopback alone, the others do as they say."""

import http.client
import shutil
import smtplib
import socket
import struct
import subprocess
import threading

import pytest
from tests.demo.envelopes import PLAIN, US, fresh_mark, offer

BANNER = b"220 behind.example here\r\n"
ELSEWHERE = ["192.0.2.1", "198.51.100.7", "10.0.0.1", "elsewhere.example", "0.0.0.0"]


class Behind:
    """A server on loopback that greets, echoes a line, and notes who came."""

    def __init__(self):
        self.came_from, self.heads = [], []
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            try:
                connection, peer = self._socket.accept()
            except OSError:
                return
            self.came_from.append(peer[0])
            with connection:
                connection.settimeout(5)
                connection.sendall(BANNER)
                self.heads.append(connection.recv(4096))

    def close(self):
        self._socket.close()


@pytest.fixture
def behind():
    server = Behind()
    yield server
    server.close()


def ask(place, *octets, until=b"", limit=4096):
    """Say the octets one after the other, each behind an answer, and give all that came."""
    with socket.create_connection(("127.0.0.1", place.port), 5) as client:
        said = b""
        for one in octets:
            client.sendall(one)
            said += client.recv(limit)
        while until and until not in said and (more := client.recv(limit)):
            said += more
        return said


def connect_to(host, port):
    return f"CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode()


def socks4(host, port):
    if host[0].isdigit():
        return b"\x04\x01" + struct.pack("!H", port) + socket.inet_aton(host) + b"\0"
    return b"\x04\x01" + struct.pack("!H", port) + b"\0\0\0\x01\0" + host.encode() + b"\0"


def socks5(host, port, command=1):
    if host[0].isdigit():
        place = b"\x01" + socket.inet_aton(host)
    else:
        place = b"\x03" + bytes([len(host)]) + host.encode()
    return bytes([5, command, 0]) + place + struct.pack("!H", port)


@pytest.mark.parametrize("name", ["proxy", "connect-only", "chain"])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "sink.localhost"])
def test_a_tunnel_leads_to_this_machine_from_an_address_of_its_own(places, behind, name, host):
    said = ask(places[name], connect_to(host, behind.port), until=BANNER)

    assert said.startswith(b"HTTP/1.1 200 ")
    assert said.endswith(BANNER)
    assert ["127.0.0.9"] == behind.came_from


@pytest.mark.parametrize("name", ["proxy", "connect-only", "chain"])
@pytest.mark.parametrize("host", ELSEWHERE)
def test_a_tunnel_leads_nowhere_else(places, name, host):
    assert ask(places[name], connect_to(host, 80)).startswith(b"HTTP/1.1 502 ")


def test_odd_line_ends_evade_the_filter_and_even_ones_do_not(places, behind):
    asked = connect_to("127.0.0.1", behind.port)

    assert ask(places["odd-line-ends"], asked).startswith(b"HTTP/1.1 403 ")
    assert ask(places["odd-line-ends"], b"\r\n" + asked, until=BANNER).endswith(BANNER)
    assert ask(places["odd-line-ends"], b"\r\n" + connect_to("192.0.2.1", 80)).startswith(b"HTTP/1.1 502 ")


@pytest.mark.parametrize("name", ["proxy", "forward-only"])
def test_absolute_uris_are_fetched_from_this_machine_and_nowhere_else(places, behind, name):
    own = f"GET http://127.0.0.1:{behind.port}/c/x HTTP/1.1\r\nHost: a\r\n\r\n".encode()
    other = b"GET http://192.0.2.1/ HTTP/1.1\r\nHost: 192.0.2.1\r\n\r\n"

    assert BANNER in ask(places[name], own, until=BANNER)
    assert ask(places[name], other).startswith(b"HTTP/1.1 502 ")
    assert ask(places[name], other.replace(b"http:", b"ftp:")).startswith(b"HTTP/1.1 502 ")


def test_the_one_without_connect_says_so(places, behind):
    assert ask(places["forward-only"], connect_to("127.0.0.1", behind.port)).startswith(b"HTTP/1.1 403 ")
    assert [] == behind.came_from


def test_the_misrouting_one_heeds_the_host_that_is_named(places, behind):
    asked = "GET {} HTTP/1.1\r\nHost: {}\r\n\r\n"
    own, away = f"127.0.0.1:{behind.port}", "192.0.2.1"

    assert BANNER in ask(places["misrouting"], asked.format("/c/x", own).encode(), until=BANNER)
    assert ask(places["misrouting"], asked.format("/c/x", away).encode()).startswith(b"HTTP/1.1 502 ")
    assert ask(places["misrouting"], asked.format("/", own).encode()).startswith(b"HTTP/1.1 404 ")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_socks_of_both_versions_leads_to_this_machine(places, behind, host):
    four = ask(places["socks"], socks4(host, behind.port), until=BANNER)
    five = ask(places["socks"], b"\x05\x01\x00", socks5(host, behind.port), until=BANNER)

    assert four == b"\0\x5a" + bytes(6) + BANNER
    assert five == b"\x05\x00" + b"\x05\x00\x00\x01" + bytes(6) + BANNER
    assert ["127.0.0.9", "127.0.0.9"] == behind.came_from


@pytest.mark.parametrize("host", [host for host in ELSEWHERE if host != "0.0.0.0"])
def test_socks_leads_nowhere_else(places, host):
    assert ask(places["socks"], socks4(host, 80)).startswith(b"\0\x5b")
    assert ask(places["socks"], b"\x05\x01\x00", socks5(host, 80)).startswith(b"\x05\x00\x05\x05")


def test_socks_knows_connect_alone(places, behind):
    assert ask(places["socks"], b"\x05\x01\x00", socks5("127.0.0.1", behind.port, 2))[2:4] == b"\x05\x07"
    assert [] == behind.came_from


def test_socks_for_users_takes_nobody_else(places):
    assert b"\x05\xff" == ask(places["socks-for-users"], b"\x05\x01\x00")
    assert b"" == ask(places["socks-for-users"], socks4("127.0.0.1", 80))


def test_the_telnet_gateway_leads_to_this_machine_and_nowhere_else(places, behind):
    own = ask(places["telnet-gateway"], f"telnet 127.0.0.1 {behind.port}\r\n".encode(), until=BANNER)
    away = ask(places["telnet-gateway"], b"192.0.2.1:80\r\n", until=b"not found")

    assert own.startswith(b"gateway>")
    assert own.endswith(BANNER)
    assert away.endswith(b"Host not found\r\n")


def test_pages_that_are_no_proxy_by_a_client_of_the_standard_library(places):
    asked = {}
    for name in ("web-server", "welcomes-all", "captive-portal", "proxy-for-users"):
        client = http.client.HTTPConnection("127.0.0.1", places[name].port, timeout=5)
        client.request("GET", "http://192.0.2.1/")
        reply = client.getresponse()
        asked[name] = reply.status, reply.getheader("Location"), reply.getheader("Proxy-Authenticate")
        client.close()

    assert {
        "web-server": (404, None, None),
        "welcomes-all": (200, None, None),
        "captive-portal": (302, "http://portal.example/login", None),
        "proxy-for-users": (407, None, 'Basic realm="staff"'),
    } == asked


@pytest.mark.parametrize(
    ("name", "status"),
    [("web-server", 405), ("welcomes-all", 200), ("captive-portal", 302), ("proxy-for-users", 407)],
)
def test_none_of_them_connects(places, behind, name, status):
    said = ask(places[name], connect_to("127.0.0.1", behind.port))

    assert said.startswith(f"HTTP/1.1 {status} ".encode())
    assert [] == behind.came_from


def test_honeypots_say_yes_and_connect_nowhere(places, behind):
    assert ask(places["tunnel-to-nowhere"], connect_to("127.0.0.1", behind.port)).startswith(b"HTTP/1.1 200 ")
    five = ask(places["socks-to-nowhere"], b"\x05\x01\x00", socks5("127.0.0.1", behind.port))
    assert b"\x05\x00\x05\x00" == five[:4]
    assert ask(places["socks-to-nowhere"], socks4("127.0.0.1", behind.port)).startswith(b"\0\x5a")
    assert [] == behind.came_from


def test_the_mail_server_behind_refuses_strangers_and_takes_the_proxy(places, recorder):
    place, mark = places["behind-proxy"], fresh_mark()
    refused = offer("127.0.0.1", place.port, PLAIN, fresh_mark(), "papaya.example")

    with socket.create_connection(("127.0.0.1", places["chain"].port), 5) as tunnel:
        tunnel.sendall(connect_to("127.0.0.1", place.port))
        head = b""
        while b"\r\n\r\n" not in head:
            head += tunnel.recv(1)
        client = smtplib.SMTP(local_hostname=US, timeout=5)
        client.sock = tunnel
        assert 220 == client.getreply()[0]
        client.sendmail("stranger@elsewhere.example", [f"{mark}@sink.example"], f"Subject: {mark}\r\n\r\nx")

    assert not refused.taken
    assert recorder.wait_for(mark) is not None


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
@pytest.mark.parametrize(("name", "scheme"), [("proxy", "http"), ("socks", "socks5h"), ("socks", "socks4a")])
def test_curl_agrees(places, name, scheme):
    """By way of the proxy, curl fetches the web server's own page, and nothing from elsewhere."""

    def curl(url):
        proxy = f"{scheme}://127.0.0.1:{places[name].port}"
        command = ["curl", "-q", "-sS", "-m", "8", "-x", proxy, "--noproxy", "", "-w", "%{http_code}", url]
        return subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)

    own = curl(f"http://localhost:{places['web-server'].port}/")
    away = curl("http://elsewhere.example/")

    assert own.stdout.endswith("It works.404")
    assert "It works" not in away.stdout.replace("It works.502", "")
    assert away.returncode != 0 or away.stdout.endswith("502")
