"""The reader refuses wrong data files, and says which file and which field."""

from pathlib import Path

import pytest

from relaywatch.advice.catalogue import read_catalogue
from relaywatch.advice.reading import CatalogueError

ADVISORY = """
id = "RW-9001"
slug = "sample"
kind = "hole"
weakness = "open-relay"
risk = "low"
ease_of_fix = "simple"
complexity = "low"
popularity = "rare"
impact = ["reputation"]
root_cause = "by-design"
references = ["RFC 5321 section 7.9"]
dialogue = ["C: GET / HTTP/1.1", "C:", "S: HTTP/1.1 200 OK"]
[en]
title = "A sample"
summary = "It is a sample."
description = ["It is a sample."]
concerns = ["None."]
verify = ["Look."]
[ko]
title = "표본"
summary = "표본입니다."
description = ["표본입니다."]
concerns = ["없습니다."]
verify = ["확인하십시오."]
"""
GUIDE = """
software = "samplemta"
name = "Sample MTA"
role = "server"
[[remedy]]
id = "samplemta-close"
advisories = ["RW-9001"]
standing = "documented"
source = "samplemta(8)"
[remedy.en]
title = "Close it"
[remedy.ko]
title = "닫기"
[[remedy.step]]
file = "/etc/samplemta.conf"
lines = ["relay = no"]
en = "Set it."
ko = "설정합니다."
[[remedy.verify]]
commands = ["samplemta --check"]
en = "Look."
ko = "확인합니다."
"""


def tree(directory: Path, *, advisory: str = ADVISORY, guide: str = GUIDE) -> Path:
    """Write a catalogue of one advisory and one guide, and return its root."""
    for folder, name, text in (("advisories", "RW-9001", advisory), ("remedies", "samplemta", guide)):
        (directory / folder).mkdir(exist_ok=True)
        (directory / folder / f"{name}.toml").write_text(text, encoding="utf-8")
    return directory


def complaint(root: Path) -> str:
    with pytest.raises(CatalogueError) as refused:
        read_catalogue(root)
    return str(refused.value)


def test_a_right_tree_is_read(tmp_path: Path):
    catalogue = read_catalogue(tree(tmp_path))
    assert ["RW-9001"] == list(catalogue.advisories)
    assert ["samplemta"] == [r.software for r in catalogue.remedies("RW-9001", "samplemta")]
    assert "C:" == catalogue.advisory("RW-9001").dialogue[1]  # an empty line is a line that is typed


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('risk = "low"\n', "", "RW-9001.toml: Object missing required field `risk`"),
        ('risk = "low"', 'risk = "huge"', "RW-9001.toml: Invalid enum value 'huge' - at `$.risk`"),
        (
            'slug = "sample"',
            'slug = "sample"\nseverity = 3',
            "RW-9001.toml: Object contains unknown field `severity`",
        ),
        ('title = "표본"', 'title = ""', "at `$.ko.title`"),
        ('title = "표본"', 'title = " 표본"', "at `$.ko.title`"),
        ('title = "A sample"\n', "", "RW-9001.toml: Object missing required field `title` - at `$.en`"),
        ('concerns = ["None."]', "concerns = []", "at `$.en.concerns`"),
        ('verify = ["Look."]', 'verify = "Look."', "Expected `array`, got `str` - at `$.en.verify`"),
        ('impact = ["reputation"]', "impact = []", "at `$.impact`"),
        ("RFC 5321 section 7.9", "rfc5321", "at `$.references[0]`"),
        ("RFC 5321 section 7.9", "CVE-99-1", "at `$.references[0]`"),
        ("RFC 5321 section 7.9", "http://plain.example/", "at `$.references[0]`"),
        ('"C:"', '"C: "', "at `$.dialogue[1]`"),
        ('"C:"', '"C:GET"', "at `$.dialogue[1]`"),
        ('"C:"', '"GET"', "at `$.dialogue[1]`"),
        ('"C:"', '""', "at `$.dialogue[1]`"),
        ('id = "RW-9001"', 'id = "RW-9002"', "RW-9001.toml: `id` is 'RW-9002', which is not the file's name"),
        ('id = "RW-9001"', "id = RW-9001", "RW-9001.toml: not TOML: Invalid value (at line 2, column 6)"),
    ],
)
def test_a_wrong_advisory_is_refused_by_file_and_field(tmp_path: Path, old: str, new: str, said: str):
    assert old in ADVISORY
    assert said in complaint(tree(tmp_path, advisory=ADVISORY.replace(old, new, 1)))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('software = "samplemta"', 'software = "other"', "`software` is 'other', which is not the file's name"),
        ('source = "samplemta(8)"\n', "", "remedy 'samplemta-close': documented without a source - at `source`"),
        ('"documented"', '"live"', "remedy 'samplemta-close': live with cases of the lab, and with them only - at `lab_cases`"),
        ('["RW-9001"]', '["RW-9009"]', "remedy 'samplemta-close': no advisory RW-9009 - at `advisories`"),
        ('["RW-9001"]', "[]", "at `$.remedy[0].advisories`"),
        ('file = "/etc/samplemta.conf"\n', "", "lines without a file - at `step.file` of 'Set it.'"),
        ('"documented"', '"documented"\nlab_cases = ["samplemta-open"]',
         "live with cases of the lab, and with them only - at `lab_cases`"),
        ('lines = ["relay = no"]', 'lines = ["relay = no"]\nunder = "a"\nabove = "b"',
         "under one line and above another - at `step.above` of 'Set it.'"),
        ('lines = ["relay = no"]', 'under = "a"', "a place without lines - at `step.lines` of 'Set it.'"),
        ('lines = ["relay = no"]', 'lines = ["a\\nb"]', "at `$.remedy[0].step[0].lines[0]`"),
        ('ko = "설정합니다."\n', "", "Object missing required field `ko` - at `$.remedy[0].step[0]`"),
        ('ko = "설정합니다."', 'ko = "설정합니다."\nphase = "stop"', "steps have a phase in remedies of an incident"),
        ('id = "samplemta-close"', 'id = "a"\nsoftware = "b"', "`software` belongs to the file - at `$.remedy[0]`"),
        ("[[remedy]]", '[[not_applicable]]\nadvisories = ["RW-9001"]\nen = "No."\nko = "아닙니다."\n[[remedy]]',
         "not_applicable: RW-9001 has a remedy too"),
        ("[[remedy]]", '[[not_applicable]]\nadvisories = ["RW-9009"]\nen = "No."\nko = "아닙니다."\n[[remedy]]',
         "not_applicable: no advisory RW-9009"),
    ],
)  # fmt: skip
def test_a_wrong_guide_is_refused_by_file_and_field(tmp_path: Path, old: str, new: str, said: str):
    assert old in GUIDE
    refusal = complaint(tree(tmp_path, guide=GUIDE.replace(old, new, 1)))
    assert refusal.startswith("samplemta.toml: ")
    assert said in refusal


def test_a_remedy_that_is_no_table_is_refused(tmp_path: Path):
    head = 'software = "samplemta"\nname = "S"\nrole = "server"\n'
    assert "Expected tables [[remedy]]" in complaint(tree(tmp_path, guide=head + "remedy = 3"))
    assert "Expected tables [[remedy]]" in complaint(tree(tmp_path, guide=head + "remedy = [3]"))


@pytest.mark.parametrize(
    ("phases", "said"),
    [
        (("stop", None), "steps have a phase in remedies of an incident, all of them"),
        (("close", "stop"), "steps out of the order of their phases"),
        (("stop", "close"), None),
        (("stop", "stop"), None),
    ],
)
def test_the_steps_of_an_incident_follow_its_phases(
    tmp_path: Path, phases: tuple[str | None, ...], said: str | None
):
    steps = "".join(
        f'[[remedy.step]]\nen = "Do."\nko = "합니다."\n{f"phase = {phase!r}" if phase else ""}\n'
        for phase in phases
    )
    head, tail = GUIDE.split("[[remedy.step]]")
    guide = head + steps + "[[remedy.verify]]" + tail.split("[[remedy.verify]]")[1]
    root = tree(tmp_path, advisory=ADVISORY.replace('"hole"', '"incident"'), guide=guide)
    if said is None:
        assert len(phases) == len(read_catalogue(root).guides["samplemta"].remedy[0].step)
    else:
        assert said in complaint(root)


def test_a_file_that_is_no_utf8_is_refused(tmp_path: Path):
    root = tree(tmp_path)
    (root / "advisories" / "RW-9001.toml").write_bytes(ADVISORY.encode("cp949"))
    assert complaint(root).startswith("RW-9001.toml: not UTF-8: ")


def test_two_advisories_of_one_slug_are_refused(tmp_path: Path):
    root = tree(tmp_path)
    (root / "advisories" / "RW-9002.toml").write_text(ADVISORY.replace("9001", "9002"), encoding="utf-8")
    assert "advisories: `slug` 'sample' stands 2 times" == complaint(root)


def test_two_guides_for_one_software_are_refused(tmp_path: Path):
    root = tree(tmp_path)
    other = GUIDE.replace('"samplemta"', '"other"').replace("samplemta-close", "other-close")
    also = other.replace('role = "server"', 'role = "server"\nalso = ["samplemta"]')
    (root / "remedies" / "other.toml").write_text(also, encoding="utf-8")
    assert "remedies: `software or also` 'samplemta' stands 2 times" == complaint(root)


def test_two_remedies_of_one_id_are_refused(tmp_path: Path):
    root = tree(tmp_path)
    (root / "remedies" / "other.toml").write_text(GUIDE.replace('"samplemta"', '"other"'), encoding="utf-8")
    assert "remedies: `remedy id` 'samplemta-close' stands 2 times" == complaint(root)


def test_other_files_are_left_alone(tmp_path: Path):
    root = tree(tmp_path)
    (root / "remedies" / "README").write_text("not a guide", encoding="utf-8")
    assert ["samplemta"] == list(read_catalogue(root).guides)
