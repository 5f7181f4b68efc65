"""What the study of decoding settings concluded, beside what your own models show (rules R1 to R4 of paper 058)."""

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd

from smidgen.kit.errors import bad
from smidgen.studies import decoding_statistics as st
from smidgen.studies.decoding_sensitivity import DecodingResult

FOUR_BIT = ("nf4", "nf4-double", "fp4", "fp4-double", "int4")
TOLERANCE = 0.01  # of the loss, for "costs nothing"


def conclusions(
    result: DecodingResult, *, four_bit: Sequence[str] = FOUR_BIT, eight_bit: str = "int8", level: float = 0.9
) -> pd.DataFrame:
    """A row a rule: "rule", "paper" (what it says), "measured" (in words), "held": "yes", "no" or "not measured".

    "Equal" means less than two standard errors apart, "more sensitive" a larger range over temperature of the distance
    to the float model whose interval lies above the other's range, "worst in .5 to .8" an effect whose interval is
    above 0.

    Raises:
        BadInput: none of the 4-bit variants is in the study.
    """
    names = list(dict.fromkeys(result.samples["variant"]))
    four = [v for v in four_bit if v in names]
    if not four:
        raise bad("variants", f"one of {', '.join(four_bit)}", ", ".join(names))
    rows = [_equal(result, names, level), *_temperature(result, names, four, eight_bit, level)]
    rows += [_speed(result, four), _double(result, names)]
    return pd.DataFrame(rows, columns=pd.Index(["rule", "paper", "measured", "held"]))


def _equal(result: DecodingResult, names: list[str], level: float) -> tuple[str, str, str, str]:
    says = "nf4 and fp4 are equal in quality: choose freely"
    if not {"nf4", "fp4"} <= set(names):
        return "R1", says, "", "not measured"
    gap = st.difference(result.samples, "nf4", "fp4", level=level)
    told = f"nf4 less fp4: {gap['difference']:+.4f} bits a byte, standard error {gap['se']:.4f}"
    return "R1", says, told, _yes(abs(gap["difference"]) < 2 * gap["se"])


def _temperature(
    result: DecodingResult, names: list[str], four: list[str], eight: str, level: float
) -> list[tuple[str, str, str, str]]:
    wide = st.sensitivity(result.samples, baseline=result.baseline, level=level).set_index("variant")
    says = "4-bit models are more sensitive to temperature: choose it again after quantization"
    rows = [("R2", says, "", "not measured")]
    if eight in names:
        mean, low = (float(wide.loc[four, c].to_numpy(float).mean()) for c in ("range", "range_low"))
        own = float(wide.loc[[eight], "range"].to_numpy(float)[0])
        told = f"range {mean:.4f} bits a byte at 4 bits (from {low:.4f}), {own:.4f} with {eight}"
        rows = [("R2", says, told, _yes(low > own))]
    says = "most of all at temperatures of .5 to .8"
    try:
        found = st.window_effect(result.samples, four, baseline=result.baseline, level=level)
    except ValueError:  # no temperatures inside or outside
        return [*rows, ("R2, window", says, "", "not measured")]
    told = f"distance {found['inside']:.4f} inside, {found['outside']:.4f} outside; effect from {found['low']:+.4f} to "
    return [*rows, ("R2, window", says, f"{told}{found['high']:+.4f}", _yes(found["low"] > 0))]


def _speed(result: DecodingResult, four: list[str]) -> tuple[str, str, str, str]:
    says = "quantization saves memory, by itself no time"
    table: Any = result.table.groupby("variant")[["tokens_per_s", "peak_bytes"]].mean()
    speed, size = table.loc[four].mean(), table.loc[result.baseline]
    if not math.isfinite(float(speed["tokens_per_s"])):
        return "R3", says, "", "not measured"
    told = (
        f"{float(speed['tokens_per_s']):.0f} tokens a second at 4 bits, {float(size['tokens_per_s']):.0f} in float; "
        f"memory {float(speed['peak_bytes'] / size['peak_bytes']):.2f} times"
    )
    less = speed["peak_bytes"] < size["peak_bytes"] and speed["tokens_per_s"] < size["tokens_per_s"]
    return "R3", says, told, _yes(bool(less))


def _double(result: DecodingResult, names: list[str]) -> tuple[str, str, str, str]:
    says = "double quantization costs nothing in quality"
    means: Any = result.forced.groupby("variant")["nats"].mean()
    nats = {str(k): float(v) for k, v in means.items()}
    pairs = [(v, f"{v}-double") for v in ("nf4", "fp4") if v in nats and f"{v}-double" in nats and v in names]
    if not pairs:
        return "R4", says, "", "not measured"
    lost = {a: nats[b] / nats[a] - 1 for a, b in pairs}
    told = ", ".join(f"{a}: {100 * v:+.3f} % of the loss" for a, v in lost.items())
    return "R4", says, told, _yes(max(map(abs, lost.values())) < TOLERANCE)


def _yes(held: bool) -> str:
    return "yes" if held else "no"
