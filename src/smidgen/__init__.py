"""smidgen: get the most from little. A model from few labels, and how good it really is."""

from typing import Any

__version__ = "0.1.0"
__all__ = ["Fitted", "Model", "compress", "fit", "from_pretrained", "load", "load_packed", "plan", "resume", "train_lm"]

_WHERE = {
    "fit": ("smidgen.api", "fit"),
    "compress": ("smidgen.compress", ""),
    "from_pretrained": ("smidgen.api", "from_pretrained"),
    "load_packed": ("smidgen.api", "load_packed"),
    "plan": ("smidgen.api", "plan"),
    "resume": ("smidgen.api", "resume"),
    "train_lm": ("smidgen.api", "train_lm"),
    "Fitted": ("smidgen.studies.fitted", "Fitted"),
    "Model": ("smidgen.learn.model", "Model"),
    "load": ("smidgen.learn.model", "load"),
}


def __getattr__(name: str) -> Any:
    """Imports a public name when it is first used: `import smidgen` alone loads nothing heavy."""
    if name not in _WHERE:
        raise AttributeError(f"module 'smidgen' has no attribute '{name}'")
    import importlib

    module, attribute = _WHERE[name]
    found = importlib.import_module(module)
    return getattr(found, attribute) if attribute else found  # a room that can be called


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
