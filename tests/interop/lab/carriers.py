"""One request, carried to a proxy by a tool that is none of ours, and what the tool made of the answer.

curl speaks to HTTP, SOCKS and SNI proxies, ssh to SSH, turnutils_uclient TURN; ncat carries the few lines of
FTP and of telnet gateways; Envoy asks by HTTP/3 and for UDP by CONNECT-UDP. No packaged tool asks for a tunnel by HTTP/2 (Debian's curl is too old), for UDP
through SOCKS 5, or for TCP through TURN to a given peer: a page of Node does each (``*.js``).
"""

import contextlib
import re
import shlex
import string
import subprocess
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from . import plan
from .cases import Case, Protocol, Reach, Request

CERTIFICATE = "/run/witness.crt"  # of the witness, in the stranger's room
_PATIENCE = 5  # seconds that a tool waits for something
_MAIL_PORTS = (25, 587)
_MARK = "curl ended"
_REPORT = rf"\n{_MARK} %{{exitcode}} %{{http_connect}} %{{http_code}} %{{errormsg}}\n"
_SCRIPTS = Path(__file__).parent
_ENVOY = threading.Lock()
"""One Envoy at a time: its ports in the stranger's room are fixed."""
_SAYS_A_LINE = frozenset({Protocol.SOCKS5_BIND, Protocol.SOCKS5_UDP, Protocol.SOCKS5_UDP_STRANGER})


@dataclass(frozen=True, slots=True)
class Errand:
    """A request with all names filled in: where the proxy is, where it shall go, and the word to say there."""

    request: Request
    name: str  # of the proxy's host
    proxy: str
    destination: str
    port: int
    token: str

    @property
    def at(self) -> str:
        """The proxy's address and port."""
        return _authority(self.proxy, self.request.port)

    @property
    def to(self) -> str:
        """The destination and its port."""
        return _authority(self.destination, self.port)

    @property
    def url(self) -> str:
        """The destination as curl asks it; the path of an SMTP address is the name that curl greets by."""
        return f"{'smtp' if self.port in _MAIL_PORTS else 'http'}://{self.to}/{self.token}"

    @property
    def words(self) -> str:
        """What to say to the destination by a tool that knows no protocol."""
        if self.port in _MAIL_PORTS:
            return f"EHLO {self.token}\r\nQUIT\r\n"
        return f"GET /{self.token} HTTP/1.0\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Answer:
    """What the tool made of it if nothing arrived, the refusing reply, and all that was said."""

    outcome: Reach
    reply: str
    dialogue: str


def errand(case: Case, request: Request, port: int, token: str) -> Errand:
    """Fill in the names of a case."""
    home = plan.home(case)
    proxy = home.address if request.family == "ipv4" else home.address_6
    return Errand(request, plan.host_name(case), proxy, fill(request.destination, case), port, token)


def fill(text: str, case: Case) -> str:
    """Put the names of the witness and of this case in a destination."""
    return text.format(
        witness=plan.SINK,
        witness_6=plan.SINK_6,
        canary=plan.CANARY,
        ip=plan.home(case).address,
        host=plan.host_name(case),
    )


def carry(inside: Sequence[str], asked: Errand) -> Answer:
    """Carry the request from the stranger's room and read what the tool says of it."""
    carrier = _CARRIERS[asked.request.protocol]
    command, stdin = carrier.command(asked)
    turn = _ENVOY if carrier.command is _envoy else contextlib.nullcontext()
    try:
        with turn:
            done = subprocess.run(
                [*inside, *command], input=stdin, capture_output=True, timeout=_PATIENCE * 6, check=False
            )
        said = (done.stdout + done.stderr).decode("utf-8", "replace")
    except subprocess.TimeoutExpired as error:
        said = ((error.stdout or b"") + (error.stderr or b"")).decode("utf-8", "replace")
    outcome, reply = carrier.read(said)
    return Answer(outcome, reply, f"{shlex.join(command)}\n{said}")


# --- curl ----------------------------------------------------------------------------------------


def _curl(asked: Errand, *words: str, url: str = "") -> tuple[list[str], bytes]:
    command = ["curl", "--silent", "--show-error", "--verbose", "--max-time", str(_PATIENCE), "--http0.9"]
    command += ["--write-out", _REPORT, "--insecure"] if "--cacert" not in words else ["--write-out", _REPORT]
    if asked.request.source:
        command += ["--interface", asked.request.source]
    return [*command, *words, url or asked.url], b""


def _http_connect(asked: Errand) -> tuple[list[str], bytes]:
    return _curl(asked, "--proxytunnel", "--proxy", f"{_scheme(asked)}://{asked.at}", "--proxy-insecure")


def _http_forward(asked: Errand) -> tuple[list[str], bytes]:
    url = f"http://{asked.to}/{asked.token}"
    return _curl(asked, "--proxy", f"{_scheme(asked)}://{asked.at}", "--proxy-insecure", url=url)


def _http_misrouting(asked: Errand) -> tuple[list[str], bytes]:
    host = asked.destination if asked.port == 80 else asked.to
    return _curl(asked, "--header", f"Host: {host}", url=f"{_scheme(asked)}://{asked.at}/{asked.token}")


def _socks(option: str) -> Callable[[Errand], tuple[list[str], bytes]]:
    return lambda asked: _curl(asked, option, asked.at)


def _sni(asked: Errand) -> tuple[list[str], bytes]:
    words = ("--connect-to", f"::{asked.at}", "--cacert", CERTIFICATE)
    return _curl(asked, *words, url=f"https://{asked.to}/{asked.token}")


def _read_tunnel(said: str) -> tuple[Reach, str]:
    """Read curl's words about CONNECT: 2xx with a page in it is an answer, without one a tunnel."""
    _, connect, _, why = _report(said)
    if not connect.startswith("2"):
        return Reach.REFUSED, _status(said) or why
    page = "Ignoring Content-Length in CONNECT" in said or "Ignoring Transfer-Encoding in CONNECT" in said
    return (Reach.ANSWERED if page else Reach.PRETENDED), _status(said)


def _read_page(said: str) -> tuple[Reach, str]:
    """Read curl's words about a page: 2xx and 3xx that the witness didn't give are the server's own."""
    _, _, status, why = _report(said)
    return (Reach.ANSWERED if status[0] in "23" else Reach.REFUSED), _status(said) or why


def _read_socks(said: str) -> tuple[Reach, str]:
    granted = re.search(r"SOCKS[45]\S* request granted", said)
    return (Reach.PRETENDED if granted else Reach.REFUSED), _report(said)[3]


def _read_certificate(said: str) -> tuple[Reach, str]:
    code, _, _, why = _report(said)
    return (Reach.ANSWERED if code == "60" else Reach.REFUSED), why


def _report(said: str) -> tuple[str, str, str, str]:
    """Return curl's exit code, status of CONNECT, status of the page, and why it failed."""
    found = re.search(rf"^{_MARK} (\d+) (\d+) (\d+) ?(.*)$", said, re.MULTILINE)
    return (found[1], found[2], found[3], found[4]) if found else ("", "000", "000", "curl was ended")


def _status(said: str) -> str:
    found = re.search(r"^< HTTP/\S+ (.*?)\r?$", said, re.MULTILINE)
    return found[1].strip() if found else ""


# --- others --------------------------------------------------------------------------------------


def _shell(script: str, *arguments: str) -> tuple[list[str], bytes]:
    return ["sh", "-c", script, "sh", *arguments], b""


def _node(script: str, *further: str) -> Callable[[Errand], tuple[list[str], bytes]]:
    def command(asked: Errand) -> tuple[list[str], bytes]:
        says = f"{asked.token}\n" if asked.request.protocol in _SAYS_A_LINE else asked.words
        where = [asked.request.transport, asked.proxy, str(asked.request.port), asked.to]
        return ["node", "-", *where, says, *further], (_SCRIPTS / script).read_bytes()

    return command


def _read_node(said: str) -> tuple[Reach, str]:
    """Read our scripts' words: "refused WHY", or "granted"."""
    found = re.search(r"^refused (.*)$", said, re.MULTILINE)
    return (
        (Reach.PRETENDED, "")
        if re.search(r"^granted", said, re.MULTILINE) and not found
        else (Reach.REFUSED, found[1] if found else "")
    )


def _envoy(asked: Errand) -> tuple[list[str], bytes]:
    configuration = string.Template((_SCRIPTS / "envoy.yaml").read_text(encoding="utf-8")).substitute(
        name=asked.name,
        proxy=asked.proxy,
        proxy_port=asked.request.port,
        to=asked.to,
        destination=asked.destination,
        port=asked.port,
    )
    is_udp = asked.request.protocol is Protocol.CONNECT_UDP
    words = ["udp", f"{asked.token}\n"] if is_udp else ["tcp", asked.words]
    script = (_SCRIPTS / "envoy.sh").read_text(encoding="utf-8")
    return ["sh", "-c", script, "sh", *words], configuration.encode()


def _read_envoy(said: str) -> tuple[Reach, str]:
    found = re.search(r":status=(\d+)", said)
    if found and found[1].startswith("2"):
        return Reach.PRETENDED, ""
    why = re.search(r"failure reason: (.*)", said)
    return Reach.REFUSED, found[1] if found else why[1] if why else ""


def _telnet_gateway(asked: Errand) -> tuple[list[str], bytes]:
    script = (
        r'(sleep 1; printf "%s\r\n" "$3:$4"; sleep 1; printf %s "$5"; sleep 2) | '
        'ncat --no-shutdown -w 6 "$1" "$2"'
    )
    words = [asked.proxy, str(asked.request.port), asked.destination, str(asked.port), asked.words]
    return _shell(script, *words)


def _read_gateway(said: str) -> tuple[Reach, str]:
    last = said.strip().splitlines()[-1] if said.strip() else ""
    return (Reach.PRETENDED if "onnected" in said else Reach.REFUSED), last


def _ftp_bounce(asked: Errand) -> tuple[list[str], bytes]:
    where = ",".join([*asked.destination.split("."), str(asked.port >> 8), str(asked.port & 0xFF)])
    script = (
        r'(for line in "USER $3" "PASS $3@" "PORT $4" LIST QUIT; do sleep 1; printf "%s\r\n" "$line"; done; '
        'sleep 2) | ncat --no-shutdown -w 8 "$1" "$2"'
    )
    return _shell(script, asked.proxy, str(asked.request.port), asked.request.user, where)


def _read_ftp(said: str) -> tuple[Reach, str]:
    refused = re.search(r"^[45]\d\d.*", said, re.MULTILINE)
    return (Reach.REFUSED, refused[0].strip()) if refused or "200" not in said else (Reach.PRETENDED, "")


def _ssh_forward(asked: Errand) -> tuple[list[str], bytes]:
    options = "-v -F none -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o ConnectTimeout=8"
    script = rf'(printf %s "$4"; sleep 2) | timeout 10 ssh {options} -o PreferredAuthentications=none -p "$2" -W "$3" "$1"'
    login = f"{asked.request.user}@{asked.proxy}"
    return _shell(script, login, str(asked.request.port), asked.to, asked.words)


def _read_ssh(said: str) -> tuple[Reach, str]:
    for pattern in (r"Permission denied.*", r"open failed: .*", r"Connection \w+.*", r"kex_exchange.*"):
        if found := re.search(pattern, said):
            return Reach.REFUSED, found[0].strip()
    return Reach.PRETENDED, ""


def _turn_udp(asked: Errand) -> tuple[list[str], bytes]:
    command = [
        "turnutils_uclient",
        "-v",
        "-c",
        "-n",
        "2",
        "-m",
        "1",
        "-l",
        "100",
        "-p",
        str(asked.request.port),
    ]
    command += ["-e", asked.destination, "-r", str(asked.port)]
    if asked.request.transport == "tls":
        command += ["-t", "-S"]
    return [*command, asked.proxy], b""


def _read_turn(said: str) -> tuple[Reach, str]:
    """Read turnutils' words: it says "success" to an allocation, and not why it got none."""
    if "success" in said:
        return Reach.PRETENDED, ""
    found = re.search(r"ERROR: (.*)", said)
    return Reach.REFUSED, found[1] if found else ""


@dataclass(frozen=True, slots=True)
class _Carrier:
    command: Callable[[Errand], tuple[list[str], bytes]]
    read: Callable[[str], tuple[Reach, str]]


_CARRIERS = {
    Protocol.HTTP_CONNECT: _Carrier(_http_connect, _read_tunnel),
    Protocol.HTTP2_CONNECT: _Carrier(_node("http2.js"), _read_node),
    Protocol.HTTP3_CONNECT: _Carrier(_envoy, _read_envoy),
    Protocol.CONNECT_UDP: _Carrier(_envoy, _read_envoy),
    Protocol.HTTP_FORWARD: _Carrier(_http_forward, _read_page),
    Protocol.HTTP_MISROUTING: _Carrier(_http_misrouting, _read_page),
    Protocol.SOCKS4: _Carrier(_socks("--socks4"), _read_socks),
    Protocol.SOCKS4A: _Carrier(_socks("--socks4a"), _read_socks),
    Protocol.SOCKS5: _Carrier(_socks("--socks5"), _read_socks),
    Protocol.SOCKS5_NAME: _Carrier(_socks("--socks5-hostname"), _read_socks),
    Protocol.SOCKS5_BIND: _Carrier(_node("socks5_bind.js"), _read_node),
    Protocol.SOCKS5_UDP: _Carrier(_node("socks5_udp.js"), _read_node),
    Protocol.SOCKS5_UDP_STRANGER: _Carrier(_node("socks5_udp.js", plan.SINK), _read_node),
    Protocol.TELNET_GATEWAY: _Carrier(_telnet_gateway, _read_gateway),
    Protocol.FTP_BOUNCE: _Carrier(_ftp_bounce, _read_ftp),
    Protocol.SSH_FORWARD: _Carrier(_ssh_forward, _read_ssh),
    Protocol.SNI: _Carrier(_sni, _read_certificate),
    Protocol.TURN_UDP: _Carrier(_turn_udp, _read_turn),
    Protocol.TURN_TCP: _Carrier(_node("turn_tcp.js"), _read_node),
}


def _scheme(asked: Errand) -> str:
    return "https" if asked.request.transport == "tls" else "http"


def _authority(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
