"""Optional packages: imported where they are used; their absence names the cure."""

import importlib
import importlib.util
from types import ModuleType

from smidgen.kit.errors import MissingExtra


def installed(*modules: str) -> bool:
    """Whether all of these modules could be imported, without importing them."""
    try:
        return all(importlib.util.find_spec(m) is not None for m in modules)
    except (ImportError, ValueError):  # the parent of "a.b" is missing; a module without a spec
        return False


def need(module: str, *, extra: str, why: str) -> ModuleType:
    """The imported module.

    Raises:
        MissingExtra: it is not installed; the message quotes the install line. A package that is there but
            broken raises its own error.
    """
    if not installed(module.split(".")[0]):
        raise MissingExtra(f"{why} needs the package '{module.split('.')[0]}': pip install 'smidgen[{extra}]'")
    return importlib.import_module(module)
