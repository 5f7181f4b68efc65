"""A room that has the name of a verb: `smidgen.compress` is a package, and can be called like `smidgen.fit`."""

import importlib
import sys
from types import ModuleType
from typing import Any


def callable_room(room: str, where: str, verb: str) -> None:
    """Lets a package be called: it passes the call on to a function of the facade, imported when it is called."""

    class Room(ModuleType):
        def __call__(self, *args: Any, **options: Any) -> Any:
            return getattr(importlib.import_module(where), verb)(*args, **options)

    sys.modules[room].__class__ = Room
