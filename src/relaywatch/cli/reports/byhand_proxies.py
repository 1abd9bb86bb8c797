"""The finding of an open proxy as a command to run by hand, towards a host of the reader's own."""

from __future__ import annotations

import shlex
from types import MappingProxyType

from relaywatch.model.places import Transport
from relaywatch.model.results import FindingLine, ResultLine

YOUR_HOST = "YOUR-HOST"
"""Stands in commands for a host of the reader's own that answers there."""

_PLAIN = MappingProxyType(
    {
        "http-connect": "ncat --proxy {door} --proxy-type http YOUR-HOST {reached}",
        "http2-connect": "curl --http2-prior-knowledge -p -x http://{door} http://YOUR-HOST:{reached}/",
        "http-forward": "curl -x http://{door} http://YOUR-HOST:{reached}/",
        "http-misrouting": "curl -H 'Host: YOUR-HOST:{reached}' http://{door}/",
        "socks4": "curl -x socks4://{door} http://YOUR-HOST:{reached}/",
        "socks4a": "curl -x socks4a://{door} http://YOUR-HOST:{reached}/",
        "socks5-connect": "curl -x socks5h://{door} http://YOUR-HOST:{reached}/",
        "telnet-gateway": "telnet {host} {port}",
        "ssh-forward": "ssh -o PreferredAuthentications=none -p {port} -W YOUR-HOST:{reached} anonymous@{host}",
        "turn-tcp": "turnutils_uclient -t -T -p {port} -e YOUR-HOST {host}",
        "turn-udp": "turnutils_uclient -t -p {port} -e YOUR-HOST {host}",
    }
)
_TLS = MappingProxyType(
    {
        "http-connect": "curl --proxy-insecure -p -x https://{door} http://YOUR-HOST:{reached}/",
        "http2-connect": "curl --proxy-insecure --proxy-http2 -p -x https://{door} http://YOUR-HOST:{reached}/",
        "http-forward": "curl --proxy-insecure -x https://{door} http://YOUR-HOST:{reached}/",
        "http-misrouting": "curl -k -H 'Host: YOUR-HOST:{reached}' https://{door}/",
        "sni-proxy": "openssl s_client -connect {door} -servername YOUR-HOST",
        "turn-udp": "turnutils_uclient -S -t -p {port} -e YOUR-HOST {host}",
    }
)
_DATAGRAMS = MappingProxyType({"turn-udp": "turnutils_uclient -p {port} -e YOUR-HOST {host}"})


def proxy_command(line: ResultLine, finding: FindingLine) -> str | None:
    """Give a command that asks the same proxy for a host of the reader's own, where a usual tool can."""
    commands = {Transport.PLAIN: _PLAIN, Transport.TLS: _TLS, Transport.UDP: _DATAGRAMS}
    template = commands[finding.transport].get(finding.probe) if finding.transport in commands else None
    if template is None:
        return None
    host = shlex.quote(line.target)
    door = f"[{line.target}]" if ":" in line.target else line.target
    reached = next(iter(reversed(finding.destination_ports)), 80)
    return template.format(
        host=host, port=finding.port, door=f"{shlex.quote(door)}:{finding.port}", reached=reached
    )
