"""Which part of training bears which number format: one part lowered at a time, then all of them, each trained.

Parts {weights, activations, gradients, optimizer states, messages} x families x bits x rounding (the grid of Hao et
al., 2025, arXiv 2505.01043, as a study that can stop and go on). All cells of a seed begin with the same weights and
see the same batches, so that what they lose is paired.
"""

import json
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smidgen.kit.errors import BudgetSpent, bad
from smidgen.kit.files import digest
from smidgen.kit.seeds import derive_seed
from smidgen.studies.trialfile import Spent, TrialFile

if TYPE_CHECKING:
    import pandas as pd

    from smidgen.train.low_precision.policy import PrecisionPolicy

PARTS = ("weights", "activations", "gradients", "optimizer states", "communication")
TOGETHER = "together"
# By family and bits. Of moments that are never below 0 integers take their unsigned kind.
FORMATS: Mapping[tuple[str, int], str] = {
    ("floating point", 16): "bfloat16",
    ("fixed point", 16): "fixed4.12",
    ("customized", 16): "posit16e1",
    ("floating point", 8): "e4m3fn/tensor",
    ("integer", 8): "int8/64",
    ("fixed point", 8): "fixed3.5",
    ("customized", 8): "e4m3fn/32/e8m0",
    ("floating point", 4): "e2m1/64",
    ("integer", 4): "int4/64",
    ("customized", 4): "e2m1/32/e8m0",
    ("integer", 2): "int2/64",
    ("binary", 1): "int1/64",
}
COLUMNS = ("part", "family", "bits", "format", "rounding")


@dataclass(frozen=True)
class PrecisionGrid:
    """What is tried.

    Attributes:
        formats: names by family and bits. parts: of `PARTS`. roundings: "nearest", "stochastic". together: all parts at
            once too. base: what every cell has besides.
    """

    formats: Mapping[tuple[str, int], str] = None  # type: ignore[assignment]
    parts: tuple[str, ...] = PARTS
    roundings: tuple[str, ...] = ("nearest", "stochastic")
    together: bool = True
    base: "PrecisionPolicy | None" = None

    def __post_init__(self) -> None:
        if self.formats is None:
            object.__setattr__(self, "formats", FORMATS)
        if not self.parts or not set(self.parts) <= set(PARTS):
            raise bad("parts", ", ".join(PARTS), self.parts)
        if not self.formats or not self.roundings:
            raise bad("formats and roundings", "at least one each", (len(self.formats), len(self.roundings)))

    @property
    def cells(self) -> list[dict[str, Any]]:
        """All but those that cannot be: messages in a format without scales, moments of either sign without a sign.
        Rounding says nothing where only the forward pass is lowered, which takes the nearest."""
        found: list[dict[str, Any]] = [dict(zip(COLUMNS, ("none", "", 32, "float32", "nearest"), strict=True))]
        for (family, bits), name in self.formats.items():
            for part in (*self.parts, *([TOGETHER] if self.together else [])):
                for mode in self.roundings:
                    forward = part in ("weights", "activations", "communication")
                    if forward and mode != self.roundings[0]:
                        continue
                    if part == "communication" and not _can_be_sent(name):
                        continue
                    found.append({"part": part, "family": family, "bits": bits, "format": name, "rounding": mode})
        return found


def policy_of(cell: Mapping[str, Any], base: "PrecisionPolicy | None" = None) -> "PrecisionPolicy":
    """The policy of a cell. A moment that is never below 0 takes the unsigned kind of an integer, and does not round
    to 0; binary ones stay in 8-bit blocks, since a sign says nothing of them."""
    from smidgen.train.low_precision.policy import PrecisionPolicy

    name, part = cell["format"], cell["part"]
    lowered = PARTS if part == TOGETHER else (part,)
    unsigned = "dynamic8" if name.startswith("int1/") else f"u{name}" if name.startswith("int") else name
    made: dict[str, Any] = {"rounding": cell["rounding"]}
    for one in lowered:
        if one in ("weights", "activations"):
            made[one] = name
        elif one == "gradients":
            made |= {"act_grads": name, "weight_grads": name}
        elif one == "optimizer states":
            made["optimizer_states"] = (name, unsigned)
        elif one == "communication" and _can_be_sent(name):
            made["comm"] = name
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what a policy warns of is what the study measures
        return replace(base or PrecisionPolicy(), **made)


@dataclass(frozen=True)
class PrecisionMap:
    """What a study found.

    Attributes:
        table: a row a cell and seed: `COLUMNS`, "seed", "score" and what else was noted; NaN where it broke down.
            Scores are higher-is-better. finished: whether the study came to its end, or its budget did.
    """

    table: "pd.DataFrame"
    finished: bool

    def lost(self) -> "pd.DataFrame":
        """By cell: mean `lost` against float32 on the same seeds, its standard error, `seeds`, and `broken`: runs
        without a score."""
        import pandas as pd

        wide = self.table.loc[self.table["part"] == "none"].set_index("seed")["score"]
        rows = []
        cells: Any = self.table.loc[self.table["part"] != "none"].groupby(list(COLUMNS), sort=False)
        for key, cell in cells:
            gap = (wide - cell.set_index("seed")["score"]).dropna()
            error = float(gap.std(ddof=1) / math.sqrt(len(gap))) if len(gap) > 1 else math.nan
            of = dict(zip(COLUMNS, key, strict=True))
            broken = int(cell["score"].isna().sum())
            rows.append({**of, "lost": float(gap.mean()), "error": error, "seeds": len(gap), "broken": broken})
        return pd.DataFrame(rows)


def precision_map(
    train_and_score: Callable[["PrecisionPolicy", int], Mapping[str, float]],
    grid: PrecisionGrid,
    seeds: Sequence[int],
    store: Path | str,
    *,
    values: Sequence[str] = (),
    name: str = "",
    max_seconds: float | None = None,
    max_trials: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> PrecisionMap:
    """Measures what the store does not hold yet, seed by seed, until the end or the budget, whichever is first.

    Args:
        train_and_score: of a policy and a seed: numbers, "score" among them, higher is better.
        store: file of JSON lines, a trial each as soon as it is done; a grid may grow on it.
        values: names of other numbers to keep. name: what the trainer is: a file of another name is refused.
        max_seconds: for this run; a trial that has begun is finished. max_trials: in all.
        progress: called with (done, in all).
    Raises:
        BadInput: no seed, a store of another study, in use, or damaged. BudgetSpent: no cell has a score.
    """
    import pandas as pd

    seeds = list(dict.fromkeys(seeds))
    if not seeds:
        raise bad("seeds", "at least one", "none")
    names = ("score", *(v for v in values if v != "score"))
    found: list[dict[str, Any]] = []
    finished, todo = True, grid.cells

    def measure(config: dict[str, Any], seed: int) -> Mapping[str, float]:
        return train_and_score(policy_of(config, grid.base), seed)

    space = digest(json.dumps([name, names, repr(grid.base)]))
    with TrialFile(store, space, names, max_seconds=max_seconds, max_trials=max_trials) as trials:
        try:
            for seed in seeds:
                for cell in todo:
                    found.append(cell | {"seed": seed} | trials.trial(dict(cell), seed, measure))
                    if progress:
                        progress(len(found), len(todo) * len(seeds))
        except Spent:
            finished = False
    if not any(math.isfinite(row["score"]) for row in found):
        raise BudgetSpent(f"The study ended before any cell had a score: allow more, or look at errors in {store}.")
    return PrecisionMap(pd.DataFrame(found, columns=pd.Index([*COLUMNS, "seed", *names])), finished)


def train_under(
    policy: "PrecisionPolicy",
    model: Any,
    optimizer: Any,
    batches: Callable[[int], tuple[Any, ...]],
    loss_of: Callable[..., Any],
    *,
    steps: int,
    schedule: Callable[[int], float] = lambda step: 1.0,
    clip: float | None = None,
    workers: int = 1,
    smallest: int = 4096,
    seed: int = 0,
) -> Any:
    """Trains a model in place under a policy by `train.loop`; gives the `LowPrecisionOptimizer`. A loss that is no
    number ends the training where it is.

    Args:
        workers: simulated ones that send gradients in the policy's `comm`. seed: of rounding by chance.
    """
    import torch

    from smidgen.train.loop import LoopConfig, NonFinite, Run, train
    from smidgen.train.low_precision.communicate import Compressor, among_workers
    from smidgen.train.low_precision.optimizer import apply_policy

    model, wrapped = apply_policy(model, optimizer, policy, smallest=smallest)
    if policy.comm != "float32" or workers > 1:
        sent = [Compressor(policy.comm, error_feedback=policy.error_feedback) for _ in range(workers)]
        loss_of = among_workers(loss_of, sent)
    torch.manual_seed(derive_seed(seed, "rounding"))
    with suppress(NonFinite):
        train(Run(model, wrapped), batches, loss_of, schedule, LoopConfig(clip=clip), steps=steps)
    return wrapped


def _can_be_sent(name: str) -> bool:
    from smidgen.train.low_precision.number import CASTS

    return "/" in name or name in CASTS
