"""Signs of proxies and their neighbours, against what they say; and what of an answer may be another's."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relaywatch.advice.catalogue import load_catalogue
from relaywatch.script.software import Where, all_signs, recognise, recognise_answer, recognise_words

PLACES = frozenset({Where.FIELD, Where.PAGE, Where.SSH, Where.FTP, Where.TELNET, Where.TURN})
SIGNS = [sign for sign in all_signs() if sign.where in PLACES]
WITHOUT_A_GUIDE = {
    "filezilla-server", "gost", "iis", "iis-ftp", "lighttpd", "litespeed", "mitmproxy", "nghttpx",
    "polipo", "proxy.py",
}  # fmt: skip

# software, version, where, what it says
EXAMPLES = (
    ("squid", "5.7", "field", "server: squid/5.7"),
    ("squid", "6.13-VCS", "field", "via: 1.1 proxy.example.test (squid/6.13-VCS)"),
    ("squid", None, "field", "server: squid"),
    ("squid", None, "field", "x-squid-error: ERR_DNS_FAIL 0"),
    ("squid", None, "field", 'proxy-authenticate: Basic realm="Squid proxy-caching web server"'),
    ("squid", "5.7", "page", "<p>Generated Tue, 24 Nov 2026 09:00:00 GMT by proxy.example.test (squid/5.7)</p>"),
    ("tinyproxy", "1.11.1", "field", "server: tinyproxy/1.11.1"),
    ("tinyproxy", "1.11.1", "field", "proxy-agent: tinyproxy/1.11.1"),
    ("tinyproxy", "1.11.1", "field", "via: 1.1 proxy.example.test (tinyproxy/1.11.1)"),
    ("tinyproxy", None, "field", 'proxy-authenticate: Basic realm="Tinyproxy"'),
    ("privoxy", "3.0.21", "field", "proxy-agent: Privoxy 3.0.21"),
    ("privoxy", "3.0.8", "field", "proxy-agent: Privoxy/3.0.8"),
    ("privoxy", None, "page", "Bad request. Privoxy was unable to extract the destination.\r\n"),
    ("privoxy", None, "page", "Invalid header received from client.\r\n"),
    ("privoxy", None, "page", "<title>503 - Connect failed (Privoxy@proxy.example.test)</title>"),
    ("trafficserver", "9.2.5", "field", "server: ATS/9.2.5"),
    ("trafficserver", "9.2.5", "field", "via: http/1.1 proxy.example.test (ApacheTrafficServer/9.2.5 [cMsSf ])"),
    ("envoy", None, "field", "server: envoy"),
    ("istio-gateway", None, "field", "server: istio-envoy"),
    ("caddy", None, "field", "server: Caddy"),
    ("caddy", None, "field", "via: 1.1 Caddy"),
    ("mitmproxy", "8.1.1", "field", "server: mitmproxy 8.1.1"),
    ("mitmproxy", None, "field", 'proxy-authenticate: Basic realm="mitmproxy"'),
    ("openresty", "1.21.4.1", "field", "server: openresty/1.21.4.1"),
    ("tengine", "2.3.2", "field", "server: Tengine/2.3.2"),
    ("angie", "1.7.0", "field", "server: Angie/1.7.0"),
    ("nginx", "1.22.1", "field", "server: nginx/1.22.1"),
    ("nginx", None, "field", "server: nginx"),
    ("nginx", "1.22.1", "page", "<hr><center>nginx/1.22.1</center>"),
    ("apache", "2.4.62", "field", "server: Apache/2.4.62 (Debian)"),
    ("apache", "2.4.62", "field", "proxy-agent: Apache/2.4.62 (Debian)"),
    ("apache", "2.4.62", "field", "via: 1.1 proxy.example.test (Apache/2.4.62)"),
    ("apache", None, "field", "server: Apache"),
    ("apache", "2.4.62", "page", "<address>Apache/2.4.62 (Debian) Server at web.example.test Port 80</address>"),
    ("varnish", None, "field", "x-varnish: 32770"),
    ("varnish", None, "field", "via: 1.1 cache.example.test (Varnish/7.1)"),
    ("varnish", None, "field", "server: Varnish"),
    ("varnish", None, "page", "<h3>Guru Meditation:</h3><p>XID: 2</p><hr><p>Varnish cache server</p>"),
    ("mikrotik", None, "field", "server: Mikrotik HttpProxy"),
    ("mikrotik", None, "field", "via: 1.1 192.0.2.1 (Mikrotik HttpProxy)"),
    ("mikrotik", None, "page", "Generated Tue, 24 Nov 2026 by 192.0.2.1 (Mikrotik HttpProxy)"),
    ("mikrotik", None, "ssh", "SSH-2.0-ROSSSH"),
    ("mikrotik", "6.48.6", "ftp", "220 gate FTP server (MikroTik 6.48.6) ready"),
    ("wingate", "9.4.5", "field", "server: WinGate 9.4.5"),
    ("wingate", None, "telnet", "WinGate>"),
    ("wingate", None, "telnet", "Wingate Telnet proxy ready"),
    ("wingate", None, "ftp", "220 WinGate Engine FTP Gateway ready"),
    ("ccproxy", "8.0", "field", "proxy-agent: CCProxy 8.0"),
    ("ccproxy", None, "field", 'proxy-authenticate: Basic realm="CCProxy Authorization"'),
    ("ccproxy", None, "telnet", "CCProxy Telnet>CCProxy Telnet Service Ready.\r\n"),
    ("ccproxy", None, "ftp", "220 CCProxy FTP Service"),
    ("polipo", None, "field", "server: Polipo"),
    ("polipo", None, "page", "<hr>Generated Sun, 01 Aug 2021 13:07:07 CDT by Polipo on <em>gate:8123</em>."),
    ("proxy.py", "2.4.3", "field", "proxy-agent: proxy.py v2.4.3"),
    ("nghttpx", None, "field", "server: nghttpx"),
    ("nghttpx", None, "field", "via: 2 nghttpx"),
    ("gost", "2.11.5", "field", "proxy-agent: gost/2.11.5"),
    ("litespeed", None, "field", "server: LiteSpeed"),
    ("iis", "10.0", "field", "server: Microsoft-IIS/10.0"),
    ("lighttpd", "1.4.69", "field", "server: lighttpd/1.4.69"),
    ("3proxy", None, "page", "<body><h2>502 Bad Gateway</h2><h3>Host Not Found or connection failed</h3></body>"),
    ("3proxy", None, "page", "<h2>403 Forbidden</h2><h3>Access denied by access control list</h3>"),
    ("haproxy", None, "page", "<h1>503 Service Unavailable</h1>\nNo server is available to handle this request.\n"),
    ("openssh", "9.2p1", "ssh", "SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3\r\n"),
    ("openssh", "9.5", "ssh", "SSH-2.0-OpenSSH_for_Windows_9.5\r\n"),
    ("dropbear", "2022.83", "ssh", "SSH-2.0-dropbear_2022.83\r\n"),
    ("vsftpd", "3.0.3", "ftp", "220 (vsFTPd 3.0.3)\r\n"),
    ("proftpd", "1.3.8", "ftp", "220 ProFTPD 1.3.8 Server (Debian) [::ffff:192.0.2.7]\r\n"),
    ("proftpd", None, "ftp", "220 ProFTPD Server (Debian) [::ffff:192.0.2.7]\r\n"),
    ("pure-ftpd", None, "ftp", "220---------- Welcome to Pure-FTPd [privsep] [TLS] ----------\r\n"),
    ("filezilla-server", "1.7.3", "ftp", "220-FileZilla Server 1.7.3\r\n"),
    ("filezilla-server", "0.9.60", "ftp", "220-FileZilla Server version 0.9.60 beta\r\n"),
    ("iis-ftp", None, "ftp", "220 Microsoft FTP Service\r\n"),
    ("coturn", "4.6.1", "turn", "Coturn-4.6.1 'Gorst'"),
)  # fmt: skip


@pytest.mark.parametrize(("software", "version", "where", "words"), EXAMPLES)
def test_software_is_recognised_by_its_own_words(software, version, where, words):
    told = recognise(Where(where), words)

    assert told is not None
    assert (software, version) == (told.software.name, told.version)
    assert told.words in words
    assert told.detail == (f"{software} {version}" if version else software)


@pytest.mark.parametrize("sign", SIGNS, ids=lambda sign: f"{sign.software}-{sign.where}-{sign.evidence[:20]}")
def test_every_sign_decides_an_example_and_fits_nobody_elses(sign):
    of_the_place = [(name, words) for name, _, where, words in EXAMPLES if where == sign.where]
    fits = {name for name, words in of_the_place if sign.pattern.search(words)}

    assert fits == {sign.software}
    assert sign.evidence


def test_names_are_the_guides_or_known_to_have_none():
    catalogue = load_catalogue()
    without = {sign.software for sign in SIGNS if catalogue.guide(sign.software) is None}

    assert without == WITHOUT_A_GUIDE


@pytest.mark.parametrize("sign", SIGNS, ids=lambda sign: f"{sign.software}-{sign.where}-{sign.evidence[:20]}")
@pytest.mark.parametrize(
    "word", ["via: ", "server: ", "by ", "<h2>50", "Generated ", "(squid/", "SSH-2.0-", "5."]
)
def test_a_sign_reads_a_hostile_answer_in_time(sign, word):
    sign.pattern.search("server: " + word * (4096 // len(word)))
    sign.pattern.search(word * (4096 // len(word)))


@pytest.mark.parametrize(
    ("where", "words"),
    [
        ("field", "server: relaywatch"),  # our own canary
        ("field", "server: gunicorn"),
        ("field", "server: Apache-Coyote/1.1"),
        ("field", "server: portal"),
        ("field", "x-cache: MISS from squidward.example.test"),
        ("field", "via: 1.1 nginx-front.example.test"),
        ("page", "<h1>How to set up Squid, nginx and Apache</h1>"),
        ("ftp", "220 ftp.example.test ready"),
        ("ssh", "SSH-2.0-Go"),
        ("telnet", "host:port? "),
        ("turn", "None"),
        ("turn", ""),
    ],
)  # fmt: skip
def test_words_that_name_nobody(where, words):
    assert recognise(Where(where), words) is None


def told(fields, body="", *, is_own=True):
    recognition = recognise_answer(fields, body, is_own=is_own)
    return recognition.detail if recognition else None


def test_what_our_canary_may_have_answered_tells_by_what_the_proxy_adds_alone():
    fetched = [("Server", "Apache/2.4.62"), ("Via", "1.1 gate.example.test (squid/5.7)")]

    assert "squid 5.7" == told(fetched, is_own=False)
    assert told([("Server", "nginx/1.22.1")], "<hr><center>nginx/1.22.1</center>", is_own=False) is None


def test_fields_that_name_two_name_nobody():
    assert told([("Server", "nginx"), ("X-Varnish", "32770")]) is None
    assert told([("Server", "nginx"), ("X-Varnish", "3")], "<address>Apache/2.4 Server at") is None


def test_fields_that_agree_tell_the_version_if_any_does():
    assert "squid 5.7" == told([("X-Squid-Error", "ERR_DNS_FAIL 0"), ("Server", "squid/5.7")])


def test_of_several_proxies_the_nearest_counts():
    assert "tinyproxy 1.11.1" == told([("Via", "1.1 far (squid/5.7), 1.1 near (tinyproxy/1.11.1)")])
    assert told([("Via", "1.1 far (squid/5.7), 1.1 near")]) is None


def test_the_page_tells_where_no_field_does():
    assert "haproxy" == told([("Server", "portal")], "No server is available to handle this request.")


def test_first_words_of_a_page_are_its_head_and_body_as_they_came():
    assert (
        "nginx 1.22.1"
        == recognise_words(Where.PAGE, "HTTP/1.1 404 No\r\nServer: nginx/1.22.1\r\n\r\nno").detail
    )
    assert (
        "privoxy"
        == recognise_words(Where.PAGE, "HTTP/1.1 400 No\n\nInvalid header received from client.").detail
    )
    assert recognise_words(Where.PAGE, "HTTP/1.1 200 OK") is None
    assert "dropbear" == recognise_words(Where.SSH, "SSH-2.0-dropbear").detail


@given(st.text(max_size=300), st.sampled_from(sorted(PLACES)))
def test_any_words_are_read(words, where):
    recognition = recognise_words(where, words)

    assert recognition is None or recognition.words in words or where is Where.PAGE


def test_a_version_is_no_sentence():
    hostile = recognise(Where.FIELD, "server: squid/5" + "x" * 500)

    assert ("squid", None) == (hostile.software.name, hostile.version)
    assert all(re.fullmatch(r"[\w.+\-]{1,20}", version) for _, version, _, _ in EXAMPLES if version)
