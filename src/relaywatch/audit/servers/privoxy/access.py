"""The words of Privoxy's access lines, as 3.0.34 reads them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from relaywatch.audit.addresses import NOBODY, AddressSet
from relaywatch.model.places import Address


@dataclass(frozen=True, slots=True)
class Meant:
    """Whom or what a word of an access line means."""

    addresses: AddressSet = NOBODY
    port: int = 0
    is_name: bool = False
    is_known: bool = True
    """Whether its addresses are; a host's own are as good as known, since no stranger has them."""


def meant(text: str) -> Meant | None:
    """``host[:port][/mask]`` as Privoxy reads it; nothing if it is none: an IPv6 address without brackets, say."""
    spec, slash, mask = text.partition("/")
    length = re.match(r"[\d.]+", mask)
    host, port = _host_and_port(spec)
    if (slash and length is None) or not host or (port and not (port.isascii() and port.isdigit())):
        return None
    address = _address(host, in_brackets=spec.startswith("["))
    if address is None:
        is_name = not spec.startswith("[") and re.fullmatch(r"[\w.-]*[^\W\d][\w-]*\.?", host) is not None
        return Meant(is_name=True, is_known=not slash) if is_name else None
    bits = _length(length[0] if length else "128", address)
    if bits is None:
        return Meant(port=int(port or 0), is_known=False)
    return Meant(_compared(address, bits), int(port or 0))


def _host_and_port(spec: str) -> tuple[str, str]:
    if spec.startswith("["):
        host, _, rest = spec[1:].partition("]")
        return host, rest.removeprefix(":")
    host, _, port = spec.partition(":")
    return host, port


def _address(host: str, *, in_brackets: bool) -> Address | None:
    """An IPv6 address in brackets, or an IPv4 address as ``inet_aton`` has it: ``0`` is one."""
    if in_brackets:
        try:
            return IPv6Address(host)
        except ValueError:
            return None
    parts = host.split(".")
    if len(parts) > 4 or not all(part.isascii() and part.isdigit() and len(part) < 11 for part in parts):
        return None
    *first, last = map(int, parts)
    if any(number > 255 for number in first) or last >= 256 ** (4 - len(first)):
        return None
    return IPv4Address(sum(number << (24 - 8 * place) for place, number in enumerate(first)) + last)


def _length(mask: str, address: Address) -> int | None:
    """How many bits a mask has, as a number or in octets; nothing if there are holes in it."""
    if "." not in mask:
        return min(int(mask), address.max_prefixlen)
    octets = _address(mask, in_brackets=False)
    ones = f"{int(octets):032b}".rstrip("0") if octets is not None and address.version == 4 else "0"
    return len(ones) if "0" not in ones else None


def _compared(address: Address, bits: int) -> AddressSet:
    """The clients for whom the first bits are the same: of the other family too, whose octets are compared all the same.

    But for IPv4 in IPv6, which is IPv4. (Seen with 3.0.34: ``[::]/0`` means everybody, and so does ``0/0``.)
    """
    number = int(address)
    if address.version == 4:
        return AddressSet.of([f"{address}/{bits}", f"{IPv6Address(number << 96)}/{bits}"])
    if bits >= 96 and number >> 32 == 0xFFFF:
        return AddressSet.of([f"{address}/{bits}", f"{IPv4Address(number & 0xFFFFFFFF)}/{bits - 96}"])
    return AddressSet.of([f"{address}/{bits}", f"{IPv4Address(number >> 96)}/{min(bits, 32)}"])
