import pytest

from relaywatch.model.smtp import EnhancedStatusCode, Reply


@pytest.mark.parametrize(
    ("code", "positive", "intermediate", "transient", "permanent"),
    [
        (199, False, False, False, False),
        (200, True, False, False, False),
        (250, True, False, False, False),
        (299, True, False, False, False),
        (300, False, True, False, False),
        (354, False, True, False, False),
        (400, False, False, True, False),
        (421, False, False, True, False),
        (499, False, False, True, False),
        (500, False, False, False, True),
        (599, False, False, False, True),
        (600, False, False, False, False),
    ],
)
def test_the_first_digit_says_what_a_reply_is(code, positive, intermediate, transient, permanent):
    """RFC 5321 section 4.2.1."""
    reply = Reply(code, ("",))

    assert (positive, intermediate, transient, permanent) == (
        reply.is_positive,
        reply.is_intermediate,
        reply.is_transient,
        reply.is_permanent,
    )


def test_a_reply_is_written_in_one_line():
    reply = Reply(250, ("mail.example.test", "PIPELINING", "SIZE 1"))

    assert "mail.example.test PIPELINING SIZE 1" == reply.text
    assert "250 mail.example.test PIPELINING SIZE 1" == str(reply)


def test_an_enhanced_status_code_is_written_with_dots():
    assert "5.7.1" == str(EnhancedStatusCode(5, 7, 1))


def test_replies_are_values():
    assert Reply(250, ("Ok",)) == Reply(250, ("Ok",))
    assert 1 == len({Reply(250, ("Ok",)), Reply(250, ("Ok",), None)})
