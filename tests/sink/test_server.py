import asyncio
import errno
import hashlib
import os
import smtplib
import ssl
from datetime import UTC, datetime
from ipaddress import ip_address

import pytest
from tests.sink.loopback import (
    ANOTHER_KEY,
    IPV4,
    IPV6,
    connect,
    deliver_async,
    make_sink,
    message,
    token,
)

from relaywatch.model.errors import UsageError
from relaywatch.model.evidence import ArrivalKind
from relaywatch.model.places import Endpoint
from relaywatch.sink.certificate import make_certificate
from relaywatch.sink.errors import JournalError, ListenError, SinkError
from relaywatch.sink.settings import Limits, SinkSettings


def test_mail_for_a_token_is_an_arrival(run):
    arrivals = []

    async def scene():
        async with make_sink(arrivals) as sink:
            before = datetime.now(UTC)
            await deliver_async(sink.addresses[0], [f"{token()}@sink.test"], content=message("of ours"))
            assert before <= arrivals[0].at <= datetime.now(UTC)

    run(scene())

    (arrival,) = arrivals
    assert token() == arrival.token
    assert ArrivalKind.MAIL == arrival.kind
    assert "sender@relay.test" == arrival.reverse_path
    assert f"{token()}@sink.test" == arrival.forward_path
    assert "relay.test" == arrival.helo
    assert "of ours" == arrival.subject
    assert "127.0.0.1" == str(arrival.came_from.address)


@pytest.mark.parametrize("endpoint", [IPV4, IPV6], ids=["ipv4", "ipv6"])
@pytest.mark.parametrize("starttls", [False, True], ids=["plain", "starttls"])
def test_every_door_takes_mail(run, tmp_path, endpoint, starttls):
    arrivals = []

    async def scene():
        async with make_sink(arrivals, listen=(endpoint,), journal=tmp_path) as sink:
            await deliver_async(sink.addresses[0], [f"{token()}@sink.test"], starttls=starttls)
            return list(sink.journal.read_all())

    (record,) = run(scene())

    assert [token()] == [arrival.token for arrival in arrivals]
    assert endpoint.address == arrivals[0].came_from.address
    assert starttls == record.tls.startswith("TLSv1.")


def test_several_listeners_and_their_ports(run):
    async def scene():
        async with make_sink(listen=(IPV4, IPV6, IPV4)) as sink:
            return sink.addresses

    addresses = run(scene())

    assert ["127.0.0.1", "::1", "127.0.0.1"] == [str(endpoint.address) for endpoint in addresses]
    assert 0 not in {endpoint.port for endpoint in addresses}


def test_whatever_is_no_token_is_refused(run):
    arrivals = []

    async def scene():
        async with make_sink(arrivals) as sink:
            for stranger in ("user@sink.test", f"{token(key=ANOTHER_KEY)}@sink.test", "postmaster@sink.test"):
                with pytest.raises(smtplib.SMTPRecipientsRefused) as refusal:
                    await deliver_async(sink.addresses[0], [stranger])
                code, text = refusal.value.recipients[stranger]
                assert 550 == code
                assert text.startswith(b"5.1.1 ")
                assert b"abuse@sink.test" in text
            return sink.counters.unknown_recipients

    assert 3 == run(scene())
    assert [] == arrivals


def test_each_token_of_a_message_is_an_arrival_and_strangers_are_left_out(run):
    arrivals = []
    wanted = [f"{token(1)}@sink.test", "user@sink.test", f"{token(2)}@[192.0.2.1]", f"{token(1)}@other.test"]

    async def scene():
        async with make_sink(arrivals) as sink:
            return await deliver_async(sink.addresses[0], wanted)

    assert ["user@sink.test"] == list(run(scene()))
    assert [token(1), token(2)] == [arrival.token for arrival in arrivals]


def test_kind_is_bounce_only_for_a_report_to_the_null_reverse_path(run):
    arrivals = []
    report = message(Auto_Submitted="auto-replied (vacation)")

    async def scene():
        async with make_sink(arrivals) as sink:
            for number, (content, reverse_path) in enumerate(
                [(report, "<>"), (report, "sender@relay.test"), (message(), "<>")]
            ):
                await deliver_async(
                    sink.addresses[0], [f"{token(number)}@s.test"], reverse_path=reverse_path, content=content
                )

    run(scene())

    assert [ArrivalKind.BOUNCE, ArrivalKind.MAIL, ArrivalKind.MAIL] == [a.kind for a in arrivals]
    assert ["", "sender@relay.test", ""] == [arrival.reverse_path for arrival in arrivals]


def test_a_token_in_the_header_section_is_a_fact_and_no_arrival(run, tmp_path):
    arrivals = []
    returned = message(X_Relaywatch_Token=token(1))

    async def scene():
        async with make_sink(arrivals, journal=tmp_path) as sink:
            await deliver_async(sink.addresses[0], [f"{token(2)}@s.test"], content=returned)
            return list(sink.journal.read_all())

    (record,) = run(scene())

    assert token(1) == record.header_token
    assert [token(2)] == [arrival.token for arrival in arrivals]


def test_repeated_arrivals_are_collapsed_even_over_a_restart(run, tmp_path):
    arrivals = []
    options = {"journal": tmp_path, "limits": Limits(arrivals_per_token=3)}

    async def scene(times):
        async with make_sink(arrivals, **options) as sink:
            for _ in range(times):
                assert {} == await deliver_async(sink.addresses[0], [f"{token()}@sink.test"])
            return sink.counters.repeated

    assert 0 == run(scene(2))
    assert 3 == run(scene(4))
    assert 3 == len(arrivals)


def test_a_listener_that_fails_costs_nothing(run, caplog):
    arrivals = []

    async def scene():
        async with make_sink(arrivals) as sink:
            unsubscribe = sink.subscribe(lambda arrival: 1 / 0)
            await deliver_async(sink.addresses[0], [f"{token(1)}@sink.test"])
            unsubscribe()
            await deliver_async(sink.addresses[0], [f"{token(2)}@sink.test"])

    run(scene())

    assert [token(1), token(2)] == [arrival.token for arrival in arrivals]
    assert 1 == caplog.text.count("a listener failed at an arrival")


def test_a_relay_is_told_to_try_later_while_the_disk_takes_nothing(run, tmp_path, monkeypatch, caplog):
    arrivals = []

    def full_disk(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    async def scene():
        async with make_sink(arrivals, journal=tmp_path) as sink:
            with monkeypatch.context() as patch:
                patch.setattr(os, "fsync", full_disk)
                with pytest.raises(smtplib.SMTPDataError) as refusal:
                    await deliver_async(sink.addresses[0], [f"{token()}@sink.test"])
            assert 451 == refusal.value.smtp_code
            assert [] == arrivals
            await deliver_async(sink.addresses[0], [f"{token()}@sink.test"])
            return [record.sequence for record in sink.journal.read_all()], sink.counters.failures

    assert ([1], 1) == run(scene())
    assert [token()] == [arrival.token for arrival in arrivals]


def test_mail_for_people_is_kept_if_wanted(run, tmp_path):
    maildir = tmp_path / "people"

    async def scene():
        async with make_sink(human_maildir=maildir, limits=Limits(human_messages=2)) as sink:
            for who in ("Postmaster@SINK.test", "abuse@sink.test"):
                await deliver_async(sink.addresses[0], [who], content=message("please stop"))
            with pytest.raises(smtplib.SMTPDataError) as refusal:
                await deliver_async(sink.addresses[0], ["postmaster@sink.test"])
            with pytest.raises(smtplib.SMTPRecipientsRefused):
                await deliver_async(sink.addresses[0], ["postmaster@elsewhere.test"])
            return refusal.value.smtp_code

    assert 452 == run(scene())
    kept = [path.read_text() for path in (maildir / "new").iterdir()]
    assert 2 == len(kept)
    assert all("please stop" in text and "Return-Path: <sender@relay.test>" in text for text in kept)


def test_bare_postmaster_is_taken_too(run, tmp_path):
    async def scene():
        async with make_sink(human_maildir=tmp_path / "people") as sink:
            peer = await connect(sink)
            await peer.say(b"MAIL FROM:<>\r\n")
            reply = await peer.say(b"RCPT TO:<Postmaster>\r\n")
            peer.close()
            return reply

    assert "250 2.1.5 OK\r\n" == run(scene())


def test_a_port_in_use_is_named(run):
    async def scene():
        async with make_sink() as sink:
            with pytest.raises(ListenError) as error:
                async with make_sink(listen=(sink.addresses[0],)):
                    pass
            return str(error.value), sink.addresses[0]

    text, endpoint = run(scene())

    assert f"can't listen on {endpoint}: another program listens there" in text
    assert issubclass(ListenError, UsageError)


def test_an_address_of_another_host_is_named(run):
    async def scene():
        async with make_sink(listen=(Endpoint(ip_address("192.0.2.1"), 2525),)):
            pass

    with pytest.raises(ListenError, match=r"192\.0\.2\.1:2525: this host has no such address"):
        run(scene())


def test_two_sinks_cannot_share_a_journal(run, tmp_path):
    async def scene():
        async with make_sink(journal=tmp_path):
            with pytest.raises(JournalError, match="in use by another process"):
                async with make_sink(journal=tmp_path):
                    pass
        async with make_sink(journal=tmp_path):
            pass

    run(scene())


def test_the_given_certificate_is_shown(run):
    certificate = make_certificate(["sink.test", "192.0.2.1", "[IPv6:2001:db8::1]"])

    async def scene():
        async with make_sink(certificate=certificate) as sink:
            return await shown_certificate(sink.addresses[0])

    assert certificate.sha256 == run(scene())


async def shown_certificate(endpoint):
    def look():
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with smtplib.SMTP(str(endpoint.address), endpoint.port, timeout=10) as client:
            client.starttls(context=context)
            return hashlib.sha256(client.sock.getpeercert(binary_form=True)).hexdigest()

    return await asyncio.to_thread(look)


def test_settings_default_to_port_25_of_both_families():
    assert ["0.0.0.0:25", "[::]:25"] == [str(endpoint) for endpoint in SinkSettings(domain="s.test").listen]


def test_counting_repeats_takes_bounded_memory(run, monkeypatch):
    monkeypatch.setattr("relaywatch.sink.notebook._TOKENS_COUNTED", 4)
    arrivals = []

    async def scene():
        async with make_sink(arrivals, limits=Limits(arrivals_per_token=1)) as sink:
            everybody = [f"{token(number)}@sink.test" for number in range(8)]
            for recipient in (*everybody, everybody[-1]):
                await deliver_async(sink.addresses[0], [recipient])
            return len(sink._notebook._seen), sink.counters.repeated

    counted, repeated = run(scene())

    assert counted <= 4
    assert 1 == repeated
    assert 8 == len(arrivals)


def test_a_maildir_that_cannot_be_is_named_or_defers(run, tmp_path):
    (tmp_path / "file").write_text("")

    async def scene():
        with pytest.raises(SinkError, match="Maildir"):
            async with make_sink(human_maildir=tmp_path / "file" / "people"):
                pass
        async with make_sink(human_maildir=tmp_path / "people") as sink:
            (tmp_path / "people" / "new").rmdir()
            with pytest.raises(smtplib.SMTPDataError) as refusal:
                await deliver_async(sink.addresses[0], ["postmaster"])
            return refusal.value.smtp_code

    assert 452 == run(scene())
