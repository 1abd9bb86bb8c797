"""The files that the server itself reads: one that we haven't read may say anything."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from relaywatch.audit.findings import OracleAnswer
from relaywatch.audit.trees import FolderTree

from .asking import Question, Said, ask, compared, disagrees
from .syntax import taken

_NGINX = re.compile(r"^# configuration file (.+):$", re.MULTILINE)
_APACHE = re.compile(r"^\s*\([*\d]+\)\s+(/.+)$", re.MULTILINE)
_SQUID = re.compile(r"Processing Configuration File: (.+) \(depth \d+\)")
_SUBJECT = "files"


def nginx(question: Question) -> Iterator[OracleAnswer]:
    """Nginx -T: the files as it reads them."""
    said = ask("nginx", "-T", "-c", str(question.main))
    yield from _both(question, said, _NGINX.findall(said.output))


def apache(question: Question) -> Iterator[OracleAnswer]:
    """Apachectl -t: the virtual hosts can be told, and by which files."""
    dumps = ("-t", "-D", "DUMP_VHOSTS", "-D", "DUMP_INCLUDES")
    named = () if question.is_installed else ("-f", str(question.main))
    said = ask("apachectl|apache2ctl|httpd", *named, *dumps)
    yield from _both(question, said, _APACHE.findall(said.output))


def squid(question: Question) -> Iterator[OracleAnswer]:
    """Squid -k parse: each file as it is processed."""
    said = ask("squid", "-k", "parse", "-f", str(question.main))
    yield from _both(question, said, _SQUID.findall(said.errors + said.output))


def _both(question: Question, said: Said, theirs: Iterable[str]) -> Iterator[OracleAnswer]:
    yield taken(question, said)
    if not said.code:
        yield from compared(said, list(_unread(question, said, theirs)), _SUBJECT)


def _unread(question: Question, said: Said, theirs: Iterable[str]) -> Iterator[OracleAnswer]:
    tree = question.setup.tree
    assert isinstance(tree, FolderTree)  # noqa: S101 -- others are never asked about
    ours = {tree.place(path).resolve() for path in question.setup.sources}
    gaps = " ".join(str(gap.subject) for gap in question.setup.gaps)
    for name in dict.fromkeys(theirs):
        place = Path(name)
        if not _decides(place) or place.resolve() in ours or name in gaps:
            continue
        yield disagrees(said, _SUBJECT, theirs=f"reads {name}", ours="not read")


def _decides(place: Path) -> bool:
    """Whether it may say who is let in; tables of file types don't."""
    return place.name not in {"mime.types", "magic"}
