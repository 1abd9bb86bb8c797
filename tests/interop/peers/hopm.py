"""HOPM, Debian's package, beside an ngIRCd: an operator asks it to check one host after the other.

It is told the protocols of its own reference.conf at all ports of the lab, and two targets: 6667, as IRC
networks use it, and 443, since many proxies lead nowhere else. Two kinds it isn't told: ROUTER and DREAMBOX
log in with passwords that devices are sold with, and here no credentials are guessed.
"""

import contextlib
import re
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from tests.interop.lab import network, plan, rooms, roots
from tests.interop.lab.cases import Case, chosen
from tests.interop.lab.errors import LabError
from tests.interop.lab.world import CHECKOUT, World

from .landing import GREETING
from .nmap_proxies import Said

_IRC = 6680  # of the ngIRCd; 6667 is the landing's
_PACKAGES = ("hopm", "ngircd")
_PROTOCOLS = ("HTTP", "HTTPPOST", "SOCKS4", "SOCKS5")
_WITHIN_TLS = ("HTTPS", "HTTPSPOST")
_TLS_PORTS = (443, 3129, 8443)
_TELNET = ("WINGATE",)  # never ROUTER and DREAMBOX, which try default passwords
_TIMEOUT = 10  # seconds of one of its scans; its own default is 30
_PATIENCE = 200.0  # seconds for all hosts

_NGIRCD = """\
[Global]
Name = irc.stranger.example
Info = the lab
Listen = 127.0.0.1
Ports = {port}
ServerUID = root
ServerGID = root
[Limits]
MaxConnectionsIP = 0
MaxPenaltyTime = 0
[Options]
Ident = no
DNS = no
PAM = no
[Operator]
Name = lab
Password = {password}
"""
_HOPM = """\
options {{ pidfile = "/run/hopm.pid"; command_queue_size = 500; command_timeout = 600 seconds; }};
irc {{
    nick = "hopm"; realname = "hopm"; username = "hopm"; server = "127.0.0.1"; port = {port}; tls = no;
    oper = "lab {password}"; mode = "+c"; away = "a bot"; kline = "NOTICE %n :%i";
    connregex = "Client connecting: ([^ ]+) \\\\(([^@]+)@([^\\\\)]+)\\\\) \\\\[([0-9a-f\\\\.:]+)\\\\].*";
    channel {{ name = "#lab"; }};
}};
{scanners}
user {{ mask = "*!*@*"; {names} }};
"""
_SCANNER = """\
scanner {{
    name = "to{target}"; fd = 400; max_read = 4 kbytes; timeout = {timeout} seconds;
    target_ip = "{sink}"; target_port = {target}; target_string = "{greeting}";
    {protocols}
}};
"""


def ask_all(lab: World, cases: list[Case]) -> dict[str, Said]:
    """Have every host checked; raise LabError if HOPM doesn't come up."""
    with _running(lab) as (password, folder):
        addresses = [plan.home(case).address for case in cases]
        command = [*lab.as_stranger(), sys.executable, "-m", "tests.interop.peers.hopm", password, *addresses]
        done = subprocess.run(
            command, cwd=CHECKOUT, capture_output=True, text=True, timeout=_PATIENCE + 60, check=False
        )
        if done.returncode:
            raise LabError(
                f"HOPM: {done.stderr.strip()[-400:]} {(folder / 'room/output').read_text()[-400:]}"
            )
    return {case.name: _read(done.stdout, plan.home(case).address) for case in cases}


def _read(said: str, address: str) -> Said:
    found = sorted(set(re.findall(rf"OPEN PROXY {re.escape(address)}:(\d+) \((\w+)\)", said)))
    if found:
        return Said("open", " ".join(f"{kind}:{port}" for port, kind in found))
    return Said("closed" if re.search(rf"on {re.escape(address)} completed", said) else "unknown", "")


@contextlib.contextmanager
def _running(lab: World) -> Iterator[tuple[str, Path]]:
    folder, password = lab.folder / "hopm", secrets.token_hex(8)
    _write(folder / "tree/etc/hopm/hopm.conf", _configuration(password))
    _write(folder / "tree/etc/ngircd.conf", _NGIRCD.format(port=_IRC, password=password))
    template = chosen(("squid-open",))[0]
    packages = roots.stack(_with_packages(template))
    furniture = rooms.Furniture(
        packages, "irc.stranger.example", resolv=network.resolv(lab.run_id), trees=(folder / "tree",)
    )
    lines = ("ngircd -f /etc/ngircd.conf", "sleep 1", "hopm -d &")
    room = rooms.start(furniture, lab.stranger, lines, folder / "room")
    try:
        rooms.wait_until_listening(room.holder, [_IRC])
        yield password, folder
    finally:
        room.holder.kill()
        room.holder.wait(timeout=10)


def _with_packages(case: Case) -> Case:
    import msgspec  # noqa: PLC0415 -- of this alone

    return msgspec.structs.replace(case, packages=_PACKAGES, npm=(), pip=())


def _configuration(password: str) -> str:
    ports = sorted(
        {port for case in chosen(()) if case.is_proxy for port in case.ports} - {21, 22, 23, 25, 3478}
    )
    lines = [f"protocol = {kind}:{port};" for port in ports for kind in _PROTOCOLS]
    lines += [f"protocol = {kind}:{port};" for port in _TLS_PORTS for kind in _WITHIN_TLS]
    lines += [f"protocol = {kind}:23;" for kind in _TELNET]
    targets = (6667, 443)
    scanners = [
        _SCANNER.format(
            target=target, sink=plan.SINK, greeting=GREETING, timeout=_TIMEOUT, protocols="\n    ".join(lines)
        )
        for target in targets
    ]
    names = " ".join(f'scanner = "to{target}";' for target in targets)
    return _HOPM.format(port=_IRC, password=password, scanners="".join(scanners), names=names)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def command_it(password: str, addresses: list[str]) -> int:
    """As an operator of the ngIRCd: have each address checked, and print what HOPM says."""
    deadline, waiting, has_begun = time.monotonic() + _PATIENCE, set(addresses), False
    with socket.create_connection(("127.0.0.1", _IRC), timeout=5) as link:
        _say(link, "NICK boss", "USER boss 0 * :boss")
        for line in _lines(link, deadline):
            print(line, flush=True)  # noqa: T201
            if line.startswith("PING"):
                _say(link, line.replace("PING", "PONG", 1))
            elif " 001 " in line:
                _say(link, f"OPER lab {password}", "JOIN #lab")
            elif not has_begun and re.search(r"^:hopm\S* JOIN| 353 .*hopm", line):
                has_begun = True
                for address in addresses:
                    _say(link, f"PRIVMSG #lab :hopm check {address}")
            elif found := re.search(r"on (\S+) completed", line):
                waiting.discard(found[1])
                if not waiting:
                    break
    return 0 if has_begun else 1


def _say(link: socket.socket, *lines: str) -> None:
    link.sendall("".join(f"{line}\r\n" for line in lines).encode())


def _lines(link: socket.socket, deadline: float) -> Iterator[str]:
    said = b""
    while time.monotonic() < deadline:
        with contextlib.suppress(TimeoutError):
            more = link.recv(4096)
            if not more:
                return
            *whole, said = (said + more).split(b"\n")
            yield from (line.decode("utf-8", "replace").strip() for line in whole)


if __name__ == "__main__":
    sys.exit(command_it(sys.argv[1], sys.argv[2:]))
