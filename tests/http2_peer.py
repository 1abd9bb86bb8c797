"""An HTTP/2 server without I/O, for tests: answers by frames that a test chooses, or by h2's own."""

from __future__ import annotations

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, RequestReceived

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = (
    0, 1, 3, 4, 5, 6, 7, 8, 9,
)  # fmt: skip


def frame(kind, content=b"", *, flags=0, stream=0, length=None):
    """A frame as RFC 9113 section 4.1 draws it, whole or not."""
    size = len(content) if length is None else length
    return size.to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + content


def goaway(last_stream, error):
    return frame(GOAWAY, last_stream.to_bytes(4, "big") + error.to_bytes(4, "big"))


class Http2Peer:
    """A server by h2: ``on_request(peer, stream, fields)`` and ``on_data(peer, stream, data)`` answer.

    ``unsent`` is what it has to say; ``requests`` what it was asked.
    """

    def __init__(self, on_request=None, on_data=None, settings=None, *, upgraded_by=None):
        self.connection = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        self.on_request, self.on_data = on_request, on_data
        self.requests = []
        self.heard = b""
        if upgraded_by is None:
            self.connection.initiate_connection()
        else:
            self.connection.initiate_upgrade_connection(upgraded_by)
        if settings:
            self.connection.update_settings(settings)
        self.unsent = self.connection.data_to_send()

    def take(self, data):
        """Take octets of the client; what is due to it."""
        for event in self.connection.receive_data(data):
            self._answer(event)
        self.unsent += self.connection.data_to_send()
        said, self.unsent = self.unsent, b""
        return said

    def respond(self, stream, status, *fields, content=b"", ends=False):
        head = [(":status", str(status)), *fields]
        self.connection.send_headers(stream, head, end_stream=ends and not content)
        if content:
            self.connection.send_data(stream, content, end_stream=ends)

    def say(self, stream, data):
        self.connection.send_data(stream, data)

    def _answer(self, event):
        match event:
            case RequestReceived(stream_id=stream, headers=fields):
                self.requests.append(dict(fields))
                if self.on_request:
                    self.on_request(self, stream, dict(fields))
            case DataReceived(stream_id=stream, data=data, flow_controlled_length=length):
                self.connection.acknowledge_received_data(length, stream)
                self.heard += data
                if self.on_data:
                    self.on_data(self, stream, data)
