"""Apache httpd 2.4 (mod_proxy, mod_proxy_connect, mod_rewrite): forwarding, who may use it, and rules that send on."""

from __future__ import annotations

import re

from relaywatch.audit.server import Mark, Server

from .evaluating import evaluate
from .mending import mend

_OWN = re.compile(
    r"\A(?=.*^\s*Listen\s)(?=.*^\s*(?:<VirtualHost\s|ProxyRequests\s|LoadModule\s))",
    re.MULTILINE | re.IGNORECASE | re.DOTALL,
)
SERVER = Server(
    name="apache",
    home="/etc/apache2",
    other_homes=("/etc/httpd/conf", "/etc/httpd"),
    marks=(Mark(name="apache2.conf"), Mark(name="httpd.conf"), Mark(name="*.conf", holds=_OWN)),
    evaluate=evaluate,
    mend=mend,
    check=("apachectl", "configtest"),
    reload=("systemctl", "restart", "apache2"),
)
