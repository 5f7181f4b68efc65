"""A classifier from many weak labels, then few good ones ("Balancing Label Quantity and Quality for Scalable
Elicitation", 2024, arXiv 2410.13215).

`SequentialSFT` trains one network in stages: first on labels of a cheap source, then on those of an oracle, with a
fresh optimizer and the same head. Validation rows of a stage are taken from those that it pays for. Here the network
is small and reads frozen features; with `encode` texts are read first, behind a few-shot prefix if one is asked for.

Two classes; labels are soft, probabilities of class 1. Dims: N rows of a pool, D features, B rows of a batch.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from smidgen.data.label_sources import LabelSource
from smidgen.kit.errors import BadInput, bad
from smidgen.kit.seeds import derive_seed
from smidgen.laws.budget_grid import nested
from smidgen.learn.soft_label_stage import Stage, probabilities, train_stage

Network = Literal["linear", "adapter"] | Callable[[int, int], nn.Module]
Encode = Callable[[list[str]], np.ndarray]


class Adapter(nn.Module):
    """Head on features that a narrow hidden layer corrects: w (x + U gelu(V x)) + b. U begins at 0.

    It stands where the paper adapts the encoder itself, which frozen features do not allow.
    """

    def __init__(self, features: int, seed: int, width: int = 16) -> None:
        super().__init__()
        self.down, self.up, self.head = nn.Linear(features, width), nn.Linear(width, features), nn.Linear(features, 1)
        generator = torch.Generator().manual_seed(derive_seed(seed, "adapter"))
        nn.init.normal_(self.down.weight, std=1.0, generator=generator)  # features of norm 1 give hidden units of 1
        for p in (self.down.bias, *self.up.parameters(), *self.head.parameters()):
            nn.init.zeros_(p)
        nn.init.normal_(self.head.weight, std=0.01 * features**-0.5, generator=generator)  # else nothing reaches U

    def forward(self, x_BD: Tensor) -> Tensor:
        return self.head(x_BD + self.up(nn.functional.gelu(self.down(x_BD))))


def linear_head(features: int, seed: int) -> nn.Module:
    """Logistic regression that begins at 0."""
    head = nn.Linear(features, 1)
    for p in head.parameters():
        nn.init.zeros_(p)
    return head


@dataclass(frozen=True)
class FewShotPrompt:
    """Labelled examples that are put before a text: "text / label", one after the other, then the text itself.

    A frozen encoder of sentences can only average over them, where a language model could answer from them. What an
    encoder cuts off is the end, and that is the text: take few and short examples, or one that reads far.
    """

    texts: tuple[str, ...]
    labels: tuple[float, ...]
    names: tuple[str, str] = ("0", "1")

    def prefixed(self, texts: Sequence[str]) -> list[str]:
        """The texts behind the examples."""
        shown = zip(self.texts, self.labels, strict=True)
        prefix = "".join(f"{text}\n{self.names[int(label > 0.5)]}\n\n" for text, label in shown)
        return [f"{prefix}{text}\n" for text in texts]


@dataclass(frozen=True)
class StageReport:
    """What a stage did. `rows`: all that it paid for; `validation`: those of them that it did not learn from; `best`:
    the update that was kept; `score`: its AUROC, or minus its loss, on the validation rows, NaN without them; `cost`:
    of all rows."""

    source: str
    rows: tuple[int, ...]
    validation: tuple[int, ...]
    updates: int
    best: int
    score: float
    cost: float


class SequentialSFT:
    """Stages of training, one after the other, on one network.

    Args:
        stages: in their order; those without rows are left out.
        network: "linear", "adapter", or `network(features, seed)`, a module that gives `[B, 1]` logits.
        encode: makes features of texts; without it, features are what is given.
        few_shot: (how many, source): so many rows of that source are put before every text. They are the first that
            its stage pays for, and it does not train on them.
        disjoint: no row has a label of two sources.

    Attributes:
        model_: the network. stages_: a `StageReport` each. cost_: of all rows. prompt_: the examples, or None.
    """

    def __init__(
        self,
        stages: Sequence[Stage] = (Stage("weak"), Stage("oracle")),
        *,
        network: Network = "linear",
        encode: Encode | None = None,
        few_shot: tuple[int, str] | None = None,
        disjoint: bool = True,
    ) -> None:
        names = [stage.source for stage in stages]
        if not names or len(set(names)) < len(names):
            raise bad("stages", "at least one, of different sources", names)
        if few_shot and (encode is None or few_shot[0] < 1 or few_shot[1] not in names):
            raise bad("few_shot", f"1 or more of {' or '.join(names)}, and encode for texts", few_shot)
        if stages[0].sampling != "random":
            raise bad("sampling of the first stage", "random", stages[0].sampling, "There is no model yet to ask.")
        self.network: Network = network
        self.stages, self.encode = tuple(stages), encode
        self.few_shot, self.disjoint = few_shot, disjoint

    def fit(
        self,
        x: Any,
        sources: Mapping[str, LabelSource],
        counts: Mapping[str, int],
        *,
        order: np.ndarray | None = None,
        seed: int = 0,
    ) -> "SequentialSFT":
        """Buys labels and learns from them.

        Args:
            x: features `[N, D]` of the pool, or its N texts where there is `encode`.
            sources: by name. counts: labels to buy of each.
            order: of the rows: the first stage takes from its front, later ones from its back.
        Raises:
            BadInput: no labels at all, more than there are rows for, or a source that is not there.
        """
        names = [stage.source for stage in self.stages]
        if unknown := sorted(set(counts) - set(names)):
            raise bad("counts", f"labels of {' or '.join(names)}", ", ".join(unknown))
        counts = {stage.source: int(counts.get(stage.source, 0)) for stage in self.stages}
        stages = [stage for stage in self.stages if counts[stage.source]]
        missing = [stage.source for stage in stages if stage.source not in sources]
        if missing or not stages or min(counts.values()) < 0:
            raise bad("counts", "a label or more, of sources that there are", missing or counts)
        rows_of: dict[str, list[int]] = {}
        order = nested(len(x), seed, "rows") if order is None else np.asarray(order)
        self.prompt_ = self._prompt(x, sources, counts, order, rows_of) if self.few_shot else None
        x_ND = torch.from_numpy(self._features(x))
        self.model_ = _made(self.network, x_ND.shape[1], seed)
        reports = []
        for number, stage in enumerate(stages):
            name, source = stage.source, sources[stage.source]
            shown = rows_of.get(name, [])
            free = self._free(name, source, counts[name], order, rows_of)
            if stage.sampling == "least_confident" and reports:  # entropy falls with the distance from one half
                distance = np.abs(probabilities(self.model_, x_ND[free]) - 0.5)
                free = [free[i] for i in np.argsort(distance, kind="stable")]
            rows = free[: counts[name] - len(shown)]
            rows_of[name] = [*shown, *rows]
            if rows:
                y_n = torch.from_numpy(source.ask(rows))
                validation, updates, best, score = train_stage(
                    self.model_, x_ND[rows], y_n, stage, derive_seed(seed, "stage", number)
                )
                held = tuple(rows[i] for i in validation)
                cost = source.cost * len(rows_of[name])
                reports.append(StageReport(name, tuple(rows_of[name]), held, updates, best, score, cost))
        if not reports:
            raise bad("counts", "more labels than the prompt takes", counts)
        self.stages_ = tuple(reports)
        self.cost_ = sum(sources[name].cost * len(rows) for name, rows in rows_of.items())
        return self

    def predict_proba(self, x: Any) -> np.ndarray:
        """Probabilities of both classes, `[n, 2]`, of features or texts."""
        p_n = probabilities(self.model_, torch.from_numpy(self._features(x)))
        return np.stack([1 - p_n, p_n], 1)

    def _features(self, x: Any) -> np.ndarray:
        if self.encode is not None:
            texts = list(x)
            x = self.encode(self.prompt_.prefixed(texts) if self.prompt_ else texts)
        x_ND = np.require(x, np.float32, ["C", "W"])
        if x_ND.ndim != 2 or not np.isfinite(x_ND).all():
            raise bad("features", "a table of finite numbers, a line a row", f"shape {x_ND.shape}")
        return x_ND

    def _prompt(
        self, x: Any, sources: Mapping[str, LabelSource], counts: Mapping[str, int], order: np.ndarray,
        rows_of: dict[str, list[int]],
    ) -> FewShotPrompt:  # fmt: skip
        """Buys the examples; they count for their source."""
        assert self.few_shot is not None
        many, name = self.few_shot
        if counts[name] < many:
            raise bad(f"labels of '{name}'", f"at least {many}, for the prompt", counts[name])
        rows_of[name] = self._free(name, sources[name], counts[name], order, rows_of)[:many]
        labels = sources[name].ask(rows_of[name]).tolist()
        return FewShotPrompt(tuple(x[i] for i in rows_of[name]), tuple(labels))

    def _free(
        self, name: str, source: LabelSource, count: int, order: np.ndarray, rows_of: Mapping[str, list[int]]
    ) -> list[int]:
        """Rows that this source may still be asked for, in the order in which they are taken."""
        own = rows_of.get(name, [])
        taken = {i for rows in (rows_of.values() if self.disjoint else [own]) for i in rows}
        ordered = (order if name == self.stages[0].source else order[::-1]).tolist()
        free = [i for i in ordered if i in source.pool and i not in taken]
        if len(free) + len(own) < count:
            raise BadInput(
                f"{count:,} labels of '{name}' are asked for, but only {len(free) + len(own):,} rows are left for it: "
                "give a larger pool, or ask for fewer."
            )
        return free


def _made(network: Network, features: int, seed: int) -> nn.Module:
    if callable(network):
        return network(features, seed)
    known: dict[str, Callable[[int, int], nn.Module]] = {"linear": linear_head, "adapter": Adapter}
    if network not in known:
        raise bad("network", " or ".join(known), network)
    return known[network](features, seed)
