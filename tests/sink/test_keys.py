import ssl
import stat
from contextlib import suppress

import pytest
from cryptography import x509

from relaywatch.model.errors import UsageError
from relaywatch.sink.certificate import make_certificate, read_certificate, write_certificate
from relaywatch.sink.errors import KeyFileError
from relaywatch.sink.keys import certificate_path, generate_keys, make_keys, read_keys, write_keys

SHA256 = "ab" * 32


def test_keys_come_back_as_they_were_written(tmp_path):
    keys = make_keys(certificate_sha256=SHA256)

    write_keys(tmp_path / "sink.toml", keys)

    assert keys == read_keys(tmp_path / "sink.toml")
    assert 0o600 == stat.S_IMODE((tmp_path / "sink.toml").stat().st_mode)


def test_keys_are_drawn_anew_each_time():
    first, second = make_keys(), make_keys()

    assert 2 == len({first.canary_key, second.canary_key})
    assert 2 == len({first.poll_key, second.poll_key})
    assert 32 == len(first.canary_key)


def test_keys_stay_out_of_tracebacks_and_logs():
    keys = make_keys()

    assert keys.poll_key not in repr(keys)
    assert keys.canary_key.hex() not in repr(keys)
    assert repr(keys.canary_key) not in repr(keys)


def test_keygen_writes_keys_and_the_certificate_that_they_name(tmp_path):
    path = tmp_path / "sink.toml"

    keys = generate_keys(path, ["sink.test"])

    assert keys == read_keys(path)
    assert keys.certificate_sha256 == read_certificate(certificate_path(path)).sha256
    assert 0o600 == stat.S_IMODE(certificate_path(path).stat().st_mode)


@pytest.mark.parametrize("name", ["sink.toml", "sink.pem"])
def test_nothing_is_overwritten(tmp_path, name):
    (tmp_path / name).write_text("mine")

    with pytest.raises(KeyFileError, match=f"{name} is there already"):
        generate_keys(tmp_path / "sink.toml", ["sink.test"])

    assert "mine" == (tmp_path / name).read_text()


def test_a_key_file_that_others_may_read_is_refused(tmp_path):
    path = tmp_path / "sink.toml"
    write_keys(path, make_keys())
    path.chmod(0o640)

    with pytest.raises(KeyFileError, match=r"mode 0640\); chmod 600"):
        read_keys(path)


def test_a_missing_key_file_says_how_to_make_one(tmp_path):
    with pytest.raises(UsageError, match=r"No such file.*relaywatch sink keygen"):
        read_keys(tmp_path / "sink.toml")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "schema"),
        ("not toml", "sink.toml"),
        ("\xff", "sink.toml"),
        ('schema = "relaywatch.sink-keys/2"', "schema"),
        ('schema = "relaywatch.sink-keys/1"', "canary_key"),
        (f'schema = "relaywatch.sink-keys/1"\ncanary_key = "{SHA256}"\npoll_key = "short"', "poll_key"),
        (f'schema = "relaywatch.sink-keys/1"\ncanary_key = "xyz"\npoll_key = "{"p" * 43}"', "canary_key"),
        (
            f'schema = "relaywatch.sink-keys/1"\ncanary_key = "{SHA256}"\npoll_key = "{"p" * 43}"\nextra = 1',
            "extra",
        ),
        (
            (
                f'schema = "relaywatch.sink-keys/1"\ncanary_key = "{SHA256}"\npoll_key = "{"p" * 43}"\n'
                'certificate_sha256 = "AB"'
            ),
            "certificate_sha256",
        ),
    ],
)
def test_anything_else_in_a_key_file_is_named(tmp_path, text, complaint):
    path = tmp_path / "sink.toml"
    path.write_bytes(text.encode("latin-1"))
    path.chmod(0o600)

    with pytest.raises(KeyFileError, match=complaint):
        read_keys(path)


def test_a_certificate_comes_back_as_it_was_written(tmp_path):
    certificate = make_certificate(["sink.test"])
    write_certificate(tmp_path / "sink.pem", certificate)

    assert certificate.sha256 == read_certificate(tmp_path / "sink.pem").sha256


def test_a_private_key_may_lie_in_a_file_of_its_own(tmp_path):
    certificate = make_certificate(["sink.test"])
    (tmp_path / "chain.pem").write_bytes(certificate.chain)
    (tmp_path / "key.pem").write_bytes(certificate.private_key)

    read = read_certificate(tmp_path / "chain.pem", tmp_path / "key.pem")

    assert certificate == read
    read.server_context()


def test_it_hands_out_no_tickets():
    """Squid by GnuTLS takes one that comes before the answer for a broken answer, and says 502."""
    client_context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client_context.check_hostname, client_context.verify_mode = False, ssl.CERT_NONE
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = make_certificate(["a.test"]).server_context().wrap_bio(there, back, server_side=True)
    client = client_context.wrap_bio(back, there)
    for step in (client.do_handshake, server.do_handshake, client.do_handshake, server.do_handshake):
        with suppress(ssl.SSLWantReadError):
            step()
    server.write(b"answer")

    assert (b"answer", "TLSv1.3") == (client.read(100), client.version())
    assert not client.session.has_ticket


def test_a_private_key_of_another_certificate_is_refused(tmp_path):
    (tmp_path / "chain.pem").write_bytes(make_certificate(["a.test"]).chain)
    (tmp_path / "key.pem").write_bytes(make_certificate(["b.test"]).private_key)

    with pytest.raises(KeyFileError, match="don't fit"):
        read_certificate(tmp_path / "chain.pem", tmp_path / "key.pem").server_context()


@pytest.mark.parametrize("octets", [b"", b"nothing", make_certificate(["a.test"]).chain])
def test_a_file_without_certificate_and_key_is_named(tmp_path, octets):
    (tmp_path / "sink.pem").write_bytes(octets)

    with pytest.raises(KeyFileError, match=r"sink\.pem"):
        read_certificate(tmp_path / "sink.pem")


def test_a_directory_that_is_not_there_is_named(tmp_path):
    with pytest.raises(KeyFileError, match="No such file"):
        generate_keys(tmp_path / "nowhere" / "sink.toml", ["sink.test"])
    with pytest.raises(KeyFileError, match="No such file"):
        read_certificate(tmp_path / "nowhere.pem")


def test_a_certificate_names_names_addresses_and_other_scripts():
    certificate = make_certificate(["sink.test", "[192.0.2.1]", "[IPv6:2001:db8::1]", "메일.test"])

    names = (
        x509.load_pem_x509_certificate(certificate.chain)
        .extensions.get_extension_for_class(x509.SubjectAlternativeName)
        .value
    )
    assert ["sink.test", "xn--h32bq4v.test"] == names.get_values_for_type(x509.DNSName)
    assert ["192.0.2.1", "2001:db8::1"] == [str(a) for a in names.get_values_for_type(x509.IPAddress)]
    assert "PRIVATE KEY" not in repr(certificate)
