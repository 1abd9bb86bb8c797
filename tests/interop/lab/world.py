"""The world: router, DNS host, stranger with the sink's address, and the servers; up and down as a whole."""

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from . import carriers, names, network, plan, proof, reaching, recorder, rooms, roots, witness
from .cases import Case, with_neighbours
from .errors import LabError
from .shell import run

CHECKOUT = Path(__file__).parents[3]
_NEEDS = ("debootstrap", "ip", "unshare", "nsenter", "apt-get", "npm", "tar")
_AT_ONCE = 3  # servers that start at the same time
_PROVED_AT_ONCE = 12  # cases; most of the time a tool waits for what doesn't come
_OWNER = "owner"


def missing() -> str:
    """Return in one line why the lab can't be built here, "" if it can."""
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        return "the lab of real servers needs root on Debian"
    tools = [tool for tool in _NEEDS if not shutil.which(tool)]
    return f"the lab of real servers needs {', '.join(tools)}" if tools else ""


class World:
    """One lab: made of a run id and nothing else, so that whoever knows the id can use it or end it."""

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id
        self.folder = Path(tempfile.gettempdir()) / f"{network.PREFIX}{run_id}"
        self.cases: tuple[Case, ...] = ()
        self.fallen: dict[str, str] = {}  # cases that didn't start, with their last words
        self._rooms: list[rooms.Room] = []

    @property
    def stranger(self) -> str:
        """The namespace of the stranger; the sink's address lives there too."""
        return network.namespace(self.run_id, plan.STRANGER_HOME.label)

    @property
    def journal(self) -> Path:
        """The recorder's journal."""
        return self.folder / "arrivals.jsonl"

    @property
    def visitors(self) -> Path:
        """The witness's journal."""
        return self.folder / "visitors.jsonl"

    def up(
        self, cases: Sequence[Case], say: Callable[[str], None] = lambda _: None, *, owned: bool = False
    ) -> None:
        """Build what is missing, then start everything; a server that doesn't start is noted in ``fallen``.

        An owned world ends with this process: whoever makes a world next sweeps away what a killed one left.
        """
        cases = with_neighbours(cases)
        build(cases, say)
        self.cases = tuple(cases)
        self.folder.mkdir()
        if owned:
            (self.folder / _OWNER).write_text(str(os.getpid()), encoding="ascii")
        network.add_router(self.run_id)
        for home in (plan.DNS_HOME, plan.STRANGER_HOME, *map(plan.home, cases)):
            network.add_host(self.run_id, home)
        self._start_dns()
        self._start_stranger()
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            for case, reason in zip(cases, pool.map(self._start_server, cases), strict=True):
                if reason:
                    self.fallen[case.name] = reason
                say(f"{case.name} {'fell' if reason else 'listens'} at {plan.home(case).address}")

    def down(self) -> None:
        """End every process and remove every namespace and file of this world; it needn't be whole."""
        network.remove_run(self.run_id)
        for room in self._rooms:
            room.holder.wait(timeout=10)
        shutil.rmtree(self.folder, ignore_errors=True)

    def is_orphan(self) -> bool:
        """Tell whether this world belongs to a process that is gone."""
        try:
            owner = int((self.folder / _OWNER).read_text(encoding="ascii"))
        except (OSError, ValueError):
            return False
        return not Path(f"/proc/{owner}").exists()

    def prove(self, case: Case) -> list[proof.Finding]:
        """Prove a case's truth; recorder and witness have to run. Raise LabError if the server isn't up."""
        if reason := self.fallen.get(case.name):
            raise LabError(reason)
        inside = rooms.inside(self.stranger)
        journals = reaching.Journals(self.journal, self.visitors)
        by_requests = reaching.prove(case, inside, journals)
        return by_requests + proof.prove(case, inside, proof.Journal(self.journal))

    def prove_all(self, cases: Iterable[Case]) -> Iterator[list[proof.Finding] | LabError]:
        """Prove many cases at the same time, and yield what became of each in their order.

        The journals tell them apart: by the word that each request carries, or by the server it came from.
        """
        with ThreadPoolExecutor(_PROVED_AT_ONCE) as pool:
            yield from pool.map(self._proved, cases)

    def _proved(self, case: Case) -> list[proof.Finding] | LabError:
        try:
            return self.prove(case)
        except LabError as error:
            return error

    def opened(self, case: Case) -> int:
        """Return how many TCP connections a server's host has opened since it stands (RFC 4022, ActiveOpens)."""
        first = rooms.first_process(network.namespace(self.run_id, plan.home(case).label))
        counters = Path(f"/proc/{first}/net/snmp").read_text(encoding="ascii").splitlines()
        names, values = (line.split() for line in counters if line.startswith("Tcp:"))
        return int(values[names.index("ActiveOpens")])

    def as_stranger(self) -> list[str]:
        """Return the beginning of a command of this machine that runs in the stranger's network."""
        return ["ip", "netns", "exec", self.stranger]

    @contextlib.contextmanager
    def recorder(self) -> Iterator[None]:
        """Let the recorder listen at the sink's addresses for a while."""
        self.journal.touch()
        with self._listener("recorder", recorder.PORTS, self.journal):
            yield

    @contextlib.contextmanager
    def witness(self) -> Iterator[None]:
        """Let the witness listen at the sink's addresses for a while."""
        self.visitors.touch()
        with self._listener("witness", witness.PORTS, self.visitors, self._make_certificate()):
            yield

    @contextlib.contextmanager
    def _listener(self, module: str, ports: Sequence[int], *words: Path) -> Iterator[None]:
        """Run one of our receiving ends, in this machine's Python, in the stranger's network."""
        command = [*self.as_stranger(), sys.executable, "-m", f"tests.interop.lab.{module}"]
        with (self.folder / module).open("ab") as output:
            process = subprocess.Popen(
                [*command, *words, plan.SINK, plan.SINK_6],
                cwd=CHECKOUT,
                stderr=output,
                start_new_session=True,
            )
        try:
            rooms.wait_until_listening(process, ports)
            yield
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=10)

    def _make_certificate(self) -> Path:
        """Make the witness's certificate where curl looks for it, and return a file of it and its key."""
        inside = rooms.inside(self.stranger)
        names = f"subjectAltName=DNS:{plan.CANARY},DNS:*.{plan.CANARY}"
        key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "-"]
        command = ["openssl", "req", "-x509", "-subj", f"/CN={plan.CANARY}", "-addext", names, *key]
        path = self.folder / "witness.pem"
        private = run([*inside, *command, "-out", carriers.CERTIFICATE])
        path.write_text(private + run([*inside, "cat", carriers.CERTIFICATE]), encoding="ascii")
        return path

    def _start_dns(self) -> None:
        tree = self.folder / "dns-files"
        (tree / "etc").mkdir(parents=True)
        (tree / "etc/lab-dns.conf").write_text(names.configuration(self.cases), encoding="utf-8")
        furniture = rooms.Furniture(roots.tools(), "dns.example", trees=(tree,))
        self._open(plan.DNS_HOME, furniture, (f"{names.COMMAND} &",)).wait_until_ready([53])

    def _start_stranger(self) -> None:
        resolv = network.resolv(self.run_id)
        furniture = rooms.Furniture(roots.tools(), "stranger.example", resolv=resolv)
        self._open(plan.STRANGER_HOME, furniture, ()).wait_until_ready(())

    def _start_server(self, case: Case) -> str:
        home, name = plan.home(case), plan.host_name(case)
        furniture = rooms.Furniture(
            roots.stack(case),
            name,
            hosts=f"127.0.0.1 localhost\n::1 localhost\n{home.address} {name} {case.name}\n",
            resolv=network.resolv(self.run_id),
            trees=(case.files,),
        )
        try:
            self._open(home, furniture, (*case.prepare, *case.start)).wait_until_ready(case.ports)
        except LabError as error:
            return str(error)
        return ""

    def _open(self, home: plan.Home, furniture: rooms.Furniture, lines: Sequence[str]) -> rooms.Room:
        namespace = network.namespace(self.run_id, home.label)
        room = rooms.start(furniture, namespace, lines, self.folder / home.label)
        self._rooms.append(room)
        return room


def build(cases: Sequence[Case], say: Callable[[str], None] = lambda _: None) -> None:
    """Build every root that the cases need and the cache doesn't hold."""
    if reason := missing():
        raise LabError(reason)
    roots.tools()
    for case in cases:
        if not roots.is_built(case):
            say(f"building a root of {', '.join(case.packages + case.npm + case.pip)}")
            roots.stack(case)


def fresh() -> World:
    """Return a world that nobody has: nothing of it stands yet."""
    return World(secrets.token_hex(2))


@contextlib.contextmanager
def world(cases: Sequence[Case], say: Callable[[str], None] = lambda _: None) -> Iterator[World]:
    """Bring a world of these cases up, and take it down whatever happens."""
    sweep()
    made = fresh()
    try:
        made.up(cases, say, owned=True)
        yield made
    finally:
        made.down()


def sweep() -> None:
    """Take down the worlds whose owners were killed before they could."""
    for made in standing():
        if made.is_orphan():
            made.down()


def standing() -> list[World]:
    """Return the worlds that stand on this machine."""
    return [World(run_id) for run_id in sorted(network.runs())]
