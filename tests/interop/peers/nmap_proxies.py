"""nmap's http-open-proxy and socks-open-proxy, at the ports of each case.

By themselves they ask for the front pages of three sites that aren't in the lab; ``proxy.url`` and
``proxy.pattern`` are nmap's own way to name another page. Both are forced (``+``) to each port, where they
would look at a few by default.
"""

import xml.etree.ElementTree as ET
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from tests.interop.lab import plan
from tests.interop.lab.cases import Case
from tests.interop.lab.shell import run
from tests.interop.lab.world import World

from .landing import WORD

_AT_ONCE = 8
_SCRIPTS = ("http-open-proxy", "socks-open-proxy")


@dataclass(frozen=True, slots=True)
class Said:
    """A peer's verdict, and its words."""

    verdict: str
    words: str


def ask_all(lab: World, cases: list[Case]) -> dict[str, Said]:
    """Ask both scripts about each host."""
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return dict(pool.map(lambda case: (case.name, _ask(lab, case)), cases))


def _ask(lab: World, case: Case) -> Said:
    command = ["nmap", "-n", "-Pn", "-sT", "-p", ",".join(map(str, case.ports)), "-oX", "-"]
    command += ["--script", ",".join(f"+{name}" for name in _SCRIPTS)]
    command += ["--script-args", f"proxy.url=http://{plan.CANARY}/,proxy.pattern={WORD}"]
    answer = run([*lab.as_stranger(), *command, plan.home(case).address], timeout=180)
    return _read(
        [(script.get("id", ""), script.get("output", "")) for script in ET.fromstring(answer).iter("script")]
    )


def _read(outputs: list[tuple[str, str]]) -> Said:
    words = "; ".join(
        dict.fromkeys(f"{name}: {' '.join(said.split())}" for name, said in outputs if said.strip())
    )
    is_open = any("OPEN proxy" in said or "status: open" in said for _, said in outputs)
    return Said("open" if is_open else "silent" if not words else "unknown", words)
