"""What a stranger has to claim, or how he has to come, so that a configuration lets him through."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class ClaimKind(StrEnum):
    """What the claim is about."""

    REVERSE_PATH = "reverse-path"
    """The address in MAIL FROM: anybody can claim any."""
    HELO = "helo"
    FORWARD_PATH = "forward-path"
    """Only forward-paths of this kind pass: an outside domain, or a form such as ``user%elsewhere@own``."""
    CLIENT_ADDRESS = "client-address"
    """He comes from this network, which isn't the owner's alone."""
    CLIENT_NAME = "client-name"
    """His address has a name (PTR) of this kind."""
    FRONT_END = "front-end"
    """He comes through something that hides his address, and so has this one."""
    PROXY_HEADER = "proxy-header"
    """He sends a PROXY protocol header of his own."""
    XCLIENT = "xclient"
    FIELD = "field"
    """He sends this HTTP field."""
    CERTIFICATE = "certificate"
    """He shows a client certificate of any of these authorities."""
    DNS = "dns"
    """He has these records in a domain of his own."""
    DESTINATION = "destination"
    """He asks for a destination of this kind: his to choose, so that it takes nothing away from *open*."""


@dataclass(frozen=True, slots=True, order=True)
class Claim:
    """One of them; ``negated`` if he must not claim it."""

    kind: ClaimKind
    value: str
    negated: bool = False

    @property
    def is_free(self) -> bool:
        """Whether it costs nothing: what he asks for anyway, or anything but some one thing."""
        return self.negated or self.kind is ClaimKind.DESTINATION

    def opposite(self) -> Claim:
        """The claim that contradicts this one."""
        return Claim(self.kind, self.value, not self.negated)
