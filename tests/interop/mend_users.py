"""Who uses a proxy by right, or is a guest of its site, and what each gets: asked with tools that are none of ours.

The lines are as an administrator would write them, with a remedy's names in them; ``WORD`` is told apart by the
witness, which answers each caller with a word of its own.
"""

import contextlib
import re
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from relaywatch.advice.records import Remedy

from .lab import network, plan, reaching, rooms, witness
from .lab.cases import Case
from .lab.world import CHECKOUT, World
from .mend_names import INSIDE, SITE, filled

_PATIENCE = 20  # seconds for a tool
_NOTED = 3.0  # seconds in which an arrival is noted after the tool has ended
_SILENT = 0.5  # the same where none should come
_NOT_FOR_A_PROGRAM = ("relaywatch check",)  # the scan after the mending asks the same

_HTTP = "curl -sSv -m 8 -x http://192.0.2.30:{port}"
_SOCKS = "curl -sSv -m 8 --socks5-hostname relay:CHANGE-THIS-PASSWORD@192.0.2.30:1080"
_TURN = "timeout 10 turnutils_uclient -v -c -n 2 -m 1 -l 100 -e 198.51.100.9 -r 3480"
_SSH = (
    "printf '#!/bin/sh\\necho CHANGE-THIS-PASSWORD\\n' > /run/WORD; chmod +x /run/WORD; "
    "printf 'GET /WORD HTTP/1.0\\r\\n\\r\\n' | SSH_ASKPASS=/run/WORD SSH_ASKPASS_REQUIRE=force timeout 10 "
    "ssh -F none -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -W {to} relay@proxy.example.org"
)


@dataclass(frozen=True, slots=True)
class Use:
    """One line of somebody's, and whether what it asks for is had after the mending."""

    line: str
    had: bool = True
    outside: bool = False  # said by a stranger; else by a user of the servers' network
    wordless: bool = (
        False  # it can't carry the word: that something came, and turnutils got it back, is what counts
    )


def _http(port: int) -> tuple[Use, ...]:
    """Pages and tunnels to 443 are had; other ports, and the proxy's own host, aren't."""
    ask = _HTTP.format(port=port)
    return (
        Use(f"{ask} http://canary.elsewhere.example/WORD"),
        Use(f"{ask} -p http://canary.elsewhere.example:443/WORD"),
        Use(f"{ask} -p smtp://canary.elsewhere.example:25/WORD", had=False),
        Use(f"{ask} -p http://canary.elsewhere.example:6667/WORD", had=False),
    )


_GUEST = Use("curl -sS -m 8 -H 'Host: www.example.org' http://proxy.example.org/WORD", outside=True)
_TLS_GUEST = Use(
    "curl -sSk -m 8 --connect-to www.example.org:443:proxy.example.org:443 https://www.example.org/WORD",
    outside=True,
)
_SOCKS_USER = Use(f"{_SOCKS} http://canary.elsewhere.example:443/WORD")
_NO_PASSWORD = Use(
    "curl -sS -m 8 --socks5-hostname 192.0.2.30:1080 http://canary.elsewhere.example:443/WORD", had=False
)

#: By remedy; nobody has anything of a forward proxy that is switched off.
USES: dict[str, tuple[Use, ...]] = {
    "squid-http-access": _http(3128),
    "tinyproxy-allow": (*_http(8888)[:2], _http(8888)[3]),
    "privoxy-listen": _http(8118),
    "trafficserver-ip-allow": _http(8080),
    "apache-forward-own-clients": _http(80),
    "envoy-rbac": _http(8080),
    "dante-rules": (
        _SOCKS_USER,
        Use(f"{_SOCKS} smtp://canary.elsewhere.example:25/WORD", had=False),
        _NO_PASSWORD,
    ),
    "microsocks-command-line": (_SOCKS_USER, _NO_PASSWORD),
    "apache-fixed-backend": (_GUEST,),
    "caddy-fixed-upstream": (_GUEST,),
    "nginx-fixed-upstream": (_GUEST,),
    "haproxy-fixed-servers": (_GUEST,),
    "nginx-stream-sni": (_TLS_GUEST,),
    "haproxy-sni-map": (_TLS_GUEST,),
    "sniproxy-table": (_GUEST, _TLS_GUEST),
    "coturn-auth": (Use(f"{_TURN} -u relay -W CHANGE-THIS-SECRET turn.example.org", wordless=True),),
    "openssh-forwarding": (
        Use(_SSH.format(to="192.0.2.31:443")),
        Use(_SSH.format(to="canary.elsewhere.example:443"), had=False),
    ),
}


class Neighbourhood:
    """The host of the users, the site behind the reverse proxies, and the stranger, in a world that stands."""

    def __init__(self, lab: World) -> None:
        self._lab = lab
        self._namespace = network.namespace(lab.run_id, INSIDE.label)
        self._site = lab.folder / "site.jsonl"
        self._outside = reaching.Journals(lab.journal, lab.visitors)
        self._anywhere = reaching.Journals(lab.journal, lab.visitors, self._site)

    @contextlib.contextmanager
    def site(self) -> Iterator[None]:
        """Let the site answer for a while; it is a witness of its own, on the servers' side."""
        network.add_host(self._lab.run_id, INSIDE)
        with self._lab.witness():  # which makes the certificate
            certificate = self._lab.folder / "witness.pem"
        self._site.touch()
        command = ["ip", "netns", "exec", self._namespace, sys.executable, "-m", "tests.interop.lab.witness"]
        with (self._lab.folder / "site").open("ab") as output:
            process = subprocess.Popen(
                [*command, self._site, certificate, SITE],
                cwd=CHECKOUT,
                stderr=output,
                start_new_session=True,
            )
        try:
            rooms.wait_until_listening(process, witness.PORTS)
            yield
        finally:
            process.terminate()
            process.wait(timeout=10)

    def miss(self, case: Case, use: Use) -> str:
        """Return what a line said if it didn't end as it should, "" if it did."""
        word = secrets.token_hex(8)
        mark = self._anywhere.mark()
        said = self._say(filled(re.sub(r"\bWORD\b", word, use.line), case), outside=use.outside)
        seconds = _NOTED if use.had else _SILENT
        came = _arrivals(case, self._anywhere, mark, "" if use.wordless else word, seconds)
        words = ["tot_recv_msgs=2"] if use.wordless else [arrival["answer"] for arrival in came]
        heard = any(answer in said for answer in words)
        return "" if use.had == bool(came and heard) else f"{use.line}\n{came}\n{said}"

    def shown(self, case: Case, remedy: Remedy, *, expected: bool) -> bool:
        """Tell whether the lines with which the remedy is verified bring something of a stranger's through."""
        mark = self._outside.mark()
        for line in verifying(remedy):
            self._say(filled(line, case), outside=True)
        return bool(_arrivals(case, self._outside, mark, "", _NOTED if expected else _SILENT))

    def _say(self, line: str, *, outside: bool) -> str:
        """Say a shell line with the stranger's tools, from the stranger's place or from the users'."""
        stranger = str(rooms.first_process(self._lab.stranger))
        place = ["--net"] if outside else [f"--net=/run/netns/{self._namespace}"]
        parts = ("--mount", "--uts", "--ipc", "--pid", "--root", "--wd", *place)
        try:
            done = subprocess.run(
                ["nsenter", "--target", stranger, *parts, "sh", "-c", line],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=_PATIENCE,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            return f"(ended after {_PATIENCE} s) {error.stdout!r}"
        return (done.stdout + done.stderr).decode("utf-8", "replace")


def verifying(remedy: Remedy) -> list[str]:
    """Return the lines that a remedy tells to verify it by, as far as a program can."""
    lines = [line for step in remedy.verify for line in step.commands]
    return [line for line in lines if not line.startswith(_NOT_FOR_A_PROGRAM)]


def _arrivals(
    case: Case, journals: reaching.Journals, mark: list[int], word: str, seconds: float
) -> list[dict[str, Any]]:
    """Return what came from a case's host since the mark, with the word in it; wait for the first of it."""
    home = plan.home(case)
    deadline = time.monotonic() + seconds
    while True:
        since = [line for line in journals.since(mark) if line["source"] in {home.address, home.address_6}]
        came = [line for line in since if word in line.get("said", "")]
        if came or time.monotonic() > deadline:
            return came
        time.sleep(0.05)
