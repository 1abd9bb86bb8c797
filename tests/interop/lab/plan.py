"""Who lives where: the servers' network, and the outside from which a stranger looks at it.

Addresses are those of RFC 5737 and RFC 3849. The outside is outside of every range that a stock server
trusts: loopback, private networks and the server's own subnet.
"""

from dataclasses import dataclass

from .cases import Case

SINK_DOMAIN = "sink.example"
CANARY = "canary.sink.example"  # the sink's addresses, and every name under it has them too
SECOND_SINK_DOMAIN = "second-sink.example"  # another of the stranger's, with the same MX
POINTING_DOMAIN = "pointing.example"  # a stranger's: the sink is its first MX, every mail server a second one
STRANGER = "203.0.113.10"
STRANGER_6 = "2001:db8:113::10"
SINK = "203.0.113.25"
SINK_6 = "2001:db8:113::25"
DNS = "203.0.113.53"


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two networks; the router is its host 1."""

    name: str
    prefix: str
    prefix_6: str

    @property
    def router(self) -> str:
        """The router's IPv4 address on this side."""
        return f"{self.prefix}.1"

    @property
    def router_6(self) -> str:
        """The router's IPv6 address on this side."""
        return f"{self.prefix_6}::1"


SERVERS = Side("servers", "198.51.100", "2001:db8:51")
OUTSIDE = Side("outside", "203.0.113", "2001:db8:113")


@dataclass(frozen=True, slots=True)
class Home:
    """A host's place: its side and addresses; further addresses are never a connection's source."""

    label: str
    side: Side
    number: int
    further: tuple[int, ...] = ()

    @property
    def address(self) -> str:
        """The host's own IPv4 address."""
        return f"{self.side.prefix}.{self.number}"

    @property
    def address_6(self) -> str:
        """The host's own IPv6 address."""
        return f"{self.side.prefix_6}::{self.number}"


STRANGER_HOME = Home("outside", OUTSIDE, 10, further=(25,))
DNS_HOME = Home("dns", OUTSIDE, 53)


def home(case: Case) -> Home:
    """Return the place of a server."""
    return Home(case.name, SERVERS, case.number)


def host_name(case: Case) -> str:
    """Return the server's own name; its PTR record says the same."""
    return f"{case.name}.lab.example"


def hosted_domain(case: Case) -> str:
    """Return the domain that the server hosts."""
    return f"{case.name}.hosted.example"


def pointing_domain(case: Case) -> str:
    """Return a stranger's domain with two MX: the sink, then the server, which nobody asked."""
    return f"{case.name}.{POINTING_DOMAIN}"
