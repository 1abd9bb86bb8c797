"""Squid (squid.conf, 5 and 6): access lists of acls, whose last line's opposite holds where none matches."""

from __future__ import annotations

import re

from relaywatch.audit.server import Mark, Server

from .evaluating import evaluate
from .mending import mend

SERVER = Server(
    name="squid",
    home="/etc/squid",
    marks=(
        Mark(name="squid.conf"),
        Mark(name="*.conf", holds=re.compile(r"^https?_port\s", re.MULTILINE)),
    ),
    evaluate=evaluate,
    mend=mend,
    check=("squid", "-k", "parse", "-f", "{main}"),
    reload=("squid", "-k", "reconfigure"),
)
