"""The probes of HTTP's other proxies and of SNI proxies, end to end: real proxies on loopback, our own sink."""

import asyncio
import re
import ssl
from contextlib import asynccontextmanager, suppress

import aiohttp
import pytest
import trustme
from aiohttp import web
from tests.http2_peer import Http2Peer
from tests.ports import free_port
from tests.probes.loopback import NAME, carry, serving, world

from relaywatch.model.evidence import Fact
from relaywatch.model.places import Endpoint, Transport, parse_address
from relaywatch.model.verdicts import Verdict
from relaywatch.probes import http2_connect, http_forward, http_misrouting, sni_proxy
from relaywatch.rules.cases import CaseState, judge_cases

AUTHORITY = trustme.CA(key_type=trustme.KeyType.ECDSA)
HOP_BY_HOP = {"connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade", "host"}


def server_context(name, *alpn):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    AUTHORITY.issue_cert(name, key_type=trustme.KeyType.ECDSA).configure_cert(context)
    if alpn:
        context.set_alpn_protocols(alpn)
    return context


@asynccontextmanager
async def web_server(route, *, context=None):
    """aiohttp as a proxy: ``route(request)`` says which URI to fetch, or gives an answer at once; its port."""

    async def handle(request):
        found = route(request)
        if isinstance(found, web.Response):
            return found
        fields = {name: value for name, value in request.headers.items() if name.lower() not in HOP_BY_HOP}
        fields["Via"] = "1.1 aiohttp"
        body = await request.read()
        try:
            async with client.request(
                request.method, found, headers=fields, data=body or None, ssl=False, allow_redirects=False
            ) as got:
                kept = {name: value for name, value in got.headers.items() if name.lower() not in HOP_BY_HOP}
                return web.Response(status=got.status, headers=kept, body=await got.read())
        except aiohttp.ClientError as error:
            return web.Response(status=502, text=str(error))

    async with aiohttp.ClientSession(auto_decompress=False) as client:
        runner = web.ServerRunner(web.Server(handle))
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
        await site.start()
        try:
            yield site._server.sockets[0].getsockname()[1]
        finally:
            await runner.cleanup()


def refusal(status):
    return lambda _request: web.Response(status=status)


def at_home(uri):
    """The URI with our canary's name turned into its address, as a resolver would."""
    return re.sub(rf"\b{re.escape(NAME)}\b", "127.0.0.1", uri)


def forward(request):
    if not request.raw_path.startswith("http"):
        return web.Response(status=400)
    return at_home(request.raw_path)


def run(work):
    asyncio.run(work)


def reached(facts):
    return {case.rpartition("-")[0] for case, fact in facts.items() if fact is Fact.CANARY_REACHED}


class TestForward:
    @pytest.mark.parametrize("transport", [Transport.PLAIN, Transport.TLS])
    def test_an_open_proxy(self, transport):
        context = server_context("proxy.test") if transport is Transport.TLS else None

        async def check():
            async with world() as here, web_server(forward, context=context) as port:
                facts = await here.ask(http_forward.PROBE, port, transport)
                canary = here.places.ports[0]
                mail = here.places.smtp_ports[0]

                assert Fact.CANARY_REACHED is facts[f"address-{canary}"]
                assert Verdict.OPEN is here.verdict
                # aiohttp as a client hangs up on a mail server, which greets before it is asked.
                assert Fact.FAILED is facts[f"address-{mail}"]
                seen = {seen.case: seen for seen in here.attempts[0].observations}[f"address-{canary}"]
                assert [seen.token] == [arrival.token for arrival in here.arrivals]
                assert "127.0.0.1" == seen.exit_address

        run(check())

    @pytest.mark.parametrize("passes_back", [True, False])
    def test_one_that_lets_mail_through(self, passes_back):
        """What our mail server says to the lines in the body comes back; where it doesn't, its arrival tells."""

        async def talk(reader, writer):
            head = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"Content-Length: (\d+)", head)
            body = await reader.readexactly(int(length[1]) if length else 0)
            asked = re.match(rb"(\S+) http://([^:/]+):(\d+)(\S*) ", head)
            if asked is None:
                writer.write(b"HTTP/1.0 400 Bad Request\r\n\r\n")
                return
            verb, host, port, path = asked.groups()
            inward, outward = await asyncio.open_connection(host.decode(), int(port))
            outward.write(verb + b" " + path + b" HTTP/1.0\r\n" + head.partition(b"\r\n")[2] + body)
            answer = await inward.read()
            outward.close()
            if not answer.startswith(b"HTTP/"):
                answer = b"HTTP/1.0 200 OK\r\n\r\n" + answer if passes_back else b"HTTP/1.0 502 Bad\r\n\r\n"
            writer.write(answer)
            await writer.drain()

        async def check():
            async with world() as here, serving(talk) as port:
                facts = await here.ask(http_forward.PROBE, port)
                mail = f"address-{here.places.smtp_ports[0]}"

                assert facts[mail] is (Fact.CANARY_REACHED if passes_back else Fact.FAILED)
                token = {seen.case: seen.token for seen in here.attempts[0].observations}[mail]
                assert token in {arrival.token for arrival in here.arrivals}
                judged = {case.case: case.state for case in judge_cases(here.attempts, here.arrivals)}
                assert CaseState.OPEN is judged[mail]

        run(check())

    @pytest.mark.parametrize("name", ["name", "head", "post", "https"])
    def test_one_that_is_open_in_one_way_alone(self, name):
        """Each row of the table finds what the others don't."""

        def route(request):
            uri = request.raw_path
            is_open = {
                "name": NAME in uri,
                "head": request.method == "HEAD",
                "post": request.method == "POST" and ":25/" not in uri,
                "https": uri.startswith("https:"),
            }[name]
            return at_home(uri) if is_open else web.Response(status=403)

        async def check():
            async with world() as here, web_server(route) as port:
                facts = await here.ask(http_forward.PROBE, port, smtp_ports=())

                assert {name} == reached(facts)
                assert Verdict.OPEN is here.verdict

        run(check())

    def test_an_ftp_gateway(self):
        """It connects, waits for a greeting, and says that it failed."""

        async def talk(reader, writer):
            head = await reader.readuntil(b"\r\n\r\n")
            status = b"403 Forbidden"
            if found := re.match(rb"GET ftp://([^:/]+):(\d+)/", head):
                inward, outward = await asyncio.open_connection(found[1].decode(), int(found[2]))
                with suppress(TimeoutError):
                    await asyncio.wait_for(inward.read(100), 0.2)
                outward.close()
                status = b"504 Gateway Timeout"
            elif b".invalid" in head:
                status = b"400 Bad Request"
            writer.write(b"HTTP/1.1 %b\r\nContent-Length: 0\r\n\r\n" % status)
            await writer.drain()

        async def check():
            async with world() as here, serving(talk) as port:
                facts = await here.ask(http_forward.PROBE, port)

                assert set() == reached(facts)
                assert Fact.FAILED is facts[f"ftp-{here.places.ports[0]}"]
                assert 1 == len(here.arrivals)
                assert Verdict.OPEN is here.verdict

        run(check())

    @pytest.mark.parametrize(
        "route",
        [
            refusal(403),
            refusal(200),
            refusal(502),
            lambda request: web.Response(text=f"You asked for {request.raw_path} {request.headers}"),
            lambda request: web.Response(status=302, headers={"Location": request.raw_path}),
        ],
        ids=["refuses", "page", "error", "echo", "redirects"],
    )
    def test_what_is_no_proxy(self, route):
        async def check():
            async with world() as here, web_server(route) as port:
                facts = await here.ask(http_forward.PROBE, port)

                assert {Fact.REFUSED} == set(facts.values())
                assert [] == here.arrivals
                assert Verdict.CLOSED is here.verdict

        run(check())


def by_host(request):
    return at_home(f"http://{request.headers['Host']}{request.raw_path}")


def by_field(name):
    def route(request):
        found = re.search(r"[\w.]+:\d+", request.headers.get(name, ""))
        return at_home(f"http://{found[0]}{request.raw_path}") if found else web.Response(text="Welcome")

    return route


def by_at_sign(request):
    if request.raw_path.startswith("@"):
        return at_home(f"http://inside.test{request.raw_path}")
    return web.Response(status=404)


def by_host_beside_a_uri(request):
    if not request.raw_path.startswith("http"):
        return web.Response(status=404)
    return at_home(f"http://{request.headers['Host']}{request.url.raw_path}")


def by_name(request):
    return by_host(request) if request.headers["Host"].startswith(NAME) else web.Response(status=404)


class TestMisrouting:
    @pytest.mark.parametrize(
        ("name", "route"),
        [
            ("host", by_host),
            ("host-name", by_name),
            ("absolute-uri", by_host_beside_a_uri),
            ("x-forwarded-host", by_field("X-Forwarded-Host")),
            ("x-host", by_field("X-Host")),
            ("forwarded", by_field("Forwarded")),
        ],
    )
    def test_each_way(self, name, route):
        async def check():
            async with world() as here, web_server(route) as port:
                facts = await here.ask(http_misrouting.PROBE, port)

                assert {name} == reached(facts)
                assert Verdict.OPEN is here.verdict

        run(check())

    def test_the_at_sign(self):
        """aiohttp knows no such target; a server that glues strings does."""

        async def talk(reader, writer):
            head = await reader.readuntil(b"\r\n\r\n")
            found = re.match(rb"GET (\S+) ", head)
            host = re.match(
                rb"http://(?:[^/@]*@)?([\w.]+)(?::(\d+))?(/\S*)", b"http://inside.test" + found[1]
            )
            if host[1] == b"inside.test":
                writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
                return
            inward, outward = await asyncio.open_connection(host[1].decode(), int(host[2]))
            outward.write(b"GET %b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" % host[3])
            await carry(inward, writer)
            outward.close()

        async def check():
            async with world() as here, serving(talk) as port:
                assert {"at-sign"} == reached(await here.ask(http_misrouting.PROBE, port))

        run(check())

    def test_authority(self):
        """A server of HTTP/2 that fetches from the authority, and refuses everything in HTTP/1.1."""

        async def talk(reader, writer):
            if writer.get_extra_info("ssl_object").selected_alpn_protocol() != "h2":
                await reader.readuntil(b"\r\n\r\n")
                writer.write(b"HTTP/1.1 421 Misdirected Request\r\nContent-Length: 0\r\n\r\n")
                return
            peer = Http2Peer()
            while data := await reader.read(65536):
                writer.write(peer.take(data))
                for fields in peer.requests:
                    uri = f"http://{fields[':authority']}{fields[':path']}"
                    async with aiohttp.request("GET", uri) as got:
                        peer.respond(1, got.status, content=await got.read(), ends=True)
                peer.requests.clear()
                writer.write(peer.take(b""))

        async def check():
            context = server_context("www.test", "h2", "http/1.1")
            async with world() as here, serving(talk, context=context) as port:
                facts = await here.ask(http_misrouting.PROBE, port, Transport.TLS)

                assert {"authority"} == reached(facts)
                assert Verdict.OPEN is here.verdict

        run(check())

    @pytest.mark.parametrize("transport", [Transport.PLAIN, Transport.TLS])
    @pytest.mark.parametrize("route", [refusal(200), refusal(404), refusal(503)])
    def test_a_web_server(self, route, transport):
        context = server_context("www.test") if transport is Transport.TLS else None

        async def check():
            async with world() as here, web_server(route, context=context) as port:
                facts = await here.ask(http_misrouting.PROBE, port, transport)

                assert {Fact.REFUSED} == set(facts.values())
                assert Verdict.CLOSED is here.verdict

        run(check())


class Http2Proxy:
    """CONNECT of HTTP/2 by h2, for whoever asks; ``rule`` may give a status code instead."""

    def __init__(self, rule=lambda _authority: None, **settings):
        self.rule, self.settings = rule, settings

    async def talk(self, reader, writer, peer=None):
        inward = outward = None
        waiting = b""
        peer = peer or Http2Peer(settings=self.settings.get("settings"))
        carrying = None
        writer.write(peer.take(b""))
        try:
            while data := await reader.read(65536):
                writer.write(peer.take(data))
                for fields in peer.requests:
                    stream = peer.connection.highest_inbound_stream_id
                    status = self.rule(fields[":authority"]) or 200
                    if status == 200:
                        host, _, port = at_home(fields[":authority"]).rpartition(":")
                        try:
                            inward, outward = await asyncio.open_connection(host, int(port))
                        except OSError:
                            status = 502
                    peer.respond(stream, status, ends=status != 200)
                    if outward:
                        carrying = asyncio.create_task(self._back(inward, writer, peer, stream))
                peer.requests.clear()
                if outward:
                    waiting, peer.heard = peer.heard, b""
                    outward.write(waiting)
                writer.write(peer.take(b""))
        finally:
            if carrying:
                carrying.cancel()
                outward.close()

    @staticmethod
    async def _back(inward, writer, peer, stream):
        while data := await inward.read(1000):
            peer.say(stream, data)
            writer.write(peer.take(b""))


class TestHttp2Connect:
    @pytest.mark.parametrize("transport", [Transport.PLAIN, Transport.TLS])
    def test_an_open_proxy(self, transport):
        context = server_context("proxy.test", "h2", "http/1.1") if transport is Transport.TLS else None

        async def check():
            async with world() as here, serving(Http2Proxy().talk, context=context) as port:
                facts = await here.ask(http2_connect.PROBE, port, transport)

                assert {Fact.CANARY_REACHED} == set(facts.values())
                assert {here.places.ports[0], here.places.smtp_ports[0]} == {
                    int(case.rpartition("-")[2]) for case in facts
                }
                assert Verdict.OPEN is here.verdict

        run(check())

    def test_one_with_a_narrow_window(self):
        async def check():
            async with world() as here, serving(Http2Proxy(settings={4: 7}).talk) as port:
                facts = await here.ask(http2_connect.PROBE, port)

                assert {Fact.CANARY_REACHED} == set(facts.values())

        run(check())

    def test_one_that_knows_upgrades_alone(self):
        async def talk(reader, writer):
            head = await reader.readuntil(b"\r\n\r\n")
            offer = re.search(rb"HTTP2-Settings: (\S+)", head)
            if head.startswith(b"PRI") or not offer:
                writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
                return
            writer.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n")
            peer = Http2Peer(upgraded_by=offer[1] + b"==")
            peer.respond(1, 200, ends=True)
            await Http2Proxy().talk(reader, writer, peer)

        async def check():
            async with world() as here, serving(talk) as port:
                facts = await here.ask(http2_connect.PROBE, port)

                assert {Fact.CANARY_REACHED} == set(facts.values())

        run(check())

    @pytest.mark.parametrize(
        ("status", "fact", "verdict"),
        [
            (403, Fact.REFUSED, Verdict.CLOSED),
            (407, Fact.REFUSED, Verdict.CLOSED),
            (502, Fact.FAILED, Verdict.INCONCLUSIVE),
        ],
    )
    def test_one_that_says_no(self, status, fact, verdict):
        async def check():
            async with world() as here, serving(Http2Proxy(lambda _authority: status).talk) as port:
                facts = await here.ask(http2_connect.PROBE, port)

                assert {fact} == set(facts.values())
                assert verdict is here.verdict

        run(check())

    def test_a_honeypot(self):
        async def talk(reader, writer):
            peer = Http2Peer(
                lambda peer, stream, _fields: peer.respond(stream, 200),
                lambda peer, stream, data: peer.say(stream, data),
            )
            while data := await reader.read(65536):
                writer.write(peer.take(data))

        async def check():
            async with world() as here, serving(talk) as port:
                facts = await here.ask(http2_connect.PROBE, port)

                assert {Fact.ACCEPTED} == set(facts.values())
                assert Fact.DECEPTIVE in {seen.fact for seen in here.attempts[0].observations}
                assert Verdict.OPEN is not here.verdict

        run(check())

    @pytest.mark.parametrize("transport", [Transport.PLAIN, Transport.TLS])
    def test_a_server_of_http11(self, transport):
        context = server_context("www.test", "http/1.1") if transport is Transport.TLS else None

        async def check():
            async with world() as here, web_server(refusal(200), context=context) as port:
                assert {} == await here.ask(http2_connect.PROBE, port, transport)
                assert Verdict.ABSENT is here.verdict

        run(check())


NEIGHBOUR = parse_address("127.0.0.2")


async def forward_by_sni(reader, writer, port):
    """Read the name out of the hello, connect to the port of its bearer, carry octets both ways."""
    hello = await reader.read(65536)
    if NAME.encode() not in hello:
        writer.close()
        return
    inward, outward = await asyncio.open_connection(str(NEIGHBOUR), port)
    outward.write(hello)
    try:
        async with asyncio.TaskGroup() as both:
            both.create_task(carry(reader, outward))
            both.create_task(carry(inward, writer))
    finally:
        outward.close()


class TestSniProxy:
    def test_an_open_proxy(self):
        """It leads to the port at which it listens."""

        async def check():
            port = free_port()
            async with (
                world(Endpoint(NEIGHBOUR, port)) as here,
                serving(lambda *ends: forward_by_sni(*ends, port), port=port),
            ):
                facts = await here.ask(sni_proxy.PROBE, port, Transport.TLS, ports=(port,))

                assert {f"name-{port}": Fact.CANARY_REACHED} == facts
                assert Verdict.OPEN is here.verdict

        run(check())

    def test_a_web_server(self):
        async def check():
            async with world() as here, web_server(refusal(200), context=server_context("www.test")) as port:
                facts = await here.ask(sni_proxy.PROBE, port, Transport.TLS, ports=(443,))

                assert {"name-443": Fact.REFUSED} == facts
                assert Verdict.CLOSED is here.verdict

        run(check())

    def test_a_server_that_knows_its_own_name_alone_is_not_asked_by_it_where_a_proxy_would_lead_to_itself(
        self,
    ):
        context = server_context("www.test")

        def admit(connection, name, _context):
            return ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME if name == NAME else None

        context.sni_callback = admit

        async def check():
            async with world() as here, web_server(refusal(200), context=context) as port:
                facts = await here.ask(sni_proxy.PROBE, port, Transport.TLS, ports=(443,))

                assert {} == facts

        run(check())

    def test_a_server_without_tls(self):
        async def check():
            async with world() as here, web_server(refusal(200)) as port:
                assert {} == await here.ask(sni_proxy.PROBE, port, Transport.TLS, ports=(443,))
                assert Verdict.ABSENT is here.verdict

        run(check())
