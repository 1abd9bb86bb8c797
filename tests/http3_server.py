"""An HTTP/3 server without I/O, by aioquic, and as a partner for scripts: no sockets, no clock but the script's.

What it does with requests is an `App`'s business; what goes wrong below HTTP is told by `QuicServer`'s fields.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from types import MappingProxyType
from typing import Any

from aioquic.buffer import Buffer, encode_uint_var
from aioquic.h3.connection import H3Connection, Setting
from aioquic.h3.events import DatagramReceived, DataReceived, HeadersReceived
from aioquic.quic import events
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.packet import (
    QuicPacketType,
    QuicProtocolVersion,
    encode_quic_retry,
    encode_quic_version_negotiation,
    pull_quic_header,
)
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from tests.scripted import DATAGRAM_SECONDS, Partner

PLAIN: Mapping[int, int] = MappingProxyType({})
MASQUE: Mapping[int, int] = MappingProxyType({Setting.ENABLE_CONNECT_PROTOCOL: 1, Setting.H3_DATAGRAM: 1})
V1, V2 = QuicProtocolVersion.VERSION_1, QuicProtocolVersion.VERSION_2
CLIENT = ("192.0.2.99", 40000)


@cache
def identity() -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    """A certificate that nobody has reason to trust, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    whose = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "proxy.example.test")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(whose)
        .issuer_name(whose)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(datetime(2020, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(2021, 1, 1, tzinfo=UTC))
        .sign(key, hashes.SHA256())
    )
    return certificate, key


class App:
    """What a server does with requests; this one refuses all."""

    settings: Mapping[int, int] = MASQUE

    def request(self, session: Session, stream: int, fields: dict[str, str]) -> None:
        session.answer(stream, 403)

    def octets(self, session: Session, stream: int, data: bytes) -> None:
        """Octets of a DATA frame came."""

    def datagram(self, session: Session, stream: int, data: bytes) -> None:
        """An HTTP datagram came."""


class Session:
    """The server's side of one connection."""

    def __init__(self, app: App, configuration: QuicConfiguration, **connection: Any) -> None:
        self.app = app
        self.quic = QuicConnection(configuration=configuration, **connection)
        self.h3: H3Connection | None = None
        self.is_over = False

    def receive(self, datagram: bytes, address: Any, now: float) -> None:
        self.quic.receive_datagram(datagram, address, now)
        self.read_events()

    def pass_time(self, now: float) -> None:
        due = self.quic.get_timer()
        if due is not None and now >= due:
            self.quic.handle_timer(now)
            self.read_events()

    def read_events(self) -> None:
        while (event := self.quic.next_event()) is not None:
            if isinstance(event, events.ProtocolNegotiated):
                self.h3 = http3_of(self.quic, self.app.settings)
            self.is_over = self.is_over or isinstance(event, events.ConnectionTerminated)
            for news in self.h3.handle_event(event) if self.h3 else ():
                self._pass_on(news)

    def answer(self, stream: int, status: int, *fields: tuple[str, str], end: bool = False) -> None:
        words = [(":status", str(status)), *fields]
        self.h3.send_headers(stream, [(name.encode(), value.encode()) for name, value in words], end)

    def send(self, stream: int, data: bytes, *, end: bool = False) -> None:
        self.h3.send_data(stream, data, end)

    def send_datagram(self, stream: int, data: bytes) -> None:
        self.h3.send_datagram(stream, data)

    def _pass_on(self, news: Any) -> None:
        match news:
            case HeadersReceived():
                fields = {name.decode(): value.decode() for name, value in news.headers}
                self.app.request(self, news.stream_id, fields)
            case DataReceived():
                self.app.octets(self, news.stream_id, news.data)
            case DatagramReceived():
                self.app.datagram(self, news.stream_id, news.data)


def http3_of(quic: QuicConnection, settings: Mapping[int, int]) -> H3Connection:
    class _Connection(H3Connection):
        def _get_local_settings(self) -> dict[int, int]:
            return dict(settings)

    return _Connection(quic)


def configure(*, alpn: str = "h3", versions: tuple[int, ...] = (V1, V2)) -> QuicConfiguration:
    certificate, key = identity()
    return QuicConfiguration(
        alpn_protocols=[alpn],
        is_client=False,
        certificate=certificate,
        private_key=key,
        supported_versions=list(versions),
        max_datagram_frame_size=65535,
    )


@dataclass
class QuicServer(Partner):
    """Takes connections one after the other, each from a script's UDP channel."""

    is_heard_out = False
    app: App = field(default_factory=App)
    alpn: str = "h3"
    versions: tuple[int, ...] = (V1, V2)
    retries: bool = False
    """Whether an address has to prove itself first (RFC 9000 section 8.1.2)."""
    goes_silent_after: int | None = None
    """Datagrams after which nothing more is sent in a connection."""
    loses: Callable[[int], bool] = lambda _number: False
    """Which datagrams of a connection get lost, by number, ours and its alike."""
    sessions: list[Session] = field(default_factory=list)
    arrivals: list[tuple[str, ...]] = field(default_factory=list)
    now: float = 0.0
    _outgoing: deque[bytes] = field(default_factory=deque)
    _number: int = 0
    _sent: int = 0
    _session: Session | None = None

    def connect(self, op: Any) -> None:
        assert op.carrier == "udp"
        self._session, self._number, self._sent = None, 0, 0
        self._outgoing.clear()

    def send(self, data: bytes, channel: int) -> None:
        if self._is_lost():
            return
        if self._session is None:
            self._begin(data)
        if self._session is not None:
            self._session.receive(data, CLIENT, self.now)
            self._flush()

    def receive_datagram(self, channel: int, within: float) -> bytes | None:
        """What is sent within that time; the server's clock may run ahead of the script's."""
        ends = self.now + within
        while True:
            if self._session is not None:
                self._session.pass_time(self.now)
                self._flush()
            while self._outgoing:
                if (datagram := self._next()) is not None:
                    self.now += min(DATAGRAM_SECONDS, within)
                    return datagram
            due = self._session.quic.get_timer() if self._session is not None else None
            if due is None or due >= ends:
                self.now = ends
                return None
            self.now = max(due, self.now + 0.001)

    def await_arrival(self, tokens: tuple[str, ...]) -> None:
        self.arrivals.append(tokens)

    def _next(self) -> bytes | None:
        datagram = self._outgoing.popleft()
        self._sent += 1
        if self._is_lost() or (self.goes_silent_after is not None and self._sent > self.goes_silent_after):
            return None
        return datagram

    def _is_lost(self) -> bool:
        self._number += 1
        return self.loses(self._number)

    def _flush(self) -> None:
        self._outgoing.extend(data for data, _ in self._session.quic.datagrams_to_send(self.now))

    def _begin(self, data: bytes) -> None:
        head = pull_quic_header(Buffer(data=data), host_cid_length=8)
        assert head.packet_type is QuicPacketType.INITIAL
        if head.version not in self.versions:
            self._outgoing.append(
                encode_quic_version_negotiation(
                    source_cid=head.destination_cid,
                    destination_cid=head.source_cid,
                    supported_versions=list(self.versions),
                )
            )
            return
        connection = {"original_destination_connection_id": head.destination_cid}
        if self.retries and not head.token:
            self._outgoing.append(
                encode_quic_retry(
                    version=head.version,
                    source_cid=b"retrying",
                    destination_cid=head.source_cid,
                    original_destination_cid=head.destination_cid,
                    retry_token=head.destination_cid,
                )
            )
            return
        if self.retries:
            connection = {
                "original_destination_connection_id": head.token,
                "retry_source_connection_id": head.destination_cid,
            }
        self._session = Session(self.app, configure(alpn=self.alpn, versions=self.versions), **connection)
        self.sessions.append(self._session)


def capsule(kind: int, value: bytes) -> bytes:
    """A capsule, written apart from the code that is tested."""
    return encode_uint_var(kind) + encode_uint_var(len(value)) + value
