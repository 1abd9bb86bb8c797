"""The lab's DNS: every name that the lab knows, and a quick NXDOMAIN for all others."""

from collections.abc import Iterable

from . import plan
from .cases import Case

COMMAND = "dnsmasq --conf-file=/etc/lab-dns.conf"

_HEAD = f"""\
# Authority for all there is: nothing is forwarded, and what is unknown doesn't exist.
no-resolv
no-hosts
no-daemon
user=root
local-ttl=5
address=/#/
host-record=stranger.example,{plan.STRANGER},{plan.STRANGER_6}
host-record=mx.{plan.SINK_DOMAIN},{plan.SINK},{plan.SINK_6}
host-record={plan.SINK_DOMAIN},{plan.SINK},{plan.SINK_6}
address=/{plan.CANARY}/{plan.SINK}
address=/{plan.CANARY}/{plan.SINK_6}
mx-host={plan.SINK_DOMAIN},mx.{plan.SINK_DOMAIN},10
mx-host={plan.SECOND_SINK_DOMAIN},mx.{plan.SINK_DOMAIN},10
mx-host={plan.POINTING_DOMAIN},mx.{plan.SINK_DOMAIN},10
"""


def configuration(cases: Iterable[Case]) -> str:
    """Return dnsmasq's configuration; a host-record makes the PTR record too."""
    return _HEAD + "".join(_records(case) for case in cases)


def _records(case: Case) -> str:
    home, name = plan.home(case), plan.host_name(case)
    hosted, pointing = plan.hosted_domain(case), plan.pointing_domain(case)
    # Of mail servers alone: Postfix looks at a hundred records of an answer at most.
    pointed = "" if case.is_proxy else f"mx-host={plan.POINTING_DOMAIN},{name},20\n"
    return (
        f"host-record={name},{home.address},{home.address_6}\n"
        f"mx-host={hosted},{name},10\n"
        f"mx-host={pointing},mx.{plan.SINK_DOMAIN},10\n"
        f"mx-host={pointing},{name},20\n"
        f"{pointed}"
    )
