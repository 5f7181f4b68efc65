"""Compact transformers by name: `cct_7_3x1_32`, or as the paper writes them, `cct_7/3x1`: layers / kernel x layers of
convolution; `cvt_7/4` and `vit_lite_7/4`: layers / side of a patch.

    create("cct_2/3x2", image_size=28, in_channels=1)
    cct_7(32, 3, 10, kernel_size=3, n_layers=1)
"""

import re
from collections.abc import Callable
from typing import Any

from smidgen.kit.config import nearest
from smidgen.kit.errors import BadInput, bad
from smidgen.nets.compact_transformer import CompactTransformer

SIZES: dict[int, dict[str, int]] = {
    layers: {"depth": layers, "heads": heads, "mlp_ratio": ratio, "dim": dim}
    for layers, heads, ratio, dim in ((2, 2, 1, 128), (4, 2, 1, 128), (6, 4, 2, 256), (7, 4, 2, 256), (14, 6, 3, 384))
}
FAMILIES: dict[str, dict[str, Any]] = {
    "cct": {"tokenizer": "conv", "pool": "seq"},
    "cvt": {"tokenizer": "patch", "pool": "seq", "kernel_size": 4},
    "vit_lite": {"tokenizer": "patch", "pool": "cls", "kernel_size": 4},
}
_PATTERN = re.compile(
    r"(?P<family>cct|cvt|vit_lite|vit)_(?P<layers>\d+)[/_](?P<kernel>\d+)(x(?P<convs>\d+))?"
    r"(_(?P<side>\d+))?(?P<sine>_sine)?(_c(?P<classes>\d+))?"
)
_REGISTRY: dict[str, dict[str, Any]] = {}


def register(name: str, **settings: Any) -> None:
    """Adds a named network: arguments of `CompactTransformer`. Raises BadInput: the name is taken."""
    if name in _REGISTRY:
        raise bad("name", "a new one", name)
    _REGISTRY[name] = settings


def names() -> list[str]:
    """All registered names, sorted; others of the same form are understood too."""
    return sorted(_REGISTRY)


def settings_of(name: str) -> dict[str, Any]:
    """The arguments that a name stands for. Raises BadInput: it is not registered and not of the form above."""
    if name in _REGISTRY:
        return dict(_REGISTRY[name])
    found = _PATTERN.fullmatch(name.lower().replace("-", "_"))
    if found is None:
        raise BadInput(f"There is no compact transformer '{name}'. {nearest(name, names())}")
    family = "vit_lite" if found["family"] == "vit" else found["family"]
    layers = int(found["layers"])
    if layers not in SIZES:
        raise bad(f"layers of {name}", "one of " + ", ".join(map(str, SIZES)), layers)
    if (family == "cct") != (found["convs"] is not None):
        raise bad(name, "kernel x layers of convolution for cct, the side of a patch for the others", name)
    settings = {**FAMILIES[family], **SIZES[layers], "kernel_size": int(found["kernel"])}
    if found["convs"]:
        settings["n_layers"] = int(found["convs"])
    settings |= {"image_size": int(found["side"] or 32), "in_channels": 3, "num_classes": int(found["classes"] or 10)}
    return {**settings, "pos": "sine" if found["sine"] else "learnable"}


def create(name: str, **overrides: Any) -> CompactTransformer:
    """The network of this name, some of its arguments changed. Raises BadInput: an unknown name, bad settings."""
    return CompactTransformer(**{**settings_of(name), **overrides})


def _factory(family: str, layers: int) -> Callable[..., CompactTransformer]:
    def make(
        image_size: int | tuple[int, int] | None = 32, in_channels: int = 3, num_classes: int = 10, **settings: Any
    ) -> CompactTransformer:
        whole = {**FAMILIES[family], **SIZES[layers], **settings}
        return CompactTransformer(image_size, in_channels, num_classes, **whole)

    make.__name__ = make.__qualname__ = f"{family}_{layers}"
    make.__doc__ = f"{family.upper()} of {layers} layers; settings as of `CompactConfig`."
    return make


cct_2, cct_4, cct_6, cct_7, cct_14 = (_factory("cct", n) for n in SIZES)
cvt_2, cvt_4, cvt_6, cvt_7, cvt_14 = (_factory("cvt", n) for n in SIZES)
vit_lite_2, vit_lite_4, vit_lite_6, vit_lite_7, vit_lite_14 = (_factory("vit_lite", n) for n in SIZES)

for _name in ("cct_2_3x2_32", "cct_4_3x2_32", "cct_6_3x1_32", "cct_6_3x2_32", "cct_7_3x1_32", "cct_7_3x2_32",
              "cvt_2_4_32", "cvt_4_4_32", "cvt_6_4_32", "cvt_7_4_32",
              "vit_lite_2_4_32", "vit_lite_4_4_32", "vit_lite_6_4_32", "vit_lite_7_4_32"):  # fmt: skip
    for _end in ("", "_sine"):
        register(_name + _end, **settings_of(_name + _end))
for _name in ("cct_7_3x1_32_c100", "cct_7_3x1_32_sine_c100"):
    register(_name, **settings_of(_name))
for _name, _classes in (("cct_7_7x2_224", 102), ("cct_7_7x2_224_sine", 102), ("cct_14_7x2_224", 1000),
                        ("cct_14_7x2_384", 1000)):  # fmt: skip
    register(_name, **{**settings_of(_name), "num_classes": _classes})
register("cct_14_7x2_384_fl", **{**settings_of("cct_14_7x2_384"), "num_classes": 102})
