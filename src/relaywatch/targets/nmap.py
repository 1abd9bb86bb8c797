"""What nmap writes with ``-oX``: its hosts, with the TCP ports that it found open."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import cast
from xml.etree.ElementTree import Element, ParseError, XMLPullParser

from relaywatch.model.places import parse_address

from .parse import Origin, Target

_ADDRESS_TYPES = frozenset({"ipv4", "ipv6"})

JoinTarget = Callable[[str, object, Origin], Target]
"""Makes a target of an address and a port that stand apart."""


class NmapReader:
    """Reads the document as it comes, and keeps no more of it than one host.

    Methods raise ValueError for what is no such document; then nothing more can be read of it.
    """

    def __init__(self, join: JoinTarget) -> None:
        self._join = join
        self._parser: XMLPullParser[Element] = XMLPullParser(events=("start", "end"))
        self._root: Element | None = None

    def read(self, line: bytes, origin: Origin) -> Iterator[Target]:
        """The targets whose hosts end in this line; ``origin`` is where that is."""
        if b"<!ENTITY" in line:
            raise ValueError("declares entities, which nmap doesn't")
        try:
            self._parser.feed(line)
            for event, element in cast("Iterator[tuple[str, Element]]", self._parser.read_events()):
                if self._root is None:
                    self._root = self._checked(element)
                if event == "end" and element.tag == "host":
                    yield from self._targets(element, origin)
                    self._root.clear()
        except ParseError as error:
            raise ValueError(f"broken XML: {error}") from None

    def _checked(self, root: Element) -> Element:
        if root.tag != "nmaprun":
            raise ValueError(f"XML of {root.tag[:40]!r}, not of nmap")
        return root

    def _targets(self, host: Element, origin: Origin) -> Iterator[Target]:
        addresses = [
            one.get("addr", "") for one in host.iter("address") if one.get("addrtype") in _ADDRESS_TYPES
        ]
        status = host.find("status")
        if status is not None and status.get("state") != "up":
            return
        for address in addresses[:1]:
            parse_address(address)  # a name is none of nmap's
            for port in _open_ports(host):
                yield self._join(address, port, origin)


def _open_ports(host: Element) -> Iterator[str | None]:
    """The ports that are open over TCP; nothing, which is the usual doors, of a host whose ports nobody scanned."""
    ports = host.find("ports")
    if ports is None:
        yield None
        return
    for port in ports.iter("port"):
        state = port.find("state")
        if port.get("protocol") == "tcp" and state is not None and state.get("state") == "open":
            yield port.get("portid")
