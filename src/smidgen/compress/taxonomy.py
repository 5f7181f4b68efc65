"""What has been published of training in few bits: families, methods, what usually goes wrong, what machines compute.

The division is that of a survey (Hao et al., 2025, arXiv 2505.01043); the data lie in `taxonomy.toml`.
"""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from smidgen.kit.errors import bad

if TYPE_CHECKING:
    from smidgen.train.low_precision.policy import PrecisionPolicy

TARGETS = ("weights", "activations", "gradients", "optimizer states", "communication")
_TARGET_OF = {
    "weights": "weights",
    "activations": "activations",
    "weight_grads": "gradients",
    "act_grads": "gradients",
    "optimizer_states": "optimizer states",
    "comm": "communication",
}


@dataclass(frozen=True)
class Entry:
    """A published method.

    Attributes:
        family: see `FAMILIES`. group: of integer methods: "general", "optimizer state" or "communication".
        targets: which of `TARGETS` it lowers. bits: to how many; empty where titles and abstracts do not say.
        llm: whether it was tried on language models. at: where it can be read, or "".
    """

    name: str
    year: int
    venue: str
    family: str
    targets: tuple[str, ...]
    bits: tuple[float, ...] = ()
    group: str = ""
    llm: bool = False
    at: str = ""


@dataclass(frozen=True)
class Family:
    """`formats`: what they are called here. `wrong`: what usually goes wrong, and what helps."""

    name: str
    formats: str
    wrong: tuple[str, ...]


def entries() -> tuple[Entry, ...]:
    """All methods, as the survey's list has them."""
    return _read()[0]


def families() -> Mapping[str, Family]:
    """By name."""
    return _read()[1]


def hardware(format: str) -> str:
    """What computes a format: of its whole name, or of its grid. "" where nothing is noted."""
    notes = _read()[2]
    grid = format.split("/")[0].removesuffix("+offset")
    kind = re.sub(r"\d.*", "", grid)
    return next((notes[name] for name in (format, grid, kind) if name in notes), "")


def find(
    text: str = "",
    *,
    family: str | None = None,
    target: str | None = None,
    bits: float | None = None,
    llm: bool | None = None,
) -> list[Entry]:
    """Methods that fit all that is asked, the newest first.

    Args:
        text: words, each in the name, venue or group, in any case.
    Raises:
        BadInput: no such family or target.
    """
    if family is not None and family not in families():
        raise bad("family", ", ".join(families()), family)
    if target is not None and target not in TARGETS:
        raise bad("target", ", ".join(TARGETS), target)
    words = text.lower().split()
    found = [
        e
        for e in entries()
        if all(w in f"{e.name} {e.venue} {e.group}".lower() for w in words)
        and (family is None or e.family == family)
        and (target is None or target in e.targets)
        and (bits is None or bits in e.bits)
        and (llm is None or e.llm == llm)
    ]
    return sorted(found, key=lambda e: -e.year)


def family_of(format: str) -> str:
    """The family of a format's name; of float32 none, ""."""
    from smidgen.train.low_precision.number import CASTS

    grid, _, rest = format.partition("/")
    if format == "float32":
        return ""
    if grid.startswith("posit") or rest.endswith("e8m0") or (rest.endswith("e4m3fn") and grid == "e2m1"):
        return "customized"
    if grid.startswith("fixed"):
        return "fixed point"
    if grid == "int1":
        return "binary"
    if grid in CASTS or re.match(r"e\d", grid) or grid in ("nf4", "fp4"):
        return "floating point"
    return "integer"  # ternary too, and block-wise states


def parts_of(policy: "PrecisionPolicy") -> dict[str, str]:
    """The family of each part that a policy lowers."""
    named = {p: getattr(policy, p) for p in policy.lowered}
    if "optimizer_states" in named:
        named["optimizer_states"] = next(n for n in policy.optimizer_states if n != "float32")
    return {part: family_of(name) for part, name in named.items()}


def classify(policy: "PrecisionPolicy") -> str:
    """The family of a policy: "quantization-aware" where only the forward pass is lowered; else that of most of its
    parts (of equals, in the order of weights, activations, gradients, moments, messages); "" of float32 throughout."""
    found = parts_of(policy)
    if not found:
        return ""
    if set(found) <= {"weights", "activations"} and policy.master and family_of(policy.weights) != "floating point":
        return "quantization-aware"
    kinds = list(found.values())
    return max(dict.fromkeys(kinds), key=kinds.count)


def resembling(policy: "PrecisionPolicy") -> list[Entry]:
    """Methods of the policy's family, those first that lower the same parts."""
    targets = {_TARGET_OF[part] for part in parts_of(policy)}
    own = [e for e in entries() if e.family == classify(policy)]
    return sorted(own, key=lambda e: (-len(targets & set(e.targets)) + len(targets ^ set(e.targets)), -e.year))


def what_goes_wrong(policy: "PrecisionPolicy") -> list[str]:
    """Of all families that a policy's parts belong to."""
    kinds = dict.fromkeys([classify(policy), *parts_of(policy).values()])
    return [line for kind in kinds if kind for line in families()[kind].wrong]


@cache
def _read() -> tuple[tuple[Entry, ...], dict[str, Family], dict[str, str]]:
    data: dict[str, Any] = tomllib.loads(files("smidgen.compress").joinpath("taxonomy.toml").read_text("utf-8"))
    methods = tuple(
        Entry(**m | {"targets": tuple(m["targets"]), "bits": tuple(m.get("bits", ()))}) for m in data["method"]
    )
    kinds = {f["name"]: Family(f["name"], f["formats"], tuple(f["wrong"])) for f in data["family"]}
    return methods, kinds, {name: h["where"] for h in data["hardware"] for name in h["formats"]}
