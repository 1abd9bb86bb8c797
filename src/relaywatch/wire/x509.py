"""Certificates of targets (RFC 5280): whom they name, and what is wrong with them."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa
from cryptography.utils import CryptographyDeprecationWarning

from relaywatch.model.errors import RemoteProtocolError

from .hostnames import plausible_host_name

_MAX_NAMES = 100
_WEAK_BITS = {"RSA": 2048, "DSA": 2048, "EC": 224}
"""Below these lengths a key is weak (NIST SP 800-131A revision 2)."""
_KEY_TYPES = (
    (rsa.RSAPublicKey, "RSA", 0),
    (ec.EllipticCurvePublicKey, "EC", 0),
    (dsa.DSAPublicKey, "DSA", 0),
    (ed25519.Ed25519PublicKey, "Ed25519", 256),
    (ed448.Ed448PublicKey, "Ed448", 456),
)
"""Classes of keys, their names, and their length where the kind has only one."""
_BROKEN_HASHES = frozenset({"md5", "sha1"})


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateFacts:
    """What a certificate says; its names are the subject's words and prove nothing."""

    names: tuple[str, ...] = ()
    """Host names: the subject alternative names, then the common name; lower case."""
    wildcards: tuple[str, ...] = ()
    """Domains that stand behind ``*.``."""
    not_before: datetime
    not_after: datetime
    is_self_issued: bool
    key_type: str
    """``RSA``, ``EC``, ``DSA``, ``Ed25519``, ``Ed448``; empty if unknown."""
    key_bits: int = 0
    signature_hash: str = ""
    """``sha256`` and the like; empty where the signature has none or one that is unknown."""

    def names_host(self, name: str) -> bool:
        """Whether the certificate is for this host (RFC 6125 section 6.4)."""
        host = name.lower().removesuffix(".")
        return host in self.names or host.partition(".")[2] in self.wildcards


def read_certificate(der: bytes) -> CertificateFacts:
    """Read a certificate in DER.

    :raises RemoteProtocolError: if it can't be read.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", CryptographyDeprecationWarning)  # a bad serial number, say
            return _read(x509.load_der_x509_certificate(der))
    except (ValueError, x509.InvalidVersion) as failure:
        raise RemoteProtocolError(f"unreadable certificate: {failure}", der) from failure


def certificate_notes(facts: CertificateFacts, at: datetime, names: Iterable[str] = ()) -> tuple[str, ...]:
    """Say what is wrong with a certificate at a time, for a host that has any of these names."""
    wanted = tuple(names)
    notes: list[str] = []
    if at > facts.not_after:
        notes.append(f"certificate expired on {facts.not_after:%Y-%m-%d}")
    if at < facts.not_before:
        notes.append(f"certificate not valid before {facts.not_before:%Y-%m-%d}")
    if facts.is_self_issued:
        notes.append("self-issued certificate")
    if facts.key_bits < _WEAK_BITS.get(facts.key_type, 0):
        notes.append(f"weak key: {facts.key_type} of {facts.key_bits} bits")
    if facts.signature_hash in _BROKEN_HASHES:
        notes.append(f"signed with {facts.signature_hash.upper()}")
    if wanted and not any(facts.names_host(name) for name in wanted):
        notes.append("certificate is for another name: " + (", ".join(_all_names(facts)) or "none"))
    return tuple(notes)


def _read(certificate: x509.Certificate) -> CertificateFacts:
    written = [*_alternative_names(certificate), *_common_names(certificate)][:_MAX_NAMES]
    key_type, key_bits = _key(certificate)
    return CertificateFacts(
        names=_host_names(name for name in written if not name.startswith("*.")),
        wildcards=_host_names(name.removeprefix("*.") for name in written if name.startswith("*.")),
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
        is_self_issued=certificate.issuer == certificate.subject,
        key_type=key_type,
        key_bits=key_bits,
        signature_hash=_signature_hash(certificate),
    )


def _host_names(written: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for text in written if (name := plausible_host_name(text))))


def _common_names(certificate: x509.Certificate) -> list[str]:
    attributes = certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    return [str(attribute.value) for attribute in attributes]


def _alternative_names(certificate: x509.Certificate) -> list[str]:
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except (x509.ExtensionNotFound, x509.DuplicateExtension, x509.UnsupportedGeneralNameType, ValueError):
        return []
    return extension.value.get_values_for_type(x509.DNSName)


def _key(certificate: x509.Certificate) -> tuple[str, int]:
    try:
        key = certificate.public_key()
    except (UnsupportedAlgorithm, ValueError):
        return "", 0
    for kind, name, bits in _KEY_TYPES:
        if isinstance(key, kind):
            return name, bits or key.key_size  # type: ignore[union-attr]
    return "", 0


def _signature_hash(certificate: x509.Certificate) -> str:
    try:
        algorithm = certificate.signature_hash_algorithm
    except UnsupportedAlgorithm:
        return ""
    return algorithm.name if algorithm is not None else ""


def _all_names(facts: CertificateFacts) -> list[str]:
    return [*facts.names, *(f"*.{domain}" for domain in facts.wildcards)]
