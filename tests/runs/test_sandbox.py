"""The sandbox itself: nothing leads out of it, nothing in it is left, whatever happens."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from functools import partial
from pathlib import Path, PurePosixPath

import pytest

from relaywatch.model.errors import UsageError
from relaywatch.runs import sandbox
from relaywatch.runs.sandbox import Furniture, opened
from relaywatch.runs.sandbox_network import SandboxError, apart, furnish_network
from relaywatch.runs.sandbox_threshold import KEPT

pytestmark = pytest.mark.timeout(120)
PYTHON = os.path.realpath(sys.executable)
"""Not the environment's link: that may be below /tmp, of which the room has its own."""


@pytest.fixture(autouse=True)
def a_place_for_it():
    try:
        sandbox.require()
    except UsageError as error:
        pytest.skip(str(error))


def in_a_room(script, look, **furniture):
    async def run():
        furnish_network()
        async with opened(Furniture(layers=(Path("/"),), script=script, **furniture)) as room:
            return await look(room)

    return apart(run)


async def _wait_for(path, room):
    for _ in range(200):
        if (text := _said(room, path)).endswith("end\n"):
            return text
        await asyncio.sleep(0.05)
    raise AssertionError(room.last_words())


def _said(room, path):
    place = Path(f"/proc/{room.first()}/root{path}")
    return place.read_text() if place.exists() else ""


def test_a_room_has_its_own_names_addresses_and_files():
    async def look(room):
        return await _wait_for("/tmp/said", room)

    said = in_a_room(
        "{ hostname; cat /etc/resolv.conf /etc/given; ip -o addr; id -u; echo end; } > /tmp/said",
        look,
        files={PurePosixPath("/etc/given"): (b"given\n", 0o644)},
    )
    assert said.startswith("server.example\nnameserver 203.0.113.53\n")
    assert "given" in said
    assert "198.51.100.10/24" in said
    assert "2001:db8:51::10/64" in said
    assert not Path("/etc/given").exists()
    assert not Path("/tmp/said").exists()


def test_nothing_leads_out():
    with socket.socket() as outside:
        outside.bind(("0.0.0.0", 0))
        outside.listen()
        port = outside.getsockname()[1]
        ours = {
            line.split()[3].partition("/")[0]
            for line in subprocess.run(
                ["ip", "-4", "-o", "addr"], capture_output=True, text=True, check=True
            ).stdout.splitlines()
        }
        tries = "; ".join(
            f"timeout 3 bash -c ': > /dev/tcp/{address}/{port}' 2> /dev/null && echo REACHED {address}"
            for address in ours
        )

        async def look(room):
            return await _wait_for("/tmp/said", room)

        said = in_a_room(f"{{ {tries}; echo end; }} > /tmp/said", look)
    assert said == "end\n"


def test_nothing_is_left_of_it():
    kept = {}

    async def look(room):
        await asyncio.sleep(0.5)
        kept["pid"], kept["first"] = room.pid, room.first()
        raise KeyError("something of ours goes wrong")

    with pytest.raises(KeyError):
        in_a_room("sleep 1000 & sleep 1000", look)
    assert not Path(f"/proc/{kept['pid']}").exists()
    assert not Path(f"/proc/{kept['first']}").exists()
    assert "room" not in {path.name for path in Path("/sys/class/net").iterdir()}


def test_what_is_written_stays_in_it():
    async def look(room):
        return await _wait_for("/root/said-in-the-room", room)

    assert in_a_room("echo end > /root/said-in-the-room", look) == "end\n"
    assert not Path("/root/said-in-the-room").exists()


def said_in_a_room(lines, **furniture):
    async def look(room):
        return await _wait_for("/tmp/said", room)

    return in_a_room(f"{{ {lines}; echo end; }} > /tmp/said", look, **furniture)


def test_its_root_may_not_make_devices_nor_mount():
    assert (
        said_in_a_room("mknod /tmp/disk b 254 0 && echo MADE; mount -t tmpfs x /mnt && echo MOUNTED")
        == "end\n"
    )


CHROOT_AGAIN = """import os, sys
os.mkdir("/tmp/below")
os.chroot("/tmp/below")
for _ in range(64):
    os.chdir("..")
os.chroot(".")
print("OUTSIDE" if os.path.exists(sys.argv[1]) else "inside")
"""


def test_its_root_does_not_climb_out(tmp_path):
    mark = tmp_path / "mark"
    mark.touch()
    said = said_in_a_room(
        f"{PYTHON} /etc/climb.py {mark}",
        files={PurePosixPath("/etc/climb.py"): (CHROOT_AGAIN.encode(), 0o644)},
    )
    assert said == "inside\nend\n"


@pytest.mark.parametrize("setting", ["sys/kernel/core_pattern", "sys/kernel/modprobe", "sysrq-trigger"])
def test_its_root_may_not_touch_this_machine_s_kernel(setting):
    # Opened, and nothing is written: that does no harm if it can be.
    assert said_in_a_room(f"(: >> /proc/{setting}) 2> /dev/null && echo OPENED") == "end\n"


def test_it_keeps_the_capabilities_of_a_container_and_no_more():
    said = said_in_a_room("grep -E 'CapPrm|CapBnd|CapInh|CapAmb' /proc/self/status")
    masks = {int(line.split()[1], 16) for line in said.splitlines()[:-1]}
    assert masks == {0, sum(1 << one for one in KEPT)}


def test_a_file_is_laid_where_the_room_s_links_lead_and_nowhere_else(tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()

    async def look(room):
        return await _wait_for("/tmp/said", room)

    async def run(root):
        furnish_network()
        files = {
            PurePosixPath("/etc/linked/one"): (b"one\n", 0o600),
            PurePosixPath("/etc/given"): (b"two\n", 0o644),
            PurePosixPath("/etc/../../../..", str(outside).lstrip("/"), "three"): (b"three\n", 0o644),
        }
        look_round = f"cat /etc/linked/one /etc/given {outside}/three; ls {outside}; echo end"
        script = f"{{ {look_round}; }} > /tmp/said 2>&1"
        async with opened(Furniture(layers=(root, Path("/")), script=script, files=files)) as room:
            return await look(room)

    with tempfile.TemporaryDirectory(dir="/dev/shm") as name:  # layers mayn't lie in each other
        root = Path(name)
        (root / "etc").mkdir()
        (root / "etc/linked").symlink_to(outside)
        (root / "etc/given").symlink_to(outside / "given")
        assert apart(partial(run, root)) == "one\ntwo\nthree\none\nthree\nend\n"
    assert list(outside.iterdir()) == []


def test_who_listens_at_a_socket_of_this_machine_s_is_not_reached():
    # Not below /tmp: the room has its own.
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder, socket.socket(socket.AF_UNIX) as here:
        here.bind(f"{folder}/here")
        here.listen()
        code = f"import socket; socket.socket(socket.AF_UNIX).connect('{folder}/here'); print('REACHED')"
        said = said_in_a_room(f'{PYTHON} -c "{code}" 2>&1')
    assert "REACHED" not in said
    assert "ConnectionRefusedError" in said


def test_who_says_very_much_keeps_nobody_waiting():
    async def look(room):
        said = await _wait_for("/tmp/said", room)
        for _ in range(100):
            if room.last_words().endswith("last"):
                break
            await asyncio.sleep(0.05)
        return said, room.last_words()

    said, words = in_a_room("yes 0123456789 | head -c 20000000; echo; echo last; echo end > /tmp/said", look)
    assert said == "end\n"
    assert words.endswith("last")
    assert len(words) <= 4000


WHOEVER = """import asyncio
from pathlib import Path
from relaywatch.runs.sandbox import Furniture, opened
from relaywatch.runs.sandbox_network import apart, furnish_network

async def run():
    furnish_network()
    async with opened(Furniture(layers=(Path("/"),), script="sleep 1000 & sleep 1000")) as room:
        await asyncio.sleep(0.3)
        print(room.pid, room.first(), flush=True)
        await asyncio.sleep(60)

apart(run)
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_nothing_runs_on_whatever_ends_us(how, tmp_path):
    ours = {**os.environ, "TMPDIR": str(tmp_path)}  # an empty folder stays, where nobody could clean up
    with subprocess.Popen([sys.executable, "-c", WHOEVER], stdout=subprocess.PIPE, text=True, env=ours) as us:
        pids = us.stdout.readline().split()
        assert len(pids) == 2
        network = Path(f"/proc/{pids[1]}/ns/net").readlink()
        us.send_signal(how)
        us.wait(20)
    for _ in range(100):
        left = [path for path in Path("/proc").glob("[0-9]*") if _network_of(path) == network]
        if not left:
            break
        time.sleep(0.1)
    assert left == []
    assert not [path for path in tmp_path.rglob("*") if not path.is_dir()]


def _network_of(process):
    try:
        return (process / "ns/net").readlink()
    except OSError:
        return None


def test_a_server_that_ends_is_told_with_its_last_words():
    async def look(room):
        return await room.started()

    with pytest.raises(SandboxError, match="I can't"):
        in_a_room('echo I "can\'t"; exit 3', look)


def test_a_root_that_can_t_be_one_is_told():
    async def run():
        async with opened(Furniture(layers=(Path("/a,b"),), script="")):
            pass

    with pytest.raises(SandboxError, match="comma"):
        apart(run)


def test_whoever_waits_may_be_interrupted(monkeypatch):
    ended = threading.Event()

    async def run():
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    def interrupted(*_):
        monkeypatch.undo()
        raise KeyboardInterrupt

    join = threading.Thread.join
    monkeypatch.setattr(
        threading.Thread, "join", lambda self, t=None: interrupted() if join(self, 0.3) is None else None
    )
    with pytest.raises(KeyboardInterrupt):
        apart(run)
    assert ended.wait(5)
