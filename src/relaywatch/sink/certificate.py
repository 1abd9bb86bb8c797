"""The sink's own certificate: made here, or read from files."""

from __future__ import annotations

import hashlib
import os
import ssl
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from .errors import KeyFileError

_LIFETIME = timedelta(days=3650)
"""Long, since it is known by its fingerprint and not by its date."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate (with its chain) and its private key, both PEM."""

    chain: bytes
    private_key: bytes = field(repr=False)

    @property
    def sha256(self) -> str:
        """The fingerprint of the first certificate in hexadecimal."""
        first = x509.load_pem_x509_certificates(self.chain)[0]
        return hashlib.sha256(first.public_bytes(serialization.Encoding.DER)).hexdigest()

    def server_context(self, *, takes_old_tls: bool = False, alpn: Sequence[str] = ()) -> ssl.SSLContext:
        """A context for a server that shows this certificate.

        With ``takes_old_tls`` it also speaks what an old relay speaks, which else would not deliver.

        :raises KeyFileError: if the private key isn't the certificate's.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.options |= ssl.OP_NO_RENEGOTIATION  # a stranger could have us compute for ever
        context.num_tickets = 0  # nobody comes twice; and Squid by GnuTLS takes a ticket for a broken answer
        if alpn:
            context.set_alpn_protocols(list(alpn))
        if takes_old_tls:
            context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
            context.set_ciphers("DEFAULT:@SECLEVEL=0")
        # OpenSSL reads a chain from a file only; mkstemp makes it 0600, and it's gone at once.
        with tempfile.NamedTemporaryFile(suffix=".pem") as file:
            file.write(self.private_key + b"\n" + self.chain)
            file.flush()
            try:
                context.load_cert_chain(file.name)
            except ssl.SSLError as error:
                raise KeyFileError(f"the certificate and its private key don't fit: {error}") from error
        return context


def make_certificate(names: Iterable[str]) -> Certificate:
    """Make a self-signed certificate for names and addresses; literals lose their brackets."""
    bare = [name.strip("[]").removeprefix("IPv6:") for name in names] or ["localhost"]
    key = rsa.generate_private_key(65537, 2048)  # an old relay knows no elliptic curves
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, bare[0][:64])])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))  # the peer's clock may be slow
        .not_valid_after(now + _LIFETIME)
        .add_extension(x509.SubjectAlternativeName([_general_name(name) for name in bare]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    return Certificate(
        certificate.public_bytes(serialization.Encoding.PEM),
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
    )


def read_certificate(chain: Path, private_key: Path | None = None) -> Certificate:
    """Read a certificate with its chain, and its private key from the same or another file, both PEM.

    :raises KeyFileError: if a file can't be read or holds no certificate.
    """
    try:
        chain_octets = chain.read_bytes()
        key_octets = private_key.read_bytes() if private_key else chain_octets
        x509.load_pem_x509_certificates(chain_octets)
        serialization.load_pem_private_key(key_octets, password=None)
    except OSError as error:
        raise KeyFileError(f"{error.filename}: {error.strerror}") from error
    except (ValueError, TypeError) as error:
        raise KeyFileError(f"{chain}: no usable PEM certificate and private key: {error}") from error
    return Certificate(chain_octets, key_octets)


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name.encode("idna").decode("ascii") if not name.isascii() else name)


def write_certificate(path: Path, certificate: Certificate) -> None:
    """Write private key and chain into one new file that only its owner can read.

    :raises KeyFileError: if there is a file already, or it can't be written.
    """
    write_private(path, certificate.private_key + certificate.chain)


def write_private(path: Path, octets: bytes) -> None:
    """Write a new file that only its owner can read.

    :raises KeyFileError: if there is a file already, or it can't be written.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(octets)
    except FileExistsError as error:
        raise KeyFileError(f"{path} is there already; remove it first if you mean to replace it") from error
    except OSError as error:
        raise KeyFileError(f"{path}: {error.strerror}") from error
