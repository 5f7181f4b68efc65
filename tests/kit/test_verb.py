"""A package that is also a verb."""

import sys
import types

from smidgen.kit.verb import callable_room


def test_a_package_passes_a_call_on(monkeypatch):
    room, facade = types.ModuleType("a_room"), types.ModuleType("a_facade")
    facade.do = lambda *args, **options: (args, options)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "a_room", room)
    monkeypatch.setitem(sys.modules, "a_facade", facade)
    callable_room("a_room", "a_facade", "do")
    assert room(1, b=2) == ((1,), {"b": 2})  # type: ignore[operator]
