import sys

import pytest

from relaywatch.engine.loop import new_event_loop


def test_uvloop_where_it_is_installed():
    uvloop = pytest.importorskip("uvloop")
    loop = new_event_loop()
    loop.close()

    assert isinstance(loop, uvloop.Loop)


def test_asyncio_where_it_is_not(monkeypatch):
    monkeypatch.setitem(sys.modules, "uvloop", None)
    loop = new_event_loop()
    loop.close()

    assert "asyncio" == type(loop).__module__.partition(".")[0]
