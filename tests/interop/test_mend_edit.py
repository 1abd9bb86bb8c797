"""The mending of files keeps to what ``Step`` promises, and a remedy's names are filled in as a whole."""

import pytest
from tests.interop.lab import plan
from tests.interop.lab.cases import chosen
from tests.interop.mend_edit import EditError, edited
from tests.interop.mend_names import Service, command, filled

from relaywatch.advice.records import Step

MAIN_CF = "# mynetworks = 10.0.0.0/8\nmynetworks =\n    10.0.0.0/8,\n    0.0.0.0/0\nmyhostname = a.example\n"


def step(**fields):
    return Step(en="Do it.", ko="합니다.", file=fields.pop("file", "/etc/any"), **fields)


class TestSettings:
    def test_a_setting_takes_the_place_of_its_name_with_what_belongs_to_it(self):
        after = edited(MAIN_CF, step(lines=("mynetworks = 127.0.0.0/8",)))
        assert "# mynetworks = 10.0.0.0/8\nmynetworks = 127.0.0.0/8\nmyhostname = a.example\n" == after

    def test_only_one_of_a_name_stays(self):
        assert "a = 3\nb = 2\n" == edited("a = 1\nb = 2\na = 9\n", step(lines=("a = 3",)))

    def test_a_name_may_be_two_words(self):
        assert "hostlist a = x\nhostlist b = y\n" == edited(
            "hostlist a = 1\nhostlist b = y\n", step(lines=("hostlist a = x",))
        )

    def test_a_service_is_named_by_its_first_two_words(self):
        before = "smtp inet n - y - - smtpd\n  -o a=b\nsmtp unix - - y - - smtp\n"
        after = edited(
            before, step(file="/etc/postfix/master.cf", lines=("smtp inet n - n - - smtpd", "  -o c=d"))
        )
        assert "smtp inet n - n - - smtpd\n  -o c=d\nsmtp unix - - y - - smtp\n" == after

    def test_a_new_setting_goes_to_the_end_or_to_its_anchor(self):
        before = "[main]\nx=1\n[relay]\ny=1\n"
        assert before + "all=false\n" == edited(before, step(lines=("all=false",)))
        assert "[main]\nall=false\nx=1\n[relay]\ny=1\n" == edited(
            before, step(lines=("all=false",), under="[main]")
        )


class TestRemoval:
    def test_white_space_is_not_read_and_an_ellipsis_stands_for_anything(self):
        before = "match from any  mail-from\t<x> for any action r\nmatch from local for any action r\n"
        after = edited(before, step(remove=("match from any mail-from … for any …",)))
        assert "match from local for any action r\n" == after

    def test_a_line_takes_the_deeper_ones_along(self):
        before = "acl:\n  accept  senders = :\n          control = x\n  deny\n"
        assert "acl:\n  deny\n" == edited(before, step(remove=("  accept senders = :",)))

    def test_a_word_goes_out_of_lists_and_leaves_longer_words(self):
        before = (
            "r = permit_mx_backup, reject\npermit_mx_backup_networks = 192.0.2.0/24\n# permit_mx_backup\n"
        )
        after = edited(before, step(remove=("permit_mx_backup",)))
        assert "r = reject\npermit_mx_backup_networks = 192.0.2.0/24\n# permit_mx_backup\n" == after

    def test_new_lines_stand_where_the_old_ones_did(self):
        before = "a\n  server one 192.0.2.1:25\nb\n"
        after = edited(before, step(remove=("  server …",), lines=("  server two 192.0.2.1:26",)))
        assert "a\n  server two 192.0.2.1:26\nb\n" == after

    def test_a_comment_is_no_setting(self):
        assert "# a = 1\na = 2\n" == edited("# a = 1\n", step(lines=("a = 2",)))


class TestPlaces:
    def test_above_and_under_keep_the_order_of_the_lines(self):
        assert "x\ny\nMAILER(`local')dnl\n" == edited(
            "MAILER(`local')dnl\n", step(lines=("x", "y"), above="MAILER(")
        )
        assert "acl:\n  deny\n  require\n  accept\n" == edited(
            "acl:\n  accept\n", step(lines=("  deny", "  require"), under="acl:")
        )

    def test_a_line_that_stands_there_is_not_repeated(self):
        assert "k\tv\n" == edited("k\tv\n", step(lines=("k v",)))

    def test_a_missing_anchor_is_an_error(self):
        with pytest.raises(EditError, match="acl:"):
            edited("begin\n", step(lines=("  deny",), under="acl:"))


class TestNames:
    def test_names_are_filled_in_as_a_whole(self):
        case = chosen(("exim-open-sender",))[0]
        host, hosted = plan.host_name(case), plan.hosted_domain(case)
        assert f"{host} @{hosted} x.example.organic myexample.org" == filled(
            "mail.example.org @example.org x.example.organic myexample.org", case
        )

    @pytest.mark.parametrize(
        ("text", "meant"),
        [
            ("systemctl restart courier-mta", Service(stops=True, starts=True)),
            ("systemctl stop exim4", Service(stops=True, starts=False)),
            ("systemctl start exim4", Service(stops=False, starts=True)),
            ("postfix reload", "postfix reload"),
            ("journalctl -u 'postfix*' --since -1min", "cat /var/log/syslog"),
        ],
    )
    def test_a_room_has_no_systemd(self, text, meant):
        assert meant == command(text)
