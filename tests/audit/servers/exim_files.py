"""Exim set-ups as tests write them: one file with an ACL, or Debian's."""

from __future__ import annotations

from collections.abc import Iterable

from tests.audit.auditing import audited

from relaywatch.audit.findings import ServerReport
from relaywatch.audit.servers.exim import SERVER
from relaywatch.audit.setup import FrontEnd

HOME = "/etc/exim4"
LISTS = (
    "domainlist local_domains = @ : own.example\n"
    "domainlist relay_to_domains = example.net\n"
    "hostlist relay_from_hosts = 127.0.0.1\n"
    "acl_smtp_rcpt = check_rcpt\n"
)
REQUIRE = "  require domains = +local_domains : +relay_to_domains\n  accept\n"
ROUTERS = (
    "begin routers\n"
    "dnslookup:\n  driver = dnslookup\n  domains = ! +local_domains\n"
    "user:\n  driver = accept\n  check_local_user\n"
)
TEMPLATE = """UPEX4CmacrosUPEX4C = 1
domainlist local_domains = MAIN_LOCAL_DOMAINS
domainlist relay_to_domains = MAIN_RELAY_TO_DOMAINS
hostlist relay_from_hosts = MAIN_RELAY_NETS
.ifdef MAIN_LOCAL_INTERFACES
local_interfaces = MAIN_LOCAL_INTERFACES
.endif
.ifndef MAIN_ACL_CHECK_RCPT
MAIN_ACL_CHECK_RCPT = acl_check_rcpt
.endif
acl_smtp_rcpt = MAIN_ACL_CHECK_RCPT
"""
ACL = """begin acl
acl_check_rcpt:
  accept
    hosts = :
  deny
    domains = !+local_domains
    local_parts = ^[./|] : ^.*[@%!`#&?] : ^.*/\\\\.\\\\./
    message = restricted characters in address
  deny    condition     = ${if and {\\
                        {>{$rcpt_count}{10}}\\
                        {<{$recipients_count}{${eval:$rcpt_count/2}}} }}
  accept
    hosts = +relay_from_hosts
    control = submission/sender_retain
  accept
    authenticated = *
  require
    message = relay not permitted
    domains = +local_domains : +relay_to_domains
  require
    verify = recipient
  accept
"""
DEBIAN_ROUTERS = """begin routers
.ifdef DCconfig_internet
dnslookup:
  driver = dnslookup
  domains = ! +local_domains
.endif
.ifdef DCconfig_local
nonlocal:
  driver = redirect
  domains = ! +local_domains
  allow_fail
  data = :fail: Mailing to remote domains not supported
.endif
"""


def files(acl: str, main: str = "", routers: str = ROUTERS, **beside: str) -> dict[str, str]:
    """One file with this RCPT ACL, and options before it."""
    text = f"{LISTS}{main}begin acl\ncheck_rcpt:\n{acl}{routers}"
    return {f"{HOME}/exim4.conf": text, **{f"{HOME}/{name}": said for name, said in beside.items()}}


def exim(
    acl: str,
    main: str = "",
    routers: str = ROUTERS,
    *,
    front_ends: Iterable[FrontEnd] = (),
    allowed: Iterable[str] = (),
    **beside: str,
) -> ServerReport:
    """The report of one file."""
    return audited(SERVER, files(acl, main, routers, **beside), front_ends=front_ends, allowed=allowed)


def debian(*, split: bool = False, **answers: str) -> dict[str, str]:
    """Debian's answers with its template or its folder of parts, cut down to what decides."""
    said = {
        "dc_eximconfig_configtype": "internet",
        "dc_other_hostnames": "own.example",
        "dc_local_interfaces": "",
        "dc_relay_domains": "",
        "dc_minimaldns": "false",
        "dc_relay_nets": "",
        "dc_use_split_config": "true" if split else "false",
        **answers,
    }
    main = "# answers\n" + "".join(f"{name}='{value}'\n" for name, value in said.items())
    found = {f"{HOME}/update-exim4.conf.conf": main}
    if not split:
        return {**found, f"{HOME}/exim4.conf.template": TEMPLATE + ACL + DEBIAN_ROUTERS}
    parts = {"main/01_lists": TEMPLATE, "acl/30_rcpt": ACL, "router/100_primary": DEBIAN_ROUTERS}
    empty = {f"{name}/00_none": "" for name in ("transport", "retry", "rewrite", "auth")}
    return {**found, **{f"{HOME}/conf.d/{name}": text for name, text in {**parts, **empty}.items()}}
