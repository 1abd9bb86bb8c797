from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from relaywatch.model.errors import RemoteProtocolError
from relaywatch.wire.x509 import certificate_notes, read_certificate

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
ENDED = datetime(2026, 12, 31, tzinfo=UTC)
MEANWHILE = datetime(2026, 11, 24, tzinfo=UTC)
EC_KEY = ec.generate_private_key(ec.SECP256R1())
RSA_KEY = rsa.generate_private_key(65537, 2048)


SHA256 = hashes.SHA256()


def certificate(
    common_name="mail.example.test",
    *,
    also=(),
    issuer="An Authority",
    key=EC_KEY,
    signer=RSA_KEY,
    signature=SHA256,
    extensions=(),
):
    def named(text):
        return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)] if text else [])

    builder = (
        x509.CertificateBuilder()
        .subject_name(named(common_name))
        .issuer_name(named(issuer))
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(BEGAN)
        .not_valid_after(ENDED)
    )
    if also:
        names = [x509.DNSName(name) for name in also]
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(signer, signature).public_bytes(Encoding.DER)


def read(*arguments, **options):
    return read_certificate(certificate(*arguments, **options))


class TestReading:
    def test_times_are_aware(self):
        facts = read()

        assert (BEGAN, ENDED) == (facts.not_before, facts.not_after)

    def test_alternative_names_come_before_the_common_name_and_none_twice(self):
        facts = read("MAIL.example.test", also=("mx1.example.test", "mail.example.test", "MX1.example.test"))

        assert ("mx1.example.test", "mail.example.test") == facts.names

    def test_wildcards_are_no_host_names(self):
        facts = read("*.example.test", also=("*.example.test", "mail.example.test"))

        assert (("mail.example.test",), ("example.test",)) == (facts.names, facts.wildcards)

    @pytest.mark.parametrize("name", ["Acme Mail Inc", "192.0.2.1", "a@b.test", "x\x1b[2J", "<script>"])
    def test_what_can_be_no_host_name_is_left_out(self, name):
        assert () == read(name).names

    def test_a_certificate_may_name_nobody(self):
        assert () == read("").names

    def test_names_are_bounded(self):
        assert 100 == len(read(also=[f"mx{number}.example.test" for number in range(300)]).names)

    def test_self_issued(self):
        assert read("mail.example.test", issuer="mail.example.test").is_self_issued
        assert not read().is_self_issued

    @pytest.mark.parametrize(
        ("key", "kind", "bits"),
        [
            (RSA_KEY, "RSA", 2048),
            (EC_KEY, "EC", 256),
            (dsa.generate_private_key(1024), "DSA", 1024),
            (ed25519.Ed25519PrivateKey.generate(), "Ed25519", 256),
            (ed448.Ed448PrivateKey.generate(), "Ed448", 456),
        ],
    )
    def test_the_key(self, key, kind, bits):
        facts = read(key=key)

        assert (kind, bits) == (facts.key_type, facts.key_bits)

    def test_a_key_for_agreement_only_has_no_type_of_ours(self):
        der = certificate(key=ed25519.Ed25519PrivateKey.generate())
        facts = read_certificate(
            der.replace(bytes.fromhex("06032b6570"), bytes.fromhex("06032b656e"))
        )  # X25519

        assert ("", 0) == (facts.key_type, facts.key_bits)

    def test_an_unknown_key_is_no_fault(self):
        der = certificate(key=ed25519.Ed25519PrivateKey.generate())
        facts = read_certificate(
            der.replace(bytes.fromhex("06032b6570"), bytes.fromhex("06032b65f0")[:-1] + b"\x7f")
        )

        assert ("", 0) == (facts.key_type, facts.key_bits)

    def test_the_hash_of_the_signature(self):
        assert "sha256" == read().signature_hash
        assert "" == read(signer=ed25519.Ed25519PrivateKey.generate(), signature=None).signature_hash

    def test_an_unknown_signature_is_no_fault(self):
        der = certificate()
        sha256_with_rsa = bytes.fromhex("06092a864886f70d01010b")
        assert (
            ""
            == read_certificate(der.replace(sha256_with_rsa, sha256_with_rsa[:-1] + b"\x7e")).signature_hash
        )

    def test_broken_alternative_names_leave_the_common_name(self):
        broken = x509.UnrecognizedExtension(x509.OID_SUBJECT_ALTERNATIVE_NAME, b"\x30\x03\x82\x05a")

        assert ("mail.example.test",) == read(extensions=[broken]).names

    @pytest.mark.parametrize("der", [b"", b"\x30\x00", b"\x00" * 100, certificate()[:-20]])
    def test_what_is_no_certificate_is_the_peers_fault(self, der):
        with pytest.raises(RemoteProtocolError, match="unreadable certificate") as caught:
            read_certificate(der)

        assert der[:200] == caught.value.data

    @given(st.integers(0, len(certificate()) - 1), st.integers(0, 255))
    def test_a_changed_octet_is_read_or_is_the_peers_fault(self, place, octet):
        der = bytearray(certificate(also=("mail.example.test",)))
        der[place] = octet
        try:
            facts = read_certificate(bytes(der))
        except RemoteProtocolError:
            return
        certificate_notes(facts, MEANWHILE, ["mail.example.test"])


class TestNotes:
    def test_a_sound_certificate_has_none(self):
        assert () == certificate_notes(read(), MEANWHILE, ["other.test", "MAIL.example.test."])

    def test_without_a_name_to_look_for_none_is_missed(self):
        assert () == certificate_notes(read(), MEANWHILE)

    def test_times(self):
        assert ("certificate expired on 2026-12-31",) == certificate_notes(
            read(), ENDED + timedelta(seconds=1)
        )
        assert ("certificate not valid before 2026-01-01",) == certificate_notes(
            read(), BEGAN - timedelta(seconds=1)
        )
        assert () == certificate_notes(read(), ENDED)
        assert () == certificate_notes(read(), BEGAN)

    def test_self_issued(self):
        facts = read("mail.example.test", issuer="mail.example.test")

        assert ("self-issued certificate",) == certificate_notes(facts, MEANWHILE)

    @pytest.mark.parametrize(
        ("key", "notes"),
        [
            (rsa.generate_private_key(65537, 1024), ("weak key: RSA of 1024 bits",)),
            (ec.generate_private_key(ec.SECP192R1()), ("weak key: EC of 192 bits",)),
            (RSA_KEY, ()),
            (ed25519.Ed25519PrivateKey.generate(), ()),
        ],
    )
    def test_weak_keys(self, key, notes):
        assert notes == certificate_notes(read(key=key), MEANWHILE)

    def test_a_broken_hash(self):
        der = certificate()
        sha256_with_rsa, sha1_with_rsa = (bytes.fromhex("06092a864886f70d0101" + end) for end in ("0b", "05"))
        facts = read_certificate(der.replace(sha256_with_rsa, sha1_with_rsa))

        assert ("signed with SHA1",) == certificate_notes(facts, MEANWHILE)

    def test_another_name(self):
        facts = read("", also=("mx.example.test", "*.example.org"))

        assert () == certificate_notes(facts, MEANWHILE, ["mail.example.org"])
        assert ("certificate is for another name: mx.example.test, *.example.org",) == certificate_notes(
            facts, MEANWHILE, ["a.mail.example.org", "example.org"]
        )

    def test_no_name(self):
        assert ("certificate is for another name: none",) == certificate_notes(
            read(""), MEANWHILE, ["mail.example.test"]
        )
