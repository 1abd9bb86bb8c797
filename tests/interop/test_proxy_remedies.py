"""Every remedy of a proxy that is called live closes the open proxies of the lab that it names, by its own steps.

Each is asked by our checker, mended as the remedy's data says, and asked again. In between its own users, from
the servers' network, still get through it (or guests still see the site of a reverse proxy), and the lines that
the remedy is to be verified by show the hole before and nothing after. One scan before and one after serve all.
"""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import pytest
from tests.interop.lab import plan
from tests.interop.lab.cases import chosen
from tests.interop.mend_names import granted
from tests.interop.mend_users import USES, Neighbourhood, verifying
from tests.interop.test_proxy_verdicts import scan
from tests.interop.test_remedies import mend, standing

from relaywatch.advice.catalogue import load_catalogue
from relaywatch.advice.vocabulary import Standing

pytestmark = [pytest.mark.interop, pytest.mark.timeout(1800)]

REMEDIES = [
    (remedy, granted(case))
    for guide in load_catalogue().guides.values()
    for remedy in guide.remedy
    if remedy.standing is Standing.LIVE
    for case in chosen(remedy.lab_cases)
    if case.is_proxy
]
#: Mends the mail server behind a proxy; the proxy stays as it is.
OF_MAIL = frozenset({"postfix-behind-a-proxy"})
OF_PROXIES = frozenset(remedy.id for remedy, _ in REMEDIES) - OF_MAIL
#: A proxy that hangs up on strangers without a word says nothing of proxies any more.
SILENT = frozenset(
    {"privoxy-listen", "dante-rules", "nginx-stream-sni", "haproxy-sni-map", "trafficserver-ip-allow"}
)
#: One or two of each kind, of those that are asked quickly; ``make test`` mends these, ``make long`` the others.
QUICK = frozenset(
    {
        *("squid-open", "chain-own-loopback", "chain-own-address", "tinyproxy-open", "privoxy-open"),
        *("dante-open", "microsocks-open", "apache-connect-25", "apache-misrouting", "nginx-forward-open"),
        *("nginx-sni-open", "openssh-none-open", "vsftpd-bounce", "trafficserver-connect-443"),
    }
)
AT_ONCE = 6


@dataclass(slots=True)
class Mended:
    """What became of a proxy: its result lines before and after, and what went wrong in between."""

    before: dict = field(default_factory=dict)
    shown: bool = False  # the remedy's own lines showed the hole
    trouble: str = ""
    misses: list = field(default_factory=list)  # of its users
    still_shown: bool = False
    after: dict = field(default_factory=dict)


def each(wanted):
    return _pairs([pair for pair in REMEDIES if pair[0].id in wanted])


def each_chain():
    return _pairs([pair for pair in REMEDIES if pair[1].expect.relay])


def _pairs(pairs):
    rows = [
        pytest.param(
            remedy,
            case,
            id=f"{remedy.id}-{case.name}",
            marks=() if case.name in QUICK else pytest.mark.long,
        )
        for remedy, case in pairs
    ]
    return pytest.mark.parametrize(("remedy", "proxy"), rows)


@pytest.fixture(scope="module")
def mended(request, tmp_path_factory):
    """Each proxy of the tests that were chosen, by its name: asked, mended, asked again."""
    folder = tmp_path_factory.mktemp("proxy-remedies")
    with standing(request, REMEDIES, "proxy") as (lab, stand):
        found = {case.name: Mended() for _, case in stand}
        found |= {name: Mended(trouble=reason) for name, reason in lab.fallen.items()}
        ask(lab, stand, folder / "before", found, "before")
        around = Neighbourhood(lab)
        with around.site(), ThreadPoolExecutor(AT_ONCE) as pool:
            with lab.recorder(), lab.witness():
                list(pool.map(lambda pair: mend_and_try(lab, around, *pair, found), stand))
            ask(lab, stand, folder / "after", found, "after")
        yield found


def ask(lab, stand, folder, found, when):
    """Put the lines of one scan over all in their places."""
    folder.mkdir()
    lines = scan(lab, [case for _, case in stand], folder)
    for _, case in stand:
        of_it = {weakness: line for (name, weakness), line in lines.items() if name == plan.host_name(case)}
        setattr(found[case.name], when, of_it)


def mend_and_try(lab, around, remedy, case, found):
    """Carry out a remedy, between its own lines of verification, and let its users try."""
    mine = found[case.name]
    mine.shown = around.shown(case, remedy, expected=bool(verifying(remedy)))
    mine.trouble = mend(lab, remedy, case)
    if not mine.trouble:
        mine.still_shown = around.shown(case, remedy, expected=False)
        mine.misses = [said for use in USES.get(remedy.id, ()) if (said := around.miss(case, use))]


@each(OF_PROXIES)
def test_the_remedy_closes_the_proxy(mended, remedy, proxy):
    found = mended[proxy.name]
    assert "" == found.trouble
    before, after = found.before["open-proxy"], found.after["open-proxy"]
    proved = {finding["advisory"] for finding in before["findings"] if finding["proof"] == "canary-reached"}
    assert proved & set(remedy.advisories), json.dumps(before, indent=2)
    ends = {"closed", "absent"} if remedy.id in SILENT else {"closed"}
    assert after["verdict"] in ends, json.dumps(after, indent=2)
    assert [] == after["findings"]


@each_chain()
def test_what_was_relayed_through_the_proxy_is_not_any_more(mended, remedy, proxy):
    found = mended[proxy.name]
    assert ("", True) == (found.trouble, "RW-2020" in remedy.advisories)
    before, after = found.before["open-relay"], found.after.get("open-relay", {"verdict": "absent"})
    delivered = {finding["advisory"] for finding in before["findings"] if finding["proof"] == "delivered"}
    assert "RW-2020" in delivered, json.dumps(before, indent=2)
    assert after["verdict"] in {"closed", "absent"}, json.dumps(after, indent=2)
    assert (remedy.id in OF_MAIL) == ("open" == found.after["open-proxy"]["verdict"])


@each(USES)
def test_its_users_are_served_as_before_and_within_their_limits(mended, remedy, proxy):
    found = mended[proxy.name]
    assert ("", []) == (found.trouble, found.misses), "\n\n".join(found.misses)


@each(OF_PROXIES)
def test_the_lines_of_verification_tell_open_from_closed(mended, remedy, proxy):
    found = mended[proxy.name]
    assert (True, False) == (found.shown, found.still_shown), verifying(remedy)
