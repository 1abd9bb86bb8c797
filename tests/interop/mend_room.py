"""A remedy carried out in a server's room, step by step, as its data says."""

import os
import re
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import msgspec

from relaywatch.advice.records import Remedy, Step

from . import mend_names
from .lab import network, rooms
from .lab.cases import Case
from .lab.errors import LabError
from .lab.shell import run, tail
from .lab.world import World
from .mend_edit import EditError, edited

_STAYS = ("busybox", "sleep")  # the room's own: syslogd, and what keeps it open
_GENTLE = 8.0  # seconds that a server has to end by itself
_PATIENCE = 40.0  # seconds that it has to listen again
_QUOTED = re.compile(r"'[^']*'")
_GREP_IS_LAST = re.compile(r"(^|\| *)grep [^|]*$")


class Mender:
    """One server of a world and what can be done to it from inside."""

    def __init__(self, lab: World, case: Case) -> None:
        self.case = case
        self._namespace = network.namespace(lab.run_id, case.name)
        self._folder = mend_names.FOLDERS.get(case.software, "/")

    def apply(self, remedy: Remedy) -> None:
        """Carry out all steps, then wait until the case's ports listen; raise LabError with the step."""
        for number, step in enumerate(remedy.step, 1):
            try:
                self.carry_out(step)
            except (LabError, EditError) as error:
                raise LabError(f"{remedy.id}, step {number}: {error}") from error
        self._wait_until_listening()

    def carry_out(self, step: Step) -> str:
        """Carry out one step; return what its commands said."""
        return self._carry_out(self._filled(step))

    def say(self, line: str) -> str:
        """Return what a shell line of the room says; raise LabError for a status other than 0."""
        words = ["sh", "-c", f"cd {self._folder} && {line}"]
        # A daemon that a line starts keeps its output open: wait for the shell, not for the end of a pipe.
        with tempfile.TemporaryFile("w+", errors="replace") as output:
            done = subprocess.run(
                [*rooms.inside(self._namespace), *words],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=60,
                check=False,
            )
            output.seek(0)
            said = output.read()
        if done.returncode and not (done.returncode == 1 and _looks_for(line)):
            raise LabError(f"{line}\n    ended with {done.returncode}:\n{tail(said)}")
        return said

    def _filled(self, step: Step) -> Step:
        """Return the step with the case's names in all that is carried out."""
        words = [*step.remove, *step.lines, *step.commands, step.file, step.under, step.above]
        names = {word: mend_names.filled(word, self.case) for word in words if word}
        return msgspec.structs.replace(
            step,
            file=names.get(step.file or ""),
            under=names.get(step.under or ""),
            above=names.get(step.above or ""),
            remove=tuple(names[word] for word in step.remove),
            lines=tuple(names[word] for word in step.lines),
            commands=tuple(names[word] for word in step.commands),
        )

    def _carry_out(self, step: Step) -> str:
        said = ""
        if step.if_present and not self._has(step.file or ""):
            return said
        if step.file and (step.lines or step.remove):
            before = self.say(f"cat '{step.file}'") if self._has(step.file) else ""
            self._write(step.file, edited(before, step))
        for text in step.commands:
            command = mend_names.command(text)
            if isinstance(command, mend_names.Service):
                self._serve(command)
            else:
                said += self.say(command)
        return said

    def _has(self, file: str) -> bool:
        return self.say(f"test -f '{file}' && echo yes || echo no").strip() == "yes"

    def _write(self, file: str, text: str) -> None:
        words = ["sh", "-c", f"cd {self._folder} && cat > '{file}'"]
        run([*rooms.inside(self._namespace), *words], stdin=text)

    def _serve(self, service: mend_names.Service) -> None:
        if service.stops:
            self._stop()
        if service.starts:
            self.say("\n".join(["set -e", *self.case.start]))
            self._wait_until_listening()

    def _stop(self) -> None:
        """End every process of the server, as the end of its service would."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            for pid in self._daemons():
                _kill(pid, number)
            deadline = time.monotonic() + _GENTLE
            while (left := self._daemons()) and time.monotonic() < deadline:
                time.sleep(0.05)
            if not left:
                return
        raise LabError(f"processes don't end: {left}")

    def _daemons(self) -> list[int]:
        first = rooms.first_process(self._namespace)
        inside = Path(f"/proc/{first}/root").stat()
        return [
            pid
            for pid in network.processes(self._namespace)
            if pid != first and _program(pid) not in _STAYS and _shares(pid, inside)
        ]

    def _wait_until_listening(self) -> None:
        first = rooms.first_process(self._namespace)
        deadline = time.monotonic() + _PATIENCE
        while missing := set(self.case.ports) - rooms.listening(first):
            if time.monotonic() > deadline:
                raise LabError(
                    f"nothing listens at {sorted(missing)}:\n{tail(self.say('cat /var/log/syslog'))}"
                )
            time.sleep(0.05)


def _looks_for(line: str) -> bool:
    """Tell whether grep has a command's last word: its 1 says that there is no such line, which is an answer."""
    return bool(_GREP_IS_LAST.search(_QUOTED.sub("", line)))


def _kill(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def _program(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0].decode(errors="replace")
    except OSError:
        return ""


def _shares(pid: int, root: os.stat_result) -> bool:
    """Tell whether a process lives in the room: it has its root, or one below (a daemon's chroot)."""
    try:
        return Path(f"/proc/{pid}/root").stat().st_dev == root.st_dev
    except OSError:
        return False
