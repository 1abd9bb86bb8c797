import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relaywatch.targets.lists import LINE_LIMIT, BadTarget, read_arguments, read_file, read_list
from relaywatch.targets.parse import Target


def read(text):
    octets = text if isinstance(text, bytes) else text.encode()
    return list(read_list(io.BytesIO(octets), "list"))


def texts(entries):
    return [entry.text if isinstance(entry, Target) else str(entry) for entry in entries]


def test_plain_with_comments_and_a_bad_line():
    entries = read("\ufeff# ours\n192.0.2.7\n\nmail.example # the new one\nnot a host\n192.0.2.0/30:25\r\n")

    assert [
        "192.0.2.7",
        "mail.example",
        "list:5: neither an address nor a name",
        "192.0.2.0/30:25",
    ] == texts(entries)


def test_masscan_list():
    entries = read(
        "#masscan\nopen tcp 25 192.0.2.7 1732413600\nopen tcp 587 2001:db8::7 1732413600\n"
        "open udp 53 192.0.2.8 1732413600\nclosed tcp 25 192.0.2.9 1732413600\n"
        "banner tcp 25 192.0.2.7 1732413600 smtp 220 mail.example\nopen tcp\n# end\n"
    )

    assert [
        "192.0.2.7:25",
        "[2001:db8::7]:587",
        "list:7: a masscan line has a state, a protocol, a port and an address",
    ] == texts(entries)


def test_masscan_json():
    entries = read(
        '[\n{   "ip": "192.0.2.7",   "timestamp": "1732413600", "ports": [ {"port": 25, "proto": "tcp", '
        '"status": "open", "reason": "syn-ack", "ttl": 64}, {"port": 26, "proto": "tcp", "status": "closed"}, '
        '{"port": 53, "proto": "udp", "status": "open"} ] }\n,\n'
        '{"ip": "192.0.2.8", "ports": [{"port": 587}]},\n{"ip": "192.0.2.9", "ports": [7]}\n{finished: 1}\n]\n'
    )

    assert ["192.0.2.7:25", "192.0.2.8:587", "list:5: an entry of ports has no port"] == texts(entries)


def test_zmap_list_and_csv():
    assert ["192.0.2.7", "192.0.2.8"] == texts(read("192.0.2.7\n192.0.2.8\n"))
    assert ["192.0.2.7"] == texts(read("saddr\n192.0.2.7\n"))
    assert ["192.0.2.7:25", "list:3: fewer columns than the header names"] == texts(
        read('classification,"saddr",sport\nsynack,192.0.2.7,25\nsynack,192.0.2.8\n')
    )
    assert ["192.0.2.7"] == texts(read("192.0.2.7,mail.example,tag\n"))


def test_zmap_and_zgrab2_json():
    lines = [
        {"saddr": "192.0.2.7", "sport": 25},
        {"ip": "192.0.2.8", "domain": "Mail.example", "data": {"smtp": {"status": "success"}}},
        {"domain": "mail.example", "data": {}},
        {"ip": "192.0.2.9", "domain": "not a name"},
        {"data": {}},
        {"finished": 1},
        {"ip": 7},
    ]

    entries = read("\n".join(map(json.dumps, lines)) + '\n{"ip": \n')

    assert [
        "192.0.2.7:25",
        "192.0.2.8",
        "mail.example",
        "192.0.2.9",
        "list:5: no address: neither ip, saddr nor domain",
        "list:7: no address: neither ip, saddr nor domain",
        "list:8: not JSON",
    ] == texts(entries)
    assert [None, "mail.example", "mail.example", None] == [entry.name for entry in entries[:4]]


def test_deep_json_is_a_bad_line():
    assert ["list:1: not JSON"] == texts(read('{"a":' * 100_000))


def test_a_line_that_is_too_long_is_told_and_passed_over():
    entries = read(b"192.0.2.7\n" + b"x" * (3 * LINE_LIMIT) + b"\n192.0.2.8\n")

    assert ["192.0.2.7", f"list:2: longer than {LINE_LIMIT} octets", "192.0.2.8"] == texts(entries)


def test_a_last_line_that_is_too_long():
    assert [f"list:1: longer than {LINE_LIMIT} octets"] == texts(read(b"x" * (LINE_LIMIT + 9)))


def test_a_line_that_is_not_utf8():
    assert ["list:1: not UTF-8", "192.0.2.8"] == texts(read(b"\xff\xfe1\x00\n192.0.2.8"))


def test_a_list_is_read_as_it_is_asked_for():
    class Endless(io.RawIOBase):
        def readline(self, limit=-1):
            return b"192.0.2.7\n"

    assert "192.0.2.7" == next(read_list(Endless(), "endless")).text


def test_arguments(tmp_path):
    path = tmp_path / "ip.txt"
    path.write_text("192.0.2.7\nbad host\n")

    entries = list(
        read_arguments(
            ["-", str(path), "mail.example", "x" * 5000, "a\0b", str(tmp_path)], io.BytesIO(b"192.0.2.9\n")
        )
    )

    assert ["192.0.2.9", "192.0.2.7", f"{path}:2: neither an address nor a name", "mail.example"] == texts(
        entries
    )[:4]
    assert [BadTarget] * 3 == [type(entry) for entry in entries[4:]]
    assert "command line: neither an address nor a name" == str(entries[4])


def test_standard_input_is_the_default(monkeypatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"192.0.2.9\n")))

    assert ["192.0.2.9"] == texts(read_arguments(["-"]))


def test_a_file_that_cannot_be_read(tmp_path):
    [entry] = read_file(tmp_path / "missing")

    assert f"{tmp_path / 'missing'}: No such file or directory" == str(entry)


@given(st.binary(max_size=400))
def test_no_octets_raise(octets):
    for entry in read_list(io.BytesIO(octets), "list"):
        assert isinstance(entry, Target | BadTarget)


@pytest.mark.parametrize(
    "line", ['{"ip":"192.0.2.7","sport":' + "9" * 5000 + "}", "open tcp 25 [::1", ",,,", '"']
)
def test_odd_lines(line):
    assert [BadTarget] == [type(entry) for entry in read(line)]


NMAP = """<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE nmaprun>
<!-- Nmap 7.93 scan initiated as: nmap -oX - 192.0.2.0/29 -->
<nmaprun scanner="nmap" args="nmap" start="1" version="7.93">
<host><status state="up" reason="syn-ack"/><address addr="192.0.2.7" addrtype="ipv4"/>
<address addr="00:00:5E:00:53:01" addrtype="mac"/>
<ports><port protocol="tcp" portid="3128"><state state="open" reason="syn-ack"/></port>
<port protocol="tcp" portid="25"><state state="closed" reason="reset"/></port>
<port protocol="udp" portid="3478"><state state="open" reason="udp-response"/></port></ports></host>
<host><status state="down" reason="no-response"/><address addr="192.0.2.8" addrtype="ipv4"/></host>
<host><status state="up"/><address addr="2001:db8::7" addrtype="ipv6"/><ports><port protocol="tcp" portid="1080"><state state="open"/></port><port protocol="tcp" portid="8080"><state state="open"/></port></ports></host>
<host><status state="up"/><address addr="192.0.2.9" addrtype="ipv4"/></host>
<host><address addr="nonsense" addrtype="ipv4"/></host>
</nmaprun>
"""


class TestNmap:
    def test_open_tcp_ports_of_hosts_that_are_up(self):
        entries = read(NMAP.replace('<host><address addr="nonsense" addrtype="ipv4"/></host>\n', ""))

        assert ["192.0.2.7:3128", "[2001:db8::7]:1080", "[2001:db8::7]:8080", "192.0.2.9"] == texts(entries)
        assert 9 == entries[0].origin.line

    def test_what_is_no_address_is_told_and_ends_it(self):
        (bad,) = [entry for entry in read(NMAP) if isinstance(entry, BadTarget)]

        assert (13, "'nonsense' does not appear to be an IPv4 or IPv6 address") == (
            bad.origin.line,
            bad.reason,
        )

    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            ("<?xml version='1.0'?>\n<html></html>\n", "list:2: XML of 'html', not of nmap"),
            ("<nmaprun><host></nmaprun>\n", "list:1: broken XML: mismatched tag: line 1, column 17"),
            ("<nmaprun>\n<!ENTITY a 'b'>\n", "list:2: declares entities, which nmap doesn't"),
        ],
    )
    def test_other_xml_is_told(self, text, reason):
        assert [reason] == texts(read(text))

    def test_a_list_that_has_begun_otherwise_is_no_document(self):
        assert ["192.0.2.7", "list:2: neither an address nor a name"] == texts(read("192.0.2.7\n<nmaprun>\n"))
