"""Numbers as they go into JSON: Python's own, and no longer than they are sure."""

from typing import Any


def plain(value: Any) -> Any:
    """A NumPy scalar as Python's own; anything else as it is."""
    return value.item() if hasattr(value, "dtype") and hasattr(value, "item") else value


def short(value: float) -> float:
    """With six significant digits."""
    return float(f"{value:.6g}")
