"""OpenSMTPD (smtpd.conf(5), 6.8): the first ``match`` that fits an envelope decides."""

from __future__ import annotations

from collections.abc import Iterator

from relaywatch.audit.proxies import is_loopback
from relaywatch.audit.server import Mark, Server, Service
from relaywatch.audit.setup import Setup
from relaywatch.model.evidence import Weakness

from .evaluating import Listener
from .mending import mend
from .reading import DownError, Smtpd, read_into

_PORTS = {"smtp": "25", "smtps": "465", "submission": "587"}


def evaluate(setup: Setup) -> Iterator[Service]:
    """Every listener: which envelopes of strangers are relayed."""
    source = setup.read_main()
    if source is None:
        return
    smtpd = Smtpd(setup)
    try:
        read_into(smtpd, source, ())
    except DownError as error:
        yield Service(
            name="smtpd", weakness=Weakness.OPEN_RELAY, position=error.cause.position, down=error.cause
        )
        return
    listeners = [one for one in smtpd.of("listen") if one.after("on") != "socket"]
    if not listeners:
        yield Service(name="socket", weakness=Weakness.OPEN_RELAY, is_out_of_reach=True)
    for one in listeners:
        where = one.after("on")
        named = one.after("port") or ("smtps" if one.has("smtps") else "smtp")
        inside = is_loopback(where) or where in {"lo", "lo0"}
        listener = Listener(smtpd, one, smtpd.matches, inside=inside)
        yield Service(
            name=f"{where}:{_PORTS.get(named, named)}",
            weakness=Weakness.OPEN_RELAY,
            position=one.position,
            passing=() if one.has("auth") else listener.passing(),
            is_out_of_reach=inside,
        )


SERVER = Server(
    name="opensmtpd",
    home="/etc",
    marks=(Mark(name="smtpd.conf"),),
    evaluate=evaluate,
    mend=mend,
    check=("smtpd", "-n", "-f", "{main}"),
    reload=("systemctl", "restart", "opensmtpd"),
)
