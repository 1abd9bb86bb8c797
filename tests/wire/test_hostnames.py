import pytest

from relaywatch.wire.hostnames import plausible_host_name


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Mail.Example.TEST", "mail.example.test"),
        ("mail.example.test.", "mail.example.test"),
        ("localhost", "localhost"),
        ("_dmarc.example.test", "_dmarc.example.test"),
        ("xn--9n2bp8q.example", "xn--9n2bp8q.example"),
        ("1and1.example", "1and1.example"),
        ("a" * 63 + ".test", "a" * 63 + ".test"),
    ],
)
def test_names(text, name):
    assert name == plausible_host_name(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "a..b",
        "-a.test",
        "a-.test",
        "192.0.2.1",
        "a b",
        "a@b.test",
        "a.test\n",
        "*.a.test",
        "메일.test",
        "a" * 64 + ".test",
        "a." * 127 + "aa",
        "mail\\032.test",
        "\x1b[2J.test",
        "1234",
    ],
)
def test_no_names(text):
    assert plausible_host_name(text) is None
