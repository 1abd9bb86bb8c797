"""Times the audit alone: ten thousand small configurations in one run.

    python bench/audit.py [COUNT] [--profile]

They are of several servers, open and closed, in folders of a hundred; beside each lies a file that is nobody's.
"""

import cProfile
import pstats
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from relaywatch.audit import audit

POSTFIX = "compatibility_level = 3.6\nmyhostname = mail{n}.example\nmynetworks = 127.0.0.0/8 {net}\nsmtpd_relay_restrictions = permit_mynetworks, reject_unauth_destination\n"
MASTER = "smtp inet n - y - - smtpd\nsubmission inet n - y - - smtpd\n  -o smtpd_sasl_auth_enable=yes\n"
SQUID = "http_port 3128\nacl localnet src {net}\nacl SSL_ports port 443\nacl CONNECT method CONNECT\nhttp_access deny CONNECT !SSL_ports\nhttp_access allow localnet\nhttp_access deny all\n"
TINYPROXY = "Port 8888\nAllow 127.0.0.1\nAllow {net}\nMaxClients 100\n"
COMPOSE = 'services:\n  mail:\n    image: mwader/postfix-relay\n    ports: ["25:25"]\n    environment:\n      POSTFIX_mynetworks: {net}\n'
KINDS = (
    {"postfix/main.cf": POSTFIX, "postfix/master.cf": MASTER},
    {"squid.conf": SQUID},
    {"tinyproxy.conf": TINYPROXY},
    {"compose.yaml": COMPOSE},
)
NETWORKS = ("10.0.0.0/8", "192.168.0.0/16", "0.0.0.0/0", "172.16.0.0/12", "8.0.0.0/8")


def lay(root: Path, count: int) -> None:
    """Write the folder; every configuration differs."""
    for number in range(count):
        folder = root / f"{number // 100}" / f"{number}"
        for name, text in KINDS[number % len(KINDS)].items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text.format(n=number, net=NETWORKS[number % len(NETWORKS)]))
        (folder / "notes.txt").write_text("nobody's\n")


def main() -> None:
    """Measure, and say what took the time."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    with tempfile.TemporaryDirectory() as name:
        lay(Path(name), count)
        profile = cProfile.Profile() if "--profile" in sys.argv else None
        began, cpu = time.perf_counter(), time.process_time()
        if profile:
            profile.enable()
        verdicts = Counter(report.verdict.value for report in audit([name]))
        if profile:
            profile.disable()
        seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
        print(
            f"{verdicts.total()} servers in {seconds:.1f} s ({cpu:.1f} s of CPU), {verdicts.total() / seconds:.0f} a second: {dict(verdicts)}"
        )
        if profile:
            pstats.Stats(profile).sort_stats("cumulative").print_stats(45)


if __name__ == "__main__":
    main()
