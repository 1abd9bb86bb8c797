"""Where configurations are read from, and what is never read."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
import zipfile
from pathlib import Path, PurePosixPath

import pytest

from relaywatch.audit import archives, trees
from relaywatch.audit.trees import ArchiveTree, FolderTree, NotReadError, TextTree, open_tree
from relaywatch.model.errors import UsageError

P = PurePosixPath


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copied system: absolute links in it mean places in it."""
    root = tmp_path / "copy"
    for folder in ("etc/postfix", "srv/mail/sub", "etc/nginx/sites-available", "etc/nginx/sites-enabled"):
        (root / folder).mkdir(parents=True)
    (root / "etc/postfix/main.cf").write_text("copied\n")
    (root / "srv/mail/table").write_text("inside\n")
    (root / "etc/nginx/sites-available/one").write_text("site\n")
    (tmp_path / "secret").write_text("outside\n")
    (root / "etc/postfix/absolute").symlink_to("/srv/mail/table")
    (root / "etc/postfix/relative").symlink_to("../../srv/mail/table")
    (root / "etc/postfix/folder").symlink_to("/srv/mail")
    (root / "etc/postfix/up").symlink_to("../../../../../../secret")
    (root / "etc/postfix/out").symlink_to(tmp_path / "secret")
    (root / "etc/postfix/loop").symlink_to("loop")
    (root / "etc/postfix/far").symlink_to("folder/../mail/table")
    (root / "etc/nginx/sites-enabled/one").symlink_to("/etc/nginx/sites-available/one")
    return root


def packed(root: Path, path: Path) -> Path:
    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as archive:
        archive.add(root, arcname=".")
    return path


def zipped(root: Path, path: Path) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(root.rglob("*")):
            name = str(file.relative_to(root))
            if file.is_symlink():
                entry = zipfile.ZipInfo(name)
                entry.external_attr = 0o120777 << 16
                archive.writestr(entry, str(file.readlink()))
            elif file.is_dir():
                archive.writestr(f"{name}/", "")
            else:
                archive.write(file, name)
    return path


@pytest.fixture(params=["folder", "tar", "tar.gz", "zip"])
def tree(request, copy: Path, tmp_path: Path):
    """The same files in every form."""
    if request.param == "folder":
        return open_tree(copy)
    path = tmp_path / f"copy.{request.param}"
    return open_tree(zipped(copy, path) if request.param == "zip" else packed(copy, path))


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("/etc/postfix/main.cf", b"copied\n"),
        ("/etc/./postfix/../postfix/main.cf", b"copied\n"),
        ("/etc/postfix/absolute", b"inside\n"),
        ("/etc/postfix/relative", b"inside\n"),
        ("/etc/postfix/folder/table", b"inside\n"),
        ("/etc/postfix/far", b"inside\n"),
        ("/etc/nginx/sites-enabled/one", b"site\n"),
    ],
)
def test_links_lead_within_the_copy(tree, path, text):
    assert tree.read(P(path)) == text


@pytest.mark.parametrize("path", ["/etc/postfix/up", "/etc/postfix/out", "/etc/postfix/none", "/none/none"])
def test_nothing_outside_is_read(tree, path):
    with pytest.raises(FileNotFoundError):
        tree.read(P(path))


def test_a_loop_of_links_ends(tree):
    with pytest.raises(NotReadError, match="loop"):
        tree.read(P("/etc/postfix/loop"))
    assert list(tree.files())


def test_files_and_folders_are_listed(tree):
    listed = list(tree.files())
    assert P("/etc/postfix/main.cf") in listed
    assert P("/etc/nginx/sites-enabled/one") in listed
    assert P("/etc/postfix/folder/table") not in listed, "links to folders aren't walked"
    assert P("/etc/postfix/main.cf") in tree.folder(P("/etc/postfix"))
    assert tree.folder(P("/etc/postfix/folder")) == [P("/etc/postfix/folder/table")]
    assert tree.folders(P("/etc")) == [P("/etc/nginx"), P("/etc/postfix")]
    assert P("/etc/postfix/folder") in tree.folders(P("/etc/postfix"))
    assert tree.folder(P("/none")) == tree.folders(P("/none")) == []


def test_an_empty_folder_is_one_and_a_missing_one_is_none(copy, tmp_path):
    (copy / "etc/empty").mkdir()
    (copy / "etc/linked").symlink_to("empty")
    for tree in (
        open_tree(copy),
        open_tree(packed(copy, tmp_path / "e.tar")),
        open_tree(zipped(copy, tmp_path / "e.zip")),
        TextTree({"/srv/x": ""}, open_tree(copy)),
    ):
        for path in ("/", "/etc/empty", "/etc/linked", "/srv", "/etc/postfix/folder"):
            assert tree.is_folder(P(path)), path
        for path in ("/etc/none", "/etc/postfix/main.cf", "/etc/postfix/loop", "/etc/postfix/loop/x"):
            assert not tree.is_folder(P(path)), path


def leading(tree, machine):
    """The tree as a machine copied into one of its folders sees it."""
    return tree.led(lambda target: P(f"{machine}{target}"), P(machine))


@pytest.fixture(params=["folder", "tar", "zip", "text"])
def machines(request, copy: Path, tmp_path: Path):
    """Two copied machines side by side, each with links of its own."""
    (tmp_path / "two").mkdir()
    for name in ("a", "b"):
        copy.rename(tmp_path / "two" / name) if name == "a" else (tmp_path / "two/b/srv/mail").mkdir(
            parents=True
        )
    (tmp_path / "two/b/srv/mail/table").write_text("the other's\n")
    (tmp_path / "two/etc").mkdir()
    (tmp_path / "two/etc/out").write_text("nobody's\n")
    (tmp_path / "two/a/etc/up").symlink_to("../../../../etc/out")
    if request.param == "text":
        return leading(TextTree({}, open_tree(tmp_path / "two")), "/a")
    if request.param == "folder":
        return leading(open_tree(tmp_path / "two"), "/a")
    path = tmp_path / f"two.{request.param}"
    made = (zipped if request.param == "zip" else packed)(tmp_path / "two", path)
    return leading(open_tree(made), "/a")


@pytest.mark.parametrize("name", ["absolute", "relative", "folder/table", "far"])
def test_links_lead_within_their_own_machine(machines, name):
    assert machines.read(P("/a/etc/postfix") / name) == b"inside\n"


def test_no_link_leads_out_of_its_own_machine(machines):
    for name in ("etc/up", "etc/postfix/up", "etc/postfix/out"):
        with pytest.raises(FileNotFoundError):
            machines.read(P("/a") / name)


def test_a_named_file_that_is_a_link_is_followed_wherever_it_leads(tmp_path):
    for folder in ("here", "there"):
        (tmp_path / folder).mkdir()
    (tmp_path / "there/one").write_text("it\n")
    (tmp_path / "here/tinyproxy.conf").symlink_to(tmp_path / "there/one")
    (tmp_path / "here/other").symlink_to("../there/one")
    tree = open_tree(tmp_path / "here/tinyproxy.conf")
    assert [tree.read(path) for path in tree.files()] == [b"it\n"]
    with pytest.raises(FileNotFoundError):
        tree.read(P("/other"))


def test_a_folder_behind_one_that_may_not_be_searched_is_none(tmp_path, monkeypatch):
    (tmp_path / "in").mkdir()

    def refused(_path):
        raise PermissionError(13, "Permission denied")

    tree = FolderTree(tmp_path, P("/in"))
    monkeypatch.setattr(Path, "is_dir", refused)
    assert not tree.is_folder(P("/in"))
    assert list(tree.files()) == [P("/in")]


def test_a_file_within_a_file_is_none(copy):
    with pytest.raises(FileNotFoundError):
        open_tree(copy).read(P("/etc/postfix/main.cf/more"))
    with pytest.raises(NotReadError):
        open_tree(copy).read(P("/etc/nul\0name"))


def test_what_is_no_regular_file_is_not_read(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(NotReadError, match="not a regular file"):
        FolderTree(tmp_path).read(P("/pipe"))
    with pytest.raises(NotReadError):
        FolderTree(tmp_path).read(P("/"))


def test_what_may_not_be_read_is_told(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("x")

    def refused(*_args, **_more):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refused)
    with pytest.raises(NotReadError, match="Permission denied"):
        FolderTree(tmp_path).read(P("/file"))


def test_folders_that_cannot_be_listed_are_told(tmp_path, monkeypatch):
    (tmp_path / "shut").mkdir()
    scandir = os.scandir

    def refused(path):
        if str(path).endswith("shut"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refused)
    tree = FolderTree(tmp_path)
    assert list(tree.files()) == []
    assert list(tree.left_out) == [str(tmp_path / "shut")]


def test_a_folder_that_cannot_be_listed_is_no_empty_one(tmp_path, monkeypatch):
    def refused(_path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "listdir", refused)
    for ask in (FolderTree(tmp_path).folder, FolderTree(tmp_path).folders):
        with pytest.raises(NotReadError, match="Permission denied"):
            ask(P("/"))


def test_one_file_of_many_octets_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(trees, "MOST_OCTETS", 100)
    (tmp_path / "large").write_bytes(b"x" * 101)
    (tmp_path / "small").write_bytes(b"x" * 100)
    for tree in (
        FolderTree(tmp_path),
        ArchiveTree(packed(tmp_path, tmp_path.parent / "a.tar")),
        ArchiveTree(zipped(tmp_path, tmp_path.parent / "a.zip")),
    ):
        assert list(tree.files()) == [P("/large"), P("/small")]
        assert tree.read(P("/small")) == b"x" * 100
        with pytest.raises(NotReadError, match="more than"):
            tree.read(P("/large"))


def test_too_many_files_want_a_narrower_path(tmp_path, monkeypatch):
    monkeypatch.setattr(trees, "MOST_FILES", 3)
    for number in range(4):
        (tmp_path / str(number)).touch()
    with pytest.raises(UsageError, match="more than 3 files"):
        list(FolderTree(tmp_path).files())


def test_a_single_file_is_a_tree_of_one(copy):
    tree = open_tree(copy / "etc/postfix/main.cf")
    assert list(tree.files()) == [P("/main.cf")]
    assert tree.read(P("/main.cf")) == b"copied\n"
    assert tree.label == str(copy / "etc/postfix")


def test_the_system_is_read_from_its_root():
    tree = open_tree(Path("/etc/passwd"))
    assert (tree.label, list(tree.files())) == ("", [P("/etc/passwd")])
    assert tree.place(P("/etc/passwd")) == Path("/etc/passwd")


@pytest.mark.parametrize("name", ["none", "none.tar.gz", "nul\0"])
def test_a_path_with_nothing_at_it_is_wrong_usage(tmp_path, name):
    with pytest.raises(UsageError):
        open_tree(tmp_path / name)


def test_text_lies_over_another_tree(copy):
    tree = TextTree({"/etc/postfix/main.cf": "new\n", "/etc/other/x": b"\xff"}, FolderTree(copy))
    assert tree.label == str(copy)
    assert tree.read(P("/etc/postfix/main.cf")) == b"new\n"
    assert tree.read(P("/etc/other/x")) == b"\xff"
    assert tree.read(P("/srv/mail/table")) == b"inside\n"
    assert P("/etc/other/x") in list(tree.files())
    assert tree.folder(P("/etc/other")) == [P("/etc/other/x")]
    assert tree.folders(P("/etc")) == [P("/etc/nginx"), P("/etc/other"), P("/etc/postfix")]
    assert TextTree({"/a/b/c": ""}).folders(P("/")) == [P("/a")]
    with pytest.raises(FileNotFoundError):
        TextTree({}).read(P("/x"))


# --- archives that were packed to hurt --------------------------------------------------------------


def tar_with(path: Path, *members: tarfile.TarInfo, content: bytes = b"") -> Path:
    with tarfile.open(path, "w") as archive:
        for member in members:
            member.size = len(content) if member.isreg() else 0
            archive.addfile(member, io.BytesIO(content))
    return path


def test_names_that_lead_out_of_an_archive_stay_in_it(tmp_path):
    members = [tarfile.TarInfo(name) for name in ("../../out", "/etc/absolute", "./a/../b")]
    tree = ArchiveTree(tar_with(tmp_path / "a.tar", *members, content=b"x"))
    assert list(tree.files()) == [P("/b"), P("/etc/absolute"), P("/out")]


def test_hard_links_are_followed(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in/one").write_text("x")
    os.link(tmp_path / "in/one", tmp_path / "in/two")
    tree = ArchiveTree(packed(tmp_path / "in", tmp_path / "a.tar"))
    assert tree.read(P("/one")) == tree.read(P("/two")) == b"x"


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_a_bomb_of_zeros_is_not_unpacked(tmp_path, monkeypatch, form):
    monkeypatch.setattr(archives, "MOST_UNPACKED", 1 << 20)
    path = tmp_path / "bomb.tar.gz"
    with tarfile.open(path, "w:gz", format=form) as archive:
        for number in range(8):
            member = tarfile.TarInfo(str(number))
            member.size = 1 << 18
            archive.addfile(member, io.BytesIO(bytes(1 << 18)))
    with pytest.raises(UsageError, match="MiB unpacked"):
        ArchiveTree(path)


def test_a_bomb_in_a_header_is_not_unpacked(tmp_path, monkeypatch):
    """A pax header's size is whatever it claims; it is read into memory before any member is seen."""
    monkeypatch.setattr(archives, "MOST_UNPACKED", 1 << 20)
    header = tarfile.TarInfo("pax")
    header.type, header.size = tarfile.XHDTYPE, 1 << 32
    path = tmp_path / "bomb.tar.gz"
    with gzip.open(path, "wb") as file:
        file.write(header.tobuf(tarfile.USTAR_FORMAT))
        file.write(bytes(4 << 20))
    with pytest.raises(UsageError):
        ArchiveTree(path)


def test_a_bomb_of_sparse_files_is_not_unpacked(tmp_path, monkeypatch):
    """Each is nothing in the archive, and as many zeros as it claims once it is read."""
    monkeypatch.setattr(archives, "MOST_UNPACKED", 1 << 20)
    path = tmp_path / "bomb.tar.gz"
    with gzip.open(path, "wb") as file:
        for number in range(8):
            header = tarfile.TarInfo(str(number))
            header.type = tarfile.GNUTYPE_SPARSE
            octets = bytearray(header.tobuf(tarfile.GNU_FORMAT))
            octets[386:398], octets[398:410] = b"00000000000\0", b"00000000000\0"
            octets[482], octets[483:495] = 0, f"{1 << 18:011o}\0".encode()
            octets[148:156] = b" " * 8
            octets[148:156] = f"{sum(octets):06o}\0 ".encode()
            file.write(bytes(octets))
        file.write(bytes(1024))
    with pytest.raises(UsageError, match="MiB unpacked"):
        ArchiveTree(path)


@pytest.mark.parametrize("last", ["file", "link"])
def test_of_two_members_of_one_name_the_later_is_the_one(tmp_path, last):
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as archive:
        for kind in ("link", "file") if last == "file" else ("file", "link"):
            member = tarfile.TarInfo("one")
            if kind == "link":
                member.type, member.linkname = tarfile.SYMTYPE, "two"
                archive.addfile(member)
            else:
                member.size = 4
                archive.addfile(member, io.BytesIO(b"file"))
        member = tarfile.TarInfo("two")
        member.size = 4
        archive.addfile(member, io.BytesIO(b"link"))
    assert ArchiveTree(path).read(P("/one")) == last.encode()


def test_a_zip_bomb_is_not_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "MOST_UNPACKED", 1 << 20)
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(3):
            archive.writestr(str(number), bytes(1 << 19))
    with pytest.raises(UsageError, match="MiB unpacked"):
        ArchiveTree(path)


@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_too_many_members_are_not_unpacked(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(archives, "_MOST_MEMBERS", 3)
    source = tmp_path / "in"
    source.mkdir()
    for number in range(5):
        (source / str(number)).touch()
    path = tmp_path / f"a.{kind}"
    with pytest.raises(UsageError, match="more than 3 files"):
        ArchiveTree(packed(source, path) if kind == "tar" else zipped(source, path))


@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_names_of_a_thousand_folders_are_left_out(tmp_path, kind):
    path, name = tmp_path / f"a.{kind}", "a/" * 1000 + "b"
    if kind == "tar":
        tar_with(path, tarfile.TarInfo(name), content=b"x")
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(name, "x")
    assert list(ArchiveTree(path).files()) == []


@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz", "a.tar.xz", "a.tar.bz2", "a.zip"])
@pytest.mark.parametrize(
    "octets",
    [b"junk" * 500, b"", b"\x1f\x8b\x08" + b"\x00" * 600, b"BZh9" + b"x" * 600, b"\xfd7zXZ\x00" * 99],
)
def test_what_is_no_archive_is_wrong_usage(tmp_path, name, octets):
    (tmp_path / name).write_bytes(octets)
    with pytest.raises(UsageError):
        open_tree(tmp_path / name)


def test_a_torn_archive_is_wrong_usage(copy, tmp_path):
    path = packed(copy, tmp_path / "a.tar.gz")
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(UsageError):
        open_tree(path)
