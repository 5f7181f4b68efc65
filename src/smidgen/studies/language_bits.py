"""What more or fewer bits a weight would do to a language model's folder, in the plain data of a plan.

Near the runs of the published law of rounding (`laws.qid`) it answers, from size and tokens alone. It has no interval
of its own; the one given is how far released models that the law never saw lay from it. Elsewhere, and where texts are
given, weights are rounded to nearest here and the loss is measured, window by window. Amounts are megabytes.

Dims: W windows.
"""

import copy
import json
import math
import time as clock
from pathlib import Path
from typing import Any

import numpy as np

from smidgen.kit.errors import BadInput, BudgetSpent
from smidgen.kit.extras import need
from smidgen.kit.files import read_json
from smidgen.laws import qid
from smidgen.laws.curve import LEVEL
from smidgen.laws.run_table import FAR
from smidgen.learn.rounded_state import OPTIONS
from smidgen.studies.other_results import short
from smidgen.studies.prices import Offer

METRIC = "nats lost a token"
# Lost by LLaMA3 8B and 70B at 2 to 4 bits (nearest, GPTQ and AWQ, groups of 128, three texts) over what the law says:
# quantiles at 5 and 95 % of 54. Its authors' GPTQ is near the upper end, rounding that looks at data far below.
OFF = (0.0524, 1.151)
WORTH = 0.05  # nats a token: 5 % of the perplexity
SOURCE = "the published law of rounding (arXiv 2411.17691; checkpoints at a constant learning rate)"
Rows = list[dict[str, Any]]


def is_language_model(folder: Path) -> bool:
    """Whether a folder is of a model that generates text, and not of `fit`."""
    if (folder / "model.json").is_file() or not (folder / "config.json").is_file():
        return False
    said = read_json(folder / "config.json")
    names = said.get("architectures") if isinstance(said, dict) else None
    return any(str(name).endswith(("ForCausalLM", "LMHeadModel")) for name in names or [])


def plan_bits(
    folder: Path, offers: list[Offer], spend: float, *, data: Any = None, seconds: float = 60.0,
    target: float | None = None, dry_run: bool = False, seed: int = 0,
) -> dict[str, Any]:  # fmt: skip
    """See `smidgen.plan`.

    Raises:
        BadInput: no megabytes are for sale, a target, or the folder is damaged. BudgetSpent: the time ended before one
            width was measured.
    """
    begun = clock.monotonic()
    mine = [offer for offer in offers if offer.kind == "mb"]
    if not mine:
        raise BadInput(
            f"{folder} is a language model, for which a plan tells of megabytes: --price mb=1. What more text or time "
            "would bring, smidgen lm train --dry-run forecasts."
        )
    if target is not None:
        raise BadInput(
            f"{folder} is a language model: more bits reach no target that it has not now. Leave --target out."
        )
    about = _described(folder)
    widths = sorted({b for o in mine for b in ([o.bits] if o.bits else OPTIONS) if b < about["bits"]})
    far = float(qid.published().outside(about["n"], about["d"], 3)) if about["d"] else math.inf
    by_law = far <= FAR and data is None
    unknown = [{"purchase": o.name, "why": "a language model has no rows to plan for"} for o in offers if o not in mine]
    if about["packed"]:
        rows, why = [], "it is packed already: plan for the model that it was made from"
    elif by_law:
        rows, why = _by_law(about, widths), "the law has runs of 2 to 4 bits only; more lose less than 4"
        widths = [w for w in widths if w > 4]
    elif dry_run:
        rows, why = [], "a dry run measures nothing"
    else:
        rows, why = _measured(folder, about, widths, data, begun + seconds, seed), "the time ended: give more --time"
        widths = [w for w in widths if w not in {row["bits"] for row in rows}]
    if widths:
        unknown += [{"purchase": f"mb@{w}", "why": why} for w in widths]
    bare = next((o.price for o in mine if not o.bits), mine[0].price)
    prices = {o.bits: o.price for o in mine}
    forecasts = [
        {"purchase": f"mb@{row['bits']}", "amount": short(more := (row["bytes"] - about["bytes"]) / 1e6),
         "total": short(row["bytes"] / 1e6), "cost": short(more * prices.get(row["bits"], bare)), "metric": METRIC,
         "estimate": row["lost"], "interval": row["interval"], "level": LEVEL}
        for row in rows
    ]  # fmt: skip
    out: dict[str, Any] = {
        "model": str(folder), "metric": METRIC, "greater_is_better": False, "level": LEVEL, "parameters": about["n"],
        "tokens": about["d"], "bits": about["bits"], "outside": far if math.isfinite(far) else None,
        "by": "law" if by_law else "measured", "now": {"estimate": 0.0, "interval": [0.0, 0.0]},
        "forecasts": forecasts, "split": {o.name: 0.0 for o in mine}, "target": None, "unknown": unknown,
        "warnings": _warnings(about, data, by_law),
        "asked": {"spend": spend, "prices": {o.name: o.price for o in mine}},
    }  # fmt: skip
    out["sentences"] = _sentences(out, about)
    out["sentence"] = " ".join(out["sentences"][:2])
    out["seconds"] = round(clock.monotonic() - begun, 2)
    return out


def _described(folder: Path) -> dict[str, Any]:
    """Parameters (n: without embeddings), tokens (0: not known), bits a weight and bytes as the folder has them."""
    need("torch", extra="text", why="A language model")
    from smidgen.nets.decoder import parameters
    from smidgen.nets.folder import from_llama

    said = read_json(folder / "config.json")
    config = from_llama(said, str(folder / "config.json"))
    whole = parameters(config)
    inner = whole - config.vocab * config.hidden * (1 if config.tie_embeddings else 2)
    return {
        "n": inner, "whole": whole, "d": _tokens(folder), "vocab": config.vocab,
        "packed": bool(said.get("quantization_config")),
        "bits": 16 if str(said.get("torch_dtype", said.get("dtype"))) in ("float16", "bfloat16") else 32,
        "bytes": sum(f.stat().st_size for f in folder.glob("*.safetensors")),
    }  # fmt: skip


def _tokens(folder: Path) -> int:
    """That it was trained on, as its training's log says; 0: there is none."""
    path = folder / "log.jsonl"
    if not path.is_file():
        return 0
    for line in reversed(path.read_text(encoding="utf-8").splitlines()):
        try:
            return int(json.loads(line)["tokens"])
        except (ValueError, KeyError, TypeError):
            continue
    return 0


def _by_law(about: dict[str, Any], widths: list[int]) -> Rows:
    law, most, out = qid.published(), math.log(about["vocab"]), []
    for width in widths:
        if width <= law.range_bits[1]:
            lost = float(law.qid(about["n"], about["d"], width)[0])
            size = about["n"] * width / 8 + (about["whole"] - about["n"]) * 2  # embeddings at 16 bits
            ends = [min(lost * off, most) for off in OFF]
            out.append({"bits": width, "bytes": size, "lost": min(lost, most), "interval": ends})
    return out


def _measured(folder: Path, about: dict[str, Any], widths: list[int], data: Any, until: float, seed: int) -> Rows:
    """Rounded to nearest, embeddings too. Intervals: Student's, of the paired changes of the windows."""
    import torch
    from scipy.stats import t

    from smidgen.compress.layers import find
    from smidgen.compress.ptq_sweep import Rounding
    from smidgen.formats.format import Format
    from smidgen.studies import compress_folder
    from smidgen.studies.compress_pretrained import carried_files, open_pretrained

    opened = open_pretrained(folder, data, None, seed)
    windows = [w[None] for batch in opened.subject.check for w in batch["input_ids"]]
    count = compress_folder.Size(opened.model, compress_folder.config_of(opened.model), carried_files(folder))

    def losses(model: Any) -> np.ndarray:
        with torch.no_grad():
            return np.array([opened.subject.loss(model, [{"input_ids": w}]) for w in windows])

    whole_W, out = losses(opened.model), []
    about["windows"], about["bytes"] = len(windows), sum(f.stat().st_size for f in folder.iterdir() if _kept(f))
    for width in sorted(widths, key=lambda w: (w != 4, w)):  # the one that people ask for first
        if clock.monotonic() > until and out:
            break
        if clock.monotonic() > until:
            raise BudgetSpent("The time ended before one width was measured. Give more time, or fewer texts.")
        option = "float16" if width == 16 else OPTIONS[width]
        model = copy.deepcopy(opened.model)
        model = model.half().float() if width == 16 else Rounding(Format.parse(option), embeddings=True)(model)
        lost_W = losses(model) - whole_W
        half = float(t.ppf(0.5 + LEVEL / 2, len(lost_W) - 1)) * float(lost_W.std(ddof=1)) / math.sqrt(len(lost_W))
        mix = {} if width == 16 else {layer.name: option for layer in find(opened.model)}
        size = count(mix) if mix else about["bytes"] - 2 * about["whole"] * (about["bits"] == 32)
        lost = float(lost_W.mean())
        out.append({"bits": width, "bytes": size, "lost": lost, "interval": [lost - half, lost + half]})
    return sorted(out, key=lambda row: row["bits"])


def _kept(file: Path) -> bool:
    """Whether a file counts to a model: its training's log does not."""
    return file.is_file() and file.name != "log.jsonl"


def _warnings(about: dict[str, Any], data: Any, by_law: bool) -> list[str]:
    if data is None and "windows" in about and not by_law:
        return ["No texts were given: the model wrote those that it is judged on. On yours it can lose more: --data."]
    return []


def _sentences(out: dict[str, Any], about: dict[str, Any]) -> list[str]:
    told = [f"At {about['bits']} bits a weight, more bits would bring nothing: nothing is lost by rounding."]
    if about["packed"]:
        return ["Its weights are packed: what more bits would bring is what it lost when it was compressed."]
    if out["by"] == "law":
        told.append(f"What fewer would lose is told by {SOURCE}; its interval is how far LLaMA3 lay from it.")
    elif "windows" in about:
        why = "its log does not say how many tokens it was trained on" if not about["d"] else (
            f"this model ({out['parameters']:,} parameters without embeddings, {out['tokens']:,} tokens) lies "
            f"{out['outside']:,.3g} times outside of its runs"
        )  # fmt: skip
        asked = out["outside"] is not None and out["outside"] <= FAR
        told.append(
            f"What fewer would lose was measured on {about['windows']} windows, rounded to nearest; compress loses less"
            + ("." if asked else f". {SOURCE[0].upper()}{SOURCE[1:]} says nothing here: {why}.")
        )
    good = [f for f in out["forecasts"] if f["interval"][1] <= WORTH]
    if good:
        best = min(good, key=lambda f: f["total"])
        told.append(
            f"{best['purchase'].partition('@')[2]} bits a weight surely lose less than {WORTH:g} nats a token "
            f"({best['interval'][0]:.2g} to {best['interval'][1]:.2g}) and take {best['total']:g} MB, "
            f"{-best['amount']:g} MB less: smidgen compress {out['model']} --size {math.ceil(1e3 * best['total'])}KB."
        )
    elif out["forecasts"]:
        told.append(f"None of these widths surely loses less than {WORTH:g} nats a token.")
    return told
