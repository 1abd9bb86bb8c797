"""Acls of names and URLs: whether a host of the stranger's own choice is among them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from relaywatch.audit.captures import compiled, host_of, is_of_own_names, is_outside, names_for, subjects
from relaywatch.audit.claims import Claim, ClaimKind
from relaywatch.audit.conditions import ALWAYS, NEVER, Condition, claimed, unknown
from relaywatch.audit.domains import is_public_suffix
from relaywatch.audit.findings import Cause, Gap, GapKind
from relaywatch.audit.proxies import AS_HE_LIKES

if TYPE_CHECKING:
    from .acls import Acl, Acls, Value
    from .requests import Request

_OWN_URL = re.compile(r"\^\w+\??://[\w\\.|?:()-]+(?:/|:|\$|$)")
"""A pattern of URLs that names all hosts it means."""
_NAME = re.compile(r"[\w.-]+")


def cause_of(value: Value, rule: str = "") -> Cause:
    """The line on which a value stands."""
    return Cause(value.directive.text.strip(), value.directive.position, rule)


def gap_of(acls: Acls, value: Value) -> Gap:
    """That a value isn't evaluated."""
    return acls.setup.note(Gap(GapKind.NOT_EVALUATED, value.directive.text.strip(), value.directive.position))


def by_domain(_acls: Acls, acl: Acl, _request: Request) -> Iterable[Condition]:
    """``dstdomain``: ``.example.org`` is the domain and all below; a public suffix leaves hosts to choose."""
    for value in acl.values:
        suffix = value.text.strip(".").lower()
        if value.text.startswith(".") and suffix and not suffix.isdigit() and is_public_suffix(suffix):
            yield _to(f"elsewhere.{suffix}").because(cause_of(value))


def _to(destination: str) -> Condition:
    return claimed(Claim(ClaimKind.DESTINATION, destination))


def by_name(acls: Acls, acl: Acl, request: Request) -> Iterable[Condition]:
    """``dstdom_regex``."""
    for value in acl.values:
        pattern = compiled(value.text, ignoring_case=True)
        if pattern is None:
            yield unknown(gap_of(acls, value))
        elif pattern.search(request.host):
            yield ALWAYS.because(cause_of(value))
        else:
            made = next(names_for(value.text), None)
            fits = _to(made) if made else NEVER
            is_sure = made is not None or is_of_own_names(value.text)
            yield fits.because(cause_of(value)) if is_sure else unknown(gap_of(acls, value))


def by_url(acls: Acls, acl: Acl, request: Request) -> Iterable[Condition]:
    """``url_regex``: any part of the URL may match, and all but the host is the stranger's to write."""
    yield from (_by_url(acls, value, request) for value in acl.values)


def _by_url(acls: Acls, value: Value, request: Request) -> Condition:
    try:
        pattern = re.compile(value.text, re.IGNORECASE)
    except (re.error, RecursionError, OverflowError):
        return unknown(acls.setup.note(Gap(GapKind.SYNTAX, value.text[:80], value.directive.position)))
    if pattern.search(request.url):
        return ALWAYS
    made = next((url for url in _urls(value.text, request) if pattern.search(url)), None)
    if made is not None:
        return _to(made).because(cause_of(value))
    is_sure = re.fullmatch(r"[\w.:/-]+", _plain(value.text)) or _OWN_URL.match(value.text)
    return NEVER if is_sure else unknown(gap_of(acls, value))


def _plain(pattern: str) -> str:
    return re.sub(r"\\(.)", r"\1", pattern.strip("^$")).strip(".")


def _urls(pattern: str, request: Request) -> Iterator[str]:
    """URLs of outside hosts that are made for a pattern; of CONNECT there is a name and a port alone."""
    if request.method == "CONNECT":
        names = (_plain(pattern) + f".{request.host}", *(one.partition(":")[0] for one in subjects(pattern)))
        yield from (f"{name}:{request.port}" for name in names if _NAME.fullmatch(name) and is_outside(name))
        return
    for made in subjects(pattern):
        yield f"{request.url}{made.lstrip('/')}"
        if "://" in made and is_outside(host_of(made)):
            yield made


def by_path(_acls: Acls, _acl: Acl, request: Request) -> Iterable[Condition]:
    """``urlpath_regex``: CONNECT has no path, and any other is as he likes."""
    yield NEVER if request.method == "CONNECT" else AS_HE_LIKES


_OTHERS = ("www.foreign.invalid", "a1.outside.test")


def hosts_to_ask_for(acls: Acls, first: str) -> tuple[str, ...]:
    """A host, and others that a pattern tells from it: what is denied to one may be let through to another."""
    values = (
        value.text
        for acl in acls.known.values()
        if acl.kind in {"dstdom_regex", "url_regex"}
        for value in acl.values
    )
    hosts = [first]
    for pattern in filter(None, (compiled(text, ignoring_case=True) for text in values)):
        hosts += [host for host in _OTHERS if bool(pattern.search(host)) != bool(pattern.search(first))]
    return tuple(dict.fromkeys(hosts))
