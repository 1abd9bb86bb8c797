"""nginx (1.22 and later): variables in what it passes on to, CONNECT modules, and names in TLS hellos."""

from __future__ import annotations

import re

from relaywatch.audit.server import Mark, Server

from .evaluating import evaluate
from .mending import mend

SERVER = Server(
    name="nginx",
    home="/etc/nginx",
    marks=(
        Mark(name="nginx.conf"),
        Mark(name="*.conf", holds=re.compile(r"^\s*(?:http|stream|events)\s*\{", re.MULTILINE)),
    ),
    evaluate=evaluate,
    mend=mend,
    check=("nginx", "-t", "-c", "{main}"),
    reload=("nginx", "-s", "reload"),
)
