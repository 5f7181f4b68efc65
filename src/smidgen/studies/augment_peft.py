"""Does augmentation help, on your few hundred texts, when you tune the whole encoder, a prefix, or a LoRA?

A grid after "Effectiveness of Data Augmentation for Parameter Efficient Tuning with Limited Data" (2023, arXiv
2303.02577): tasks x encoders x tuners x arms x sizes x budgets x seeds. An arm is an augmenter, Mixup, a contrastive
term, or some of them. All arms of a seed have the same training rows and are tested on the same others; augmented ones
either make more updates ("epochs") or just as many ("steps"). An arm that cannot run here, for want of a translator, is
left out and marked.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from smidgen.data.augment.texts import Text, TextAugmenter
from smidgen.kit.errors import BadInput, BudgetSpent, bad
from smidgen.kit.files import digest
from smidgen.kit.seeds import derive_seed
from smidgen.studies.augment_peft_cells import cell_table, interaction
from smidgen.studies.augment_peft_measures import MEASURED, default_probes, measure
from smidgen.studies.trialfile import Spent, TrialFile, content

if TYPE_CHECKING:
    from smidgen.data.augment.text_mixup import SentenceMixup
    from smidgen.learn.adapter_tuning import TuningConfig
    from smidgen.nets.adapters import Tuner
    from smidgen.nets.text_encoder import EncoderConfig, TextEncoder

CELL = ("task", "model", "tuner", "n_train", "budget", "arm")


@dataclass(frozen=True)
class TextTask:
    """Texts to draw training rows from, and others to test on; none of these may be among those."""

    name: str
    texts: Sequence[Text]
    y: Any
    test_texts: Sequence[Text]
    test_y: Any

    def __post_init__(self) -> None:
        if len(self.texts) != len(self.y) or len(self.test_texts) != len(self.test_y):
            raise bad(f"task '{self.name}'", "a label for each text", "another number")
        if met := set(self.texts) & set(self.test_texts):
            raise BadInput(f"Task '{self.name}' has {len(met):,} test texts among its training texts: remove them.")


@dataclass(frozen=True)
class Arm:
    """What is done to training texts. `augmenter` makes copies, `mixup` mixes them; `contrast` is the weight of the
    contrastive term, `memory` how many earlier rows it sees."""

    augmenter: TextAugmenter | None = None
    mixup: "SentenceMixup | None" = None
    contrast: float = 0.0
    memory: int = 0

    @property
    def missing(self) -> str | None:
        return self.augmenter.missing if self.augmenter else None

    @property
    def name(self) -> str:
        parts = [p.name for p in (self.augmenter, self.mixup) if p]
        return " + ".join([*parts, *([f"contrast {self.contrast:g} {self.memory}"] if self.contrast else [])]) or "none"


@dataclass(frozen=True)
class AugmentPeftResult:
    """What a study found.

    Attributes:
        table: one row a cell and seed: `CELL`, "seed", `MEASURED`, and "skipped": why an arm was left out, or "".
            "score" is accuracy; separation and "accuracy ..." are of altered test texts, these by how much of a text
            was altered. overlap: by (task, n_train), the share of training rows that two seeds have in common.
        trials: in the file. finished: whether the study came to its end, or its budget did.
    """

    table: pd.DataFrame
    overlap: dict[tuple[str, int], float]
    trials: int
    finished: bool

    def cells(self, baseline: str = "none", level: float = 0.95) -> pd.DataFrame:
        """Mean score of each cell, and its gain over the baseline arm with interval and p-values: paired over seeds,
        widened for overlapping draws (Nadeau and Bengio, 2003), Holm's correction over all gains."""
        return cell_table(self.table, self.overlap, baseline, level)

    def interaction(
        self, arm: str, first: str, second: str, baseline: str = "none", level: float = 0.95
    ) -> pd.DataFrame:
        """By how much the gain of an arm differs between two tuners, paired over seeds, first less second."""
        return interaction(self.table, self.overlap, arm, first, second, baseline, level)

    @property
    def skipped(self) -> dict[str, str]:
        """Arms that were left out, and why."""
        out = self.table.loc[self.table["skipped"] != "", ["arm", "skipped"]].drop_duplicates()
        return dict(zip(out["arm"], out["skipped"], strict=True))


class AugmentPeftStudy:
    """The grid.

    Args:
        tasks. models: encoders by name. tuners: by name. augmenters: arms by name; a plain augmenter is an arm, None
            is no augmentation. n_train: sizes, drawn evenly from the classes. seeds: of draws and trainings.
        config: of all trainings; what an arm says of mixup and contrast goes before it. budgets: "epochs", "steps".
        rates: by tuner, rates to choose from: the one with the least log loss on folds of the first seed's training
            rows without augmentation, for each task, encoder and size, then holds for all arms and seeds. Without it
            the tuner's own default does.
        probes: what alters test texts; by default `EasyDataAugmentation` of rising strength without synonyms.

    Raises:
        BadInput: nothing to do, or fewer rows than a size asks for.
    """

    def __init__(
        self,
        tasks: Sequence[TextTask],
        models: "Mapping[str, EncoderConfig]",
        tuners: "Mapping[str, Tuner]",
        augmenters: Mapping[str, Arm | TextAugmenter | None],
        n_train: Sequence[int],
        seeds: Sequence[int],
        *,
        config: "TuningConfig | None" = None,
        budgets: Sequence[str] = ("epochs",),
        rates: Mapping[str, Sequence[float]] | None = None,
        probes: Sequence[TextAugmenter] | None = None,
    ) -> None:
        from smidgen.learn.adapter_tuning import TuningConfig

        sizes = [len(x) for x in (tasks, models, tuners, augmenters, n_train, seeds, budgets)]
        if not all(sizes):
            raise bad("tasks, models, tuners, augmenters, n_train, seeds, budgets", "at least one each", sizes)
        self.tasks, self.models, self.tuners = {t.name: t for t in tasks}, dict(models), dict(tuners)
        if unknown := sorted(set(rates or {}) - set(tuners)):
            raise bad("rates", f"of {' or '.join(tuners)}", ", ".join(unknown))
        self.arms = {k: a if isinstance(a, Arm) else Arm(a) for k, a in augmenters.items()}
        self.n_train, self.seeds, self.budgets = list(n_train), list(dict.fromkeys(seeds)), list(budgets)
        self.config, self.rates = config or TuningConfig(), dict(rates or {})
        self.probes = default_probes() if probes is None else list(probes)
        self._prints: dict[str, str] = {}
        for task in tasks:
            for n in self.n_train:
                self.draw(task, n, self.seeds[0])
        held = [
            part
            for t in tasks
            for part in (t.name, *map(content, (t.y, t.test_y)), *map(_text, (t.texts, t.test_texts)))
        ]
        self._space = digest(*held, str(self.config), *(p.name for p in self.probes), *MEASURED)

    def draw(self, task: TextTask, n: int, seed: int) -> np.ndarray:
        """Places of the training rows, as evenly from the classes as it goes up. Smaller sizes are among larger."""
        y = np.asarray(task.y)
        rng = np.random.default_rng(derive_seed(seed, "rows", task.name))
        shuffled = [rng.permutation(np.flatnonzero(y == c)) for c in np.unique(y)]
        rounds = [rows[k] for k in range(max(map(len, shuffled))) for rows in shuffled if k < len(rows)]
        if n > len(rounds) or n < 2 * len(shuffled):
            raise bad(f"n_train of '{task.name}'", f"{2 * len(shuffled)} to {len(rounds):,}", n)
        return np.array(rounds[:n])

    def run(
        self,
        store: Path | str,
        *,
        max_seconds: float | None = None,
        max_trials: int | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> AugmentPeftResult:
        """Measures what the store does not hold yet, until the end or the budget, whichever is first.

        Args:
            store: file of JSON lines, a trial each as soon as it is done. max_seconds: for this run; a trial that has
                begun is finished. max_trials: in all, with those in the store. progress: called with (done, in all).
        Raises:
            BadInput: a store of another study, in use, or damaged. BudgetSpent: no cell has a score.
        """
        encoder = lru_cache(1)(self._encoder)
        grid = [
            (task, model, n, tuner, budget, arm, seed)
            for model in self.models  # one encoder in memory, with what it has read
            for task in self.tasks
            for n in self.n_train
            for tuner in self.tuners
            for seed in self.seeds
            for arm in self.arms
            for budget in self.budgets
        ]
        found: list[dict[str, Any]] = []
        finished = True
        with TrialFile(store, self._space, MEASURED, max_seconds=max_seconds, max_trials=max_trials) as trials:
            try:
                for task, model, n, tuner, budget, arm, seed in grid:
                    row = dict(zip(CELL, (task, model, tuner, n, budget, arm), strict=True)) | {"seed": seed}
                    if why := self.arms[arm].missing:
                        found.append({**row, **dict.fromkeys(MEASURED, math.nan), "skipped": why})
                        continue
                    rate = self._rate(trials, encoder, task, model, n, tuner)
                    key = {**row, **self._key(model, tuner), "made": self.arms[arm].name, "tried": rate}
                    got = trials.trial(key, seed, lambda c, s: self._measure(encoder(c["model"]), c, s))
                    found.append({**row, **got, "skipped": ""})
                    if progress:
                        progress(len(found), len(grid))
            except Spent:
                finished = False
            if not any(math.isfinite(row["score"]) for row in found):
                raise BudgetSpent(f"No cell has a score: allow more, or look into the errors in {store}.")
            table = pd.DataFrame(found, columns=pd.Index([*CELL, "seed", *MEASURED, "skipped"]))
            overlap = {(t.name, n): n / len(t.texts) for t in self.tasks.values() for n in self.n_train}
            return AugmentPeftResult(table, overlap, len(trials), finished)

    def _encoder(self, model: str) -> "TextEncoder":
        from smidgen.nets.text_encoder import TextEncoder

        return TextEncoder(self.models[model])

    def _key(self, model: str, tuner: str) -> dict[str, str]:
        from smidgen.nets.text_encoder import fingerprint

        if model not in self._prints:
            self._prints[model] = fingerprint(self.models[model])
        return {"encoder": self._prints[model], "settings": str(self.tuners[tuner])}

    def _rate(self, trials: TrialFile, encoder: Any, task: str, model: str, n: int, tuner: str) -> float | None:
        """The rate of a tuner; each that is tried is a trial of its own."""
        from smidgen.learn.adapter_tuning import AdapterClassifier, search_rate

        seed, losses = self.seeds[0], {}

        def tried(config: dict[str, Any], seed: int) -> dict[str, float]:
            of = self.tasks[task]
            rows = self.draw(of, n, seed)
            one = AdapterClassifier(encoder(model), self.tuners[tuner], replace(self.config, seed=seed))
            _, found = search_rate(one, _some(of.texts, rows), np.asarray(of.y)[rows], [config["search"]])
            loss = found[config["search"]]
            return dict.fromkeys(MEASURED, math.nan) | {"score": -loss, "log_loss": loss, "rate": config["search"]}

        for rate in self.rates.get(tuner, ()):
            key = {"search": rate, "task": task, "model": model, "n_train": n, **self._key(model, tuner)}
            losses[rate] = trials.trial(key, seed, tried)["log_loss"]
        known = {rate: loss for rate, loss in losses.items() if math.isfinite(loss)}
        return min(known, key=lambda r: known[r]) if known else None

    def _measure(self, encoder: "TextEncoder", config: dict[str, Any], seed: int) -> dict[str, float]:
        from smidgen.learn.adapter_tuning import AdapterClassifier

        task, arm = self.tasks[config["task"]], self.arms[config["arm"]]
        rows = self.draw(task, config["n_train"], seed)
        own = replace(
            self.config,
            **{"mixup": arm.mixup} if arm.mixup else {},
            **{"contrast": arm.contrast, "memory": arm.memory} if arm.contrast else {},
            **{"rate": config["tried"]} if config["tried"] is not None else {},
            budget=config["budget"],
            seed=derive_seed(seed, "training"),
        )
        one = AdapterClassifier(encoder, self.tuners[config["tuner"]], own, arm.augmenter)
        one.fit(_some(task.texts, rows), np.asarray(task.y)[rows])
        spent = {k: float(v) for k, v in vars(one.spent_).items() if k != "loss"}
        return {"rate": one.rate_, **spent, **measure(one, task, self.probes, derive_seed(seed, "probe"))}


def _some(texts: Sequence[Text], at: Any) -> list[Text]:
    return [texts[int(i)] for i in at]


def _text(texts: Sequence[Text]) -> bytes:
    return json.dumps(list(texts)).encode()
