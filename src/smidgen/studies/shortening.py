"""Which thinning of long texts, and which length, suit a task: hacks and lengths measured on the same draws.

After arXiv 2403.12563: all hacks at the longest length; the best of them, chosen on the validation part, then at every
length beside the raw text. Two usual ways to treat long texts stand beside them at every length: the head and the tail
of the text, and all of it in windows. The test part is measured once a cell and seed, and no choice reads it.
"""

import json
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from smidgen.data.shorten import TextShortener
from smidgen.data.tokens import counter, windows
from smidgen.kit.errors import BudgetSpent, bad
from smidgen.kit.files import digest
from smidgen.studies.trialfile import Spent, TrialFile

Texts = tuple[Sequence[str], Any]  # texts, and an array or a list of their labels
Cell = tuple[str, int]  # name of the hack, length in tokens
RAW = "raw"
HACKS: dict[str, dict[str, Any]] = {
    "stop words": {"remove_stopwords": True},
    "punctuation": {"remove_punctuation": True},
    "rare words": {"min_frequency": 2},
    "repeated words": {"drop_repeated": True},
    "stop words, punctuation": {"remove_stopwords": True, "remove_punctuation": True},
    "stop words, rare words": {"remove_stopwords": True, "min_frequency": 2},
    "stop words, repeated words": {"remove_stopwords": True, "drop_repeated": True},
}
BASELINES: dict[str, dict[str, Any]] = {"head and tail": {"keep": "head_tail"}, "windows": {"windows": True}}
VALUES = ("validation", "test", "processor_seconds", "tokens", "kept")


@dataclass(frozen=True)
class Draw:
    """A task as one seed sees it: texts and labels of each part. What is compared without choosing needs no
    validation part."""

    train: Texts
    test: Texts
    validation: Texts | None = None

    @property
    def identity(self) -> str:
        """A hash of all texts and labels."""
        parts = [self.train, self.validation or ([], []), self.test]
        return digest(*(json.dumps([list(texts), [str(y) for y in labels]]) for texts, labels in parts))


def measure(
    hack: Mapping[str, Any], length: int, draw: Draw, model: Any, *, tokenizer: Any = None, special_tokens: int = 2
) -> dict[str, float]:
    """One hack at one length on one draw.

    Args:
        hack: settings of `TextShortener`, which removes nothing that is not named here; or `{"windows": True}`: the
            model learns from all windows of a text, and the mean of its probabilities over them decides.
        model: unfitted; `fit(texts, labels)`, `predict(texts)`, for windows `predict_proba(texts)` and `classes_`.
        tokenizer, special_tokens: as for `TextShortener`.

    Returns:
        `validation`, `test`: accuracy, 0 to 1 (validation NaN where there is none). `processor_seconds`: of the whole
        cell, shortening, training and predicting, over all threads. `tokens`: given to the model, a text.
        `kept`: share of the distinct informative words of a training text that the model is given.
    """
    began = time.process_time()
    settings = {"remove_stopwords": False, **hack}
    split = settings.pop("windows", False)
    limit = None if split else length
    shortener = TextShortener(**settings, max_tokens=limit, tokenizer=tokenizer, special_tokens=special_tokens)
    shortener.fit(draw.train[0])
    count, tokens = counter(tokenizer), 0

    def pieces(texts: Iterable[str]) -> list[list[str]]:
        nonlocal tokens
        short = shortener.transform(texts)
        out = [windows(t, length - special_tokens, count) if split else [t] for t in short]
        tokens += sum(count(piece) + special_tokens for one in out for piece in one)
        return out

    def accuracy(part: Texts) -> float:
        many = pieces(part[0])
        flat = [piece for one in many for piece in one]
        if not split:
            return float(np.mean(model.predict(flat) == np.asarray(part[1])))
        ends = np.cumsum([len(one) for one in many])
        chances = np.add.reduceat(model.predict_proba(flat), np.append(0, ends[:-1]))
        means = chances / np.array([len(one) for one in many])[:, None]
        return float(np.mean(np.asarray(model.classes_)[means.argmax(1)] == np.asarray(part[1])))

    train = pieces(draw.train[0])
    model.fit(
        [piece for one in train for piece in one],
        np.repeat(np.asarray(draw.train[1]), [len(one) for one in train]),
    )
    got = {
        "validation": accuracy(draw.validation) if draw.validation else math.nan,
        "test": accuracy(draw.test),
        "processor_seconds": time.process_time() - began,
    }
    texts = sum(len(part[0]) for part in (draw.train, draw.validation, draw.test) if part)
    return {**got, "tokens": tokens / texts, "kept": shortener.coverage(draw.train[0])["kept"]}


@dataclass(frozen=True)
class ShorteningResult:
    """What a study found.

    Attributes:
        rows: of each cell `hack`, `length`, `seeds` (how many were measured), the means of what `measure` returns,
            and `gain`: mean test accuracy less that of the raw text at this length, on the same draws, with its
            standard error `gain_error`. NaN where a trial failed or there is nothing to compare with.
        best: the hack chosen on the validation part; None while that is not known.
        trials: in the file, in all. finished: whether the study came to its end, or its budget did.
    """

    rows: list[dict[str, Any]]
    best: str | None
    trials: int
    finished: bool

    def table(self) -> str:
        """The rows as a table in Markdown; accuracies and gains in points."""
        heads = ("hack", "length", "validation", "test", "gain over raw", "processor s", "tokens", "words kept")
        lines = [heads, ("---", *["---:"] * (len(heads) - 1))]
        for row in self.rows:
            name = f"**{row['hack']}**" if row["hack"] == self.best else row["hack"]
            parts = [_shown(100 * row[part], ".1f") for part in ("validation", "test")]
            gain = f"{_shown(100 * row['gain'], '+.1f')} ± {_shown(100 * row['gain_error'], '.1f')}"
            spent = [_shown(row["processor_seconds"], ".2f"), _shown(row["tokens"], ".0f")]
            gain = "" if row["hack"] == RAW else gain
            lines.append((name, str(row["length"]), *parts, gain, *spent, _shown(row["kept"], ".0%")))
        return "\n".join(f"| {' | '.join(line)} |" for line in lines)


class ShorteningStudy:
    """The study of one text classification task.

    Args:
        hacks: name -> settings of `TextShortener`; the raw text is measured by itself.
        lengths: in tokens, special ones included.
        model_factory: `model_factory(length, seed)` makes an unfitted model, see `measure`. Lengths are compared
            fairly only where it trains equally long whatever the length.
        seeds: of the draws.
        tokenizer, special_tokens: of the model; see `TextShortener`.
        baselines: as `hacks`, measured at every length and never chosen.
        name: what the model is: a store of another name is refused.

    Raises:
        BadInput: nothing to compare; a length too short; a setting that there is not; a name twice.
    """

    def __init__(
        self,
        hacks: Mapping[str, Mapping[str, Any]],
        lengths: Sequence[int],
        model_factory: Callable[[int, int], Any],
        seeds: Sequence[int],
        *,
        tokenizer: Any = None,
        special_tokens: int = 2,
        baselines: Mapping[str, Mapping[str, Any]] = BASELINES,
        name: str = "",
    ):
        if not hacks or not lengths or not seeds:
            raise bad("hacks, lengths, seeds", "at least one each", (len(hacks), len(lengths), len(seeds)))
        if min(lengths) <= special_tokens:
            raise bad("lengths", f"more than the {special_tokens} special tokens", min(lengths))
        if twice := sorted(hacks.keys() & baselines.keys() | {RAW} & (hacks.keys() | baselines.keys())):
            raise bad("hacks", f"names other than '{RAW}' and those of the baselines", twice)
        known = TextShortener().get_params().keys() - {"max_tokens", "tokenizer", "special_tokens"} | {"windows"}
        for hack, settings in {**hacks, **baselines}.items():
            if unknown := sorted(settings.keys() - known):
                raise bad(f"hacks['{hack}']", f"settings among {', '.join(sorted(known))}", unknown)
        self.hacks, self.baselines = dict(hacks), dict(baselines)
        self.lengths, self.seeds = sorted(set(lengths)), list(dict.fromkeys(seeds))
        self.model_factory, self.tokenizer, self.special_tokens = model_factory, tokenizer, special_tokens
        self._settings = {RAW: {}, **self.hacks, **self.baselines}
        self._space = digest(
            json.dumps([self._settings, self.lengths, special_tokens, name], sort_keys=True, default=sorted)
        )

    def run(
        self,
        draw: Callable[[int], Draw],
        store: Path | str,
        *,
        max_seconds: float | None = None,
        max_trials: int | None = None,
    ) -> ShorteningResult:
        """Measures what the store does not hold yet, until the end or the budget, whichever is first.

        Args:
            draw: the task as a seed sees it, with a validation part.
            store: file of trials; a trial is a cell on one draw. Changed texts or labels are measured anew.
            max_seconds: for this run; a trial that has begun is finished. max_trials: in all, with those in the store.

        Raises:
            BadInput: a draw without a validation part; a store of another study, in use, or damaged.
            BudgetSpent: not one cell was measured.
        """
        draw = cache(draw)
        if draw(self.seeds[0]).validation is None:
            raise bad("draw", "a validation part, to choose on", "none")
        longest = self.lengths[-1]
        cells: dict[Cell, dict[int, dict[str, float]]] = {}
        best, finished = None, True
        with TrialFile(store, self._space, VALUES, max_seconds=max_seconds, max_trials=max_trials) as trials:
            try:
                self._measure([(hack, longest) for hack in (RAW, *self.hacks)], draw, trials, cells)
                best = self._best(cells)
                rest = [h for h in (RAW, best, *self.baselines) if h is not None]
                self._measure([(h, n) for n in self.lengths[::-1] for h in rest], draw, trials, cells)
            except Spent:
                finished = False
            rows = [self._row(cell, cells) for cell in sorted(cells, key=self._place)]
            if not any(math.isfinite(row["test"]) for row in rows):
                raise BudgetSpent(
                    "The study ended before any cell was measured: allow more trials or time, "
                    f"or look into the errors in {store}."
                )
            return ShorteningResult(rows, best, len(trials), finished)

    def _measure(
        self,
        todo: list[Cell],
        draw: Callable[[int], Draw],
        trials: TrialFile,
        cells: dict[Cell, dict[int, dict[str, float]]],
    ) -> None:
        """Cells side by side on each draw, each draw from another cell on: a slow hour of the machine hits all."""

        def evaluate(config: dict[str, Any], seed: int) -> dict[str, float]:
            return measure(
                self._settings[config["hack"]],
                config["length"],
                draw(seed),
                self.model_factory(config["length"], seed),
                tokenizer=self.tokenizer,
                special_tokens=self.special_tokens,
            )

        for turn, seed in enumerate(self.seeds):
            at = turn % len(todo)
            for hack, length in todo[at:] + todo[:at]:
                config = {"hack": hack, "length": length, "draw": draw(seed).identity}
                cells.setdefault((hack, length), {})[seed] = trials.trial(config, seed, evaluate)

    def _best(self, cells: dict[Cell, dict[int, dict[str, float]]]) -> str | None:
        """The hack with the highest validation accuracy, the first of equals; None where all failed."""
        means = {h: _mean(cells[h, self.lengths[-1]], "validation") for h in self.hacks}
        fit = [h for h in self.hacks if math.isfinite(means[h])]
        return max(fit, key=lambda h: means[h], default=None)

    def _place(self, cell: Cell) -> tuple[int, int]:
        return -cell[1], list(self._settings).index(cell[0])

    def _row(self, cell: Cell, cells: dict[Cell, dict[int, dict[str, float]]]) -> dict[str, Any]:
        mine, raw = cells[cell], cells.get((RAW, cell[1]), {})
        gains = [mine[s]["test"] - raw[s]["test"] for s in mine if s in raw]
        return {
            "hack": cell[0],
            "length": cell[1],
            "seeds": len(mine),
            **{name: _mean(mine, name) for name in VALUES},
            "gain": float(np.mean(gains)) if gains else math.nan,
            "gain_error": float(np.std(gains, ddof=1) / len(gains) ** 0.5) if len(gains) > 1 else math.nan,
        }


def frozen_encoder(length: int, seed: int = 0, layers: int = 3) -> Any:
    """A model for `ShorteningStudy`: the first layers of the small sentence encoder, left as they are, its tokens
    averaged, and logistic regression. Raises MissingExtra."""
    from functools import partial

    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer, StandardScaler

    from smidgen.learn.logistic import LogisticClassifier
    from smidgen.nets import minilm

    read = partial(minilm.load().encode, max_tokens=length, layers=layers)
    return make_pipeline(FunctionTransformer(read), StandardScaler(), LogisticClassifier(random_state=seed))


def _mean(trials: Mapping[int, Mapping[str, float]], name: str) -> float:
    """NaN where one of them failed."""
    return float(np.mean([values[name] for values in trials.values()]))


def _shown(value: float, form: str) -> str:
    return format(value, form) if math.isfinite(value) else "-"
