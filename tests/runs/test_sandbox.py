"""The sandbox itself: nothing leads out of it, nothing in it is left, whatever happens."""

import asyncio
import socket
import subprocess
import threading
from pathlib import Path, PurePosixPath

import pytest

from relaywatch.model.errors import UsageError
from relaywatch.runs import sandbox
from relaywatch.runs.sandbox import Furniture, opened
from relaywatch.runs.sandbox_network import SandboxError, apart, furnish_network

pytestmark = pytest.mark.timeout(120)


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
        kept["pid"], kept["first"], kept["folder"] = room.pid, room.first(), room.folder
        raise KeyError("something of ours goes wrong")

    with pytest.raises(KeyError):
        in_a_room("sleep 1000 & sleep 1000", look)
    assert not kept["folder"].exists()
    assert not Path(f"/proc/{kept['pid']}").exists()
    assert not Path(f"/proc/{kept['first']}").exists()
    assert "room" not in {path.name for path in Path("/sys/class/net").iterdir()}


def test_what_is_written_stays_in_it():
    async def look(room):
        return await _wait_for("/root/said-in-the-room", room)

    assert in_a_room("echo end > /root/said-in-the-room", look) == "end\n"
    assert not Path("/root/said-in-the-room").exists()


def test_its_root_may_not_make_devices_nor_mount():
    async def look(room):
        return await _wait_for("/tmp/said", room)

    said = in_a_room(
        "{ mknod /tmp/disk b 254 0 && echo MADE; mount -t tmpfs x /mnt && echo MOUNTED; echo end; } > /tmp/said",
        look,
    )
    assert said == "end\n"


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
