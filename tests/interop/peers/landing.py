"""Where the other checkers lead proxies: each caller is greeted, and whoever asks for a page gets one.

``python -m tests.interop.peers.landing ADDRESS...``
"""

import socket
import socketserver
import sys
import threading

PORTS = (80, 443, 6667)
GREETING = ":irc.sink.example NOTICE * :*** Looking up your hostname"
WORD = "the landing of the lab"
_PAGE = f"HTTP/1.0 200 OK\r\nServer: {WORD}\r\nContent-Length: {len(WORD)}\r\n\r\n{WORD}"
_PATIENCE = 20.0  # seconds that a caller has to ask


class _Caller(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        """IRC servers greet first, web servers are asked first: 80 is the web's."""
        self.request.settimeout(_PATIENCE)
        try:
            if self.server.server_address[1] == 80:
                if self.request.recv(4096):
                    self.request.sendall(_PAGE.encode())
                return
            self.request.sendall(f"{GREETING}\r\n".encode())
            while self.request.recv(4096):
                pass
        except OSError:
            return


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, address: str, port: int) -> None:
        self.address_family = socket.AF_INET6 if ":" in address else socket.AF_INET
        super().__init__((address, port), _Caller)


def serve(addresses: list[str]) -> None:
    """Listen until killed."""
    for address in addresses:
        for port in PORTS:
            threading.Thread(target=_Server(address, port).serve_forever, daemon=True).start()
    threading.Event().wait()


if __name__ == "__main__":
    serve(sys.argv[1:])
