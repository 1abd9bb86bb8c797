"""One lab for the whole session, with the servers of the tests that were chosen."""

import pytest
from tests.interop.lab.world import missing, world


@pytest.fixture(scope="session")
def lab(request):
    if reason := missing():
        pytest.skip(reason)
    chosen = {}
    for item in request.session.items:
        case = getattr(item, "callspec", None) and item.callspec.params.get("case")
        if case and "lab" in item.fixturenames:
            chosen[case.name] = case
    with world([chosen[name] for name in sorted(chosen)]) as made:
        yield made
