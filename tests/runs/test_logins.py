import pytest

from relaywatch.model.errors import UsageError
from relaywatch.runs.logins import read_login


@pytest.fixture
def file(tmp_path):
    def written(text, mode=0o600):
        path = tmp_path / "login"
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        path.chmod(mode)
        return path

    return written


@pytest.mark.parametrize(
    ("text", "user", "password"),
    [
        ("alice:open sesame\n", "alice", "open sesame"),
        ("alice@shop.example:a:b", "alice@shop.example", "a:b"),
        ('# mine\nuser = "alice"\npassword = "열려라 참깨"\n', "alice", "열려라 참깨"),
        ('password = "p"\nuser = "u"', "u", "p"),
    ],
)
def test_a_file_is_a_line_or_toml(file, text, user, password):
    login = read_login(file(text))
    assert (login.user, login.password) == (user, password)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sesame\n",
        "alice:sesame\nbob:sesame\n",
        ":sesame",
        "alice:",
        f"alice:{'sesame' * 50}",
        "al ice:sesame",
        "a>b:sesame",
        "alice:sesame\x01",
        'user = "alice"\npassword = sesame\n',
        'user = "alice"\npassword = "sesame"\nport = 25\n',
        'user = "al:ice"\npassword = "sesame"\n',
        b"alice:\xffsesame",
    ],
)
def test_what_is_neither_is_refused_and_not_shown(file, text):
    with pytest.raises(UsageError) as error:
        read_login(file(text))
    assert "sesame" not in str(error.value)
    assert error.value.__cause__ is None


def test_what_others_may_read_is_refused(file):
    with pytest.raises(UsageError, match="chmod 600"):
        read_login(file("alice:sesame", 0o640))


def test_what_is_not_there(tmp_path):
    with pytest.raises(UsageError, match="No such file"):
        read_login(tmp_path / "none")
