"""`smidgen laws step`: the published law, or one fitted to a person's own sweep."""

import csv
from dataclasses import asdict
from pathlib import Path
from typing import Any

from smidgen.cli.output import say, say_json, table, tell
from smidgen.kit.errors import BadInput
from smidgen.laws import optimal_step, step_law
from smidgen.laws.step_rules import other_rules

PARTS = ("interval", "plateau")


def step(params: float, tokens: float, length: int, sweep: str | None, as_json: bool) -> int:
    """Prints rate and batch, with the width of what is nearly as good."""
    found = _own(params, tokens, sweep) if sweep else _published(params, tokens)
    found["batch_sequences"] = optimal_step.friendly(found["batch_tokens"] / length)
    if as_json:
        say_json(found)
        return 0
    rows = [
        ["learning rate (peak)", f"{found['lr']:.3g}", *(_ends(found[f"lr_{p}"], "{:.2g}") for p in PARTS)],
        ["batch, tokens", f"{found['batch_tokens']:,.0f}", *(_ends(found[f"batch_{p}"], "{:,.0f}") for p in PARTS)],
        [f"batch, sequences of {length:,}", f"{found['batch_sequences']:,}", "", ""],
    ]
    say("\n".join(table(rows, ["", "best", f"{100 * found['level']:g} % sure", "nearly as good"], right=(1,))))
    say()
    say(found["source"])
    if found.get("others"):
        say("Other published rules:")
    for rule in found.get("others", []):
        rate = "" if rule["lr"] is None else f"a rate of {rule['lr']:.3g}, "
        say(f"   {rule['name']} ({rule['source']}): {rate}a batch of {rule['batch_tokens']:,.0f} tokens.")
    if found["outside"] > 1:
        warn = "is an extrapolation" if found["outside"] <= optimal_step.FAR else "should not be relied on"
        tell(f"Warning: this is {found['outside']:.3g} times outside the runs that the law was fitted on, and {warn}.")
    return 0


def _published(params: float, tokens: float) -> dict[str, Any]:
    law = step_law.step_law(params, tokens)
    lr, batch = step_law.PLATEAU
    return {
        "params": params, "tokens": tokens, "lr": law.lr, "batch_tokens": law.batch_tokens,
        "lr_interval": law.lr_interval, "batch_interval": law.batch_interval, "level": law.level,
        "lr_plateau": [law.lr / lr, law.lr * lr], "batch_plateau": [law.batch_tokens / batch, law.batch_tokens * batch],
        "outside": law.outside, "others": [asdict(rule) for rule in other_rules(params, tokens)],
        "source": "Step Law (arXiv 2503.04715), for AdamW with weight decay 0.1; not to be used on top of width "
        "scaling (muP). How sure: by bootstrap fits of the released runs, and by how far their cells lie from the law; "
        "the band reaches around the published law and our refit, which part far from the runs. Nearly as good: loss "
        "within 0.25 %, by the released runs.",
    }  # fmt: skip


def _own(params: float, tokens: float, sweep: str) -> dict[str, Any]:
    law = optimal_step.fit_optimal_step(_read(Path(sweep)))
    at = law.predict(params, tokens)
    try:
        lr, batch = law.plateau(params, tokens)
    except BadInput:  # no cell shows a minimum inside: what is nearly as good cannot be told
        lr = batch = None
    c0, c1, c2 = law.lr_coefficients
    return {
        "params": params, "tokens": tokens, "lr": at.lr, "batch_tokens": at.batch_tokens, "lr_interval": at.lr_interval,
        "batch_interval": at.batch_interval, "level": at.level, "lr_plateau": lr, "batch_plateau": batch,
        "outside": at.outside, "lr_coefficients": law.lr_coefficients, "batch_coefficients": law.batch_coefficients,
        "source": f"Fitted to {law.kept} of the {len(law.runs)} runs of {sweep}, those within 0.25 % of the best "
        f"of their cell: lr = exp({c0:.3g}) N^{c1:.3f} D^{c2:.3f}. How sure: by bootstrap fits of these runs, and by "
        "how far their cells lie from the law.",
    }  # fmt: skip


def _read(path: Path) -> dict[str, list[float]]:
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    if not rows:
        raise BadInput(f"{path}: no runs in it.")
    out: dict[str, list[float]] = {}
    for name in rows[0]:
        if name in optimal_step.COLUMNS:
            for number, row in enumerate(rows, start=2):
                try:
                    out.setdefault(name, []).append(float(row[name]))
                except (TypeError, ValueError):
                    raise BadInput(
                        f"{path}, line {number}, column {name}: expected a number, got '{row[name]}'."
                    ) from None
    return out


def _ends(ends: Any, form: str) -> str:
    if ends is None:
        return "not told by this sweep"
    return f"{form.format(ends[0])} to {form.format(ends[1])}"
