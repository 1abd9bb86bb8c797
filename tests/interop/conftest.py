"""One lab for the whole session, with the servers of the tests that were chosen."""

import pytest
from tests.interop.lab.world import missing, world


@pytest.fixture(scope="session")
def a_place_for_the_lab():
    if reason := missing():
        pytest.skip(reason)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Let all tests that are left out for want of a place make one line of the summary."""
    report = yield
    is_left_out = report.skipped and not hasattr(report, "wasxfail")
    if is_left_out and "a_place_for_the_lab" in item.fixturenames:
        _, _, reason = report.longrepr
        report.longrepr = (__file__, 1, reason)
    return report


@pytest.fixture(scope="session")
def lab(request, a_place_for_the_lab):
    chosen = {}
    for item in request.session.items:
        case = getattr(item, "callspec", None) and item.callspec.params.get("case")
        if case and "lab" in item.fixturenames:
            chosen[case.name] = case
    with world([chosen[name] for name in sorted(chosen)]) as made:
        yield made
