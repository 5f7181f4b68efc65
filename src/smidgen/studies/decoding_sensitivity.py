"""Does a quantized language model want other decoding settings than its float parent, and what does it cost?

After "Understanding the Impact of Post-Training Quantization on Large Language Models" (2023, arXiv 2309.05210), with
what its one-at-a-time sweeps lack: all combinations of temperature, top-k and length, several seeds, and the same
uniform numbers for all variants, so that texts differ by the weights and not by luck. For statistics see
`decoding_statistics`.

Dims: P prompts, T tokens of each, N new tokens, K settings, S seeds, B = K S P rows.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from smidgen.kit.errors import BadInput, bad
from smidgen.kit.files import digest
from smidgen.kit.seeds import derive_seed
from smidgen.lm.paired import sample_rows
from smidgen.studies import decoding_measures as m
from smidgen.studies.decoding_variants import model_bytes, tokens_per_second, unpacked
from smidgen.studies.grid import Cell, Grid, run

AXES = ("variant", "temperature", "top_k", "length", "seed")
SAMPLED = ("bits_per_byte", "dup_rate", "same")  # a number of each prompt
POOLED = ("distinct_1", "distinct_2", "distinct_3", "mauve_like")  # of all prompts of a cell together
ROWS = 2048  # sampled at once


@dataclass(frozen=True)
class DecodingResult:
    """
    Attributes:
        table: a row a cell (`AXES`): "bits_per_byte" and "ppl_under_fp" of the samples under the baseline,
            "dup_rate" (4-grams), "distinct_1" to "_3", "mauve_like" (NaN without references), "same" (share of the text
            before it parts from the baseline's), "tokens_per_s" (one text at a time), "peak_bytes" (weights and cache).
        samples: the same by prompt: `AXES`, "prompt", `SAMPLED`.
        forced: a row a variant and held-out text: "nats" a token.
        kl: a row a variant, temperature and text: "kl" of the next token, baseline against variant, nats.
        finished: whether the study came to its end.
    """

    baseline: str
    table: pd.DataFrame
    samples: pd.DataFrame
    forced: pd.DataFrame
    kl: pd.DataFrame
    finished: bool


class DecodingStudy:
    """
    Args:
        models: by name; the one called `baseline` is what others are compared with, and what reads all samples.
        prompts: ids `[P, T]`. references: the real ids after them `[P, N]`, N at least the longest length.
        held: texts for losses and divergences, ids `[Q, U]`; default: prompts with references, or prompts.
        temperatures: above 0. greedy: the likeliest token too, as temperature 0.
        top_k: 0 is all. max_new_tokens: lengths; shorter samples are the beginnings of longer ones.
        seeds: of the uniform numbers.
        byte_lengths: bytes of each id `[V]`; default: each is one byte.
        rounds: of the measurement of tokens a second; 0: it is left out.

    Raises:
        BadInput: a temperature of 0 or less, top_k below 1 (but 0), no prompts, prompts of several lengths, a model
            that cannot generate, no baseline.
    """

    def __init__(
        self,
        models: Mapping[str, Any],
        prompts: Sequence[Sequence[int]] | Tensor,
        *,
        references: Tensor | None = None,
        held: Tensor | None = None,
        temperatures: Sequence[float] = tuple(round(0.1 * k, 1) for k in range(1, 11)),
        top_k: Sequence[int] = (5, 20, 0),
        max_new_tokens: Sequence[int] = (64, 256),
        seeds: Sequence[int] = (0, 1, 2),
        greedy: bool = False,
        baseline: str = "float",
        byte_lengths: Sequence[int] | None = None,
        rounds: int = 3,
    ) -> None:
        if not len(prompts):
            raise bad("prompts", "at least one", "none")
        if len({len(p) for p in prompts}) > 1:
            raise bad("prompts", "of one length", sorted({len(p) for p in prompts}), "Cut them to the shortest.")
        if baseline not in models:
            raise bad("baseline", " or ".join(models), baseline)
        for t in temperatures:
            if not 0 < t < math.inf:
                raise bad("temperature", "above 0", t, "For the likeliest token give greedy=True.")
        for k in top_k:
            if k < 0 or k != int(k):
                raise bad("top_k", "1 or more, or 0 for all", k)
        self.P_T = torch.as_tensor(prompts).long()
        self.lengths, self.seeds = sorted(map(int, max_new_tokens)), list(seeds)
        if not self.lengths or self.lengths[0] < 1:
            raise bad("max_new_tokens", "at least 1", self.lengths)
        longest = self.P_T.shape[1] + self.lengths[-1]
        for name, model in models.items():
            if not all(hasattr(model, part) for part in ("hidden", "new_cache", "output_weight_VD", "config")):
                raise bad(f"model '{name}'", "a decoder that generates (nets.decoder)", type(model).__name__)
            if longest > model.config.max_len:
                raise bad("prompt and answer", f"at most the {model.config.max_len:,} tokens of '{name}'", longest)
        if references is not None and (len(references) != len(self.P_T) or references.shape[1] < self.lengths[-1]):
            raise bad("references", f"[{len(self.P_T)}, at least {self.lengths[-1]}]", list(references.shape))
        self.models, self.baseline, self.references, self.rounds = dict(models), baseline, references, rounds
        self.temperatures, self.top_k = (
            ([0.0] if greedy else []) + list(map(float, temperatures)),
            list(map(int, top_k)),
        )
        whole = self.P_T if references is None else torch.cat([self.P_T, references[:, : self.lengths[-1]]], 1)
        self.held = whole if held is None else held.long()
        self.bytes_V = None if byte_lengths is None else np.asarray(byte_lengths, float)
        self._plain: dict[str, Any] = {}
        self._base: Tensor | None = None

    def run(
        self,
        store: Path | str | None = None,
        *,
        max_seconds: float | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> DecodingResult:
        """Measures what the store does not hold yet.

        Args:
            store: a folder for three files of JSON lines; settings may grow between runs.
            max_seconds: no variant begins after so many.
            progress: called with (cells done, in all).
        Raises:
            BadInput: a store of another study, in use, or damaged; or the baseline could not be measured.
        """
        names = [self.baseline, *(n for n in self.models if n != self.baseline)]
        levels = (names, self.temperatures, self.top_k, self.lengths, self.seeds)
        axes: dict[str, Any] = dict(zip(AXES, levels, strict=True))
        space = self._space()
        at = {k: None if store is None else Path(store) / f"{k}.jsonl" for k in ("samples", "models", "kl")}
        cells = run(
            Grid(axes, (*SAMPLED, *POOLED), AXES[1:]), self._samples, at["samples"], space=space,
            max_seconds=max_seconds, progress=progress,
        )  # fmt: skip
        costs = run(Grid({"variant": names}, ("bytes", "tokens_per_s", "nats")), self._costs, at["models"], space=space)
        warm = [t for t in self.temperatures if t > 0]
        kl = run(
            Grid({"variant": names[1:], "temperature": warm}, ("kl",), ("temperature",)), self._kl, at["kl"],
            space=space,
        ) if names[1:] else None  # fmt: skip
        base = cells.table.loc[cells.table["variant"] == self.baseline]
        wrong = base.loc[base["error"] != "", "error"]
        if not len(base) or len(wrong):
            why = wrong.iloc[0] if len(wrong) else "no time was left"
            raise BadInput(f"The baseline '{self.baseline}' could not be measured: {why}")
        good = cells.table.loc[cells.table["error"] == ""]
        samples = good[[*AXES, *SAMPLED]].explode(list(SAMPLED))
        samples["prompt"] = samples.groupby(list(AXES)).cumcount()
        samples = samples.astype(dict.fromkeys(SAMPLED, float)).reset_index(drop=True)
        return DecodingResult(
            self.baseline, self._table(good, costs.table), samples, _long(costs.table, ["variant"], "nats"),
            pd.DataFrame() if kl is None else _long(kl.table, ["variant", "temperature"], "kl"), cells.finished,
        )  # fmt: skip

    def _table(self, cells: pd.DataFrame, costs: pd.DataFrame) -> pd.DataFrame:
        out = cells.copy()
        for name in SAMPLED:
            out[name] = out[name].map(lambda v: float(np.mean(v)))
        out["ppl_under_fp"] = np.exp2(out["bits_per_byte"]) if self.bytes_V is None else np.nan
        own = costs.set_index("variant")
        speeds = own["tokens_per_s"].to_dict()
        out["tokens_per_s"] = [
            _number(speeds[v][self.lengths.index(n)] if isinstance(speeds[v], list) else None)
            for v, n in zip(out["variant"], out["length"], strict=True)
        ]
        cache = {n: self.models[self.baseline].new_cache(1, self.P_T.shape[1] + n).bytes for n in self.lengths}
        out["peak_bytes"] = [
            float(own.loc[v, "bytes"]) + cache[n] for v, n in zip(out["variant"], out["length"], strict=True)
        ]
        return out.reset_index(drop=True)

    def _samples(self, cells: list[Cell]) -> list[dict[str, Any]]:
        """All settings of one variant."""
        answers = self._answers(cells[0]["variant"])
        base = self._answers(self.baseline)
        K, S, P, N = answers.shape
        flat = answers.reshape(-1, N)
        nats, pieces = m.read_answers(self._model(self.baseline), self.P_T.repeat(K * S, 1), flat)
        nats, pieces = nats.reshape(K, S, P, N), pieces.reshape(K, S, P, *pieces.shape[1:])
        likeness = self._likeness()
        settings = self._settings()
        out = []
        for cell in cells:
            k, s, n = (
                settings.index((cell["temperature"], cell["top_k"])),
                self.seeds.index(cell["seed"]),
                cell["length"],
            )
            own = answers[k, s, :, :n].numpy()
            size = n if self.bytes_V is None else np.maximum(self.bytes_V[own].sum(1), 1)
            out.append({
                "bits_per_byte": nats[k, s, :, :n].sum(1) / math.log(2) / size,
                "dup_rate": m.duplicate_rate(own),
                "same": m.same_start(own, base[k, s, :, :n].numpy()),
                **{f"distinct_{g}": m.distinct(own, g) for g in (1, 2, 3)},
                "mauve_like": likeness(pieces[k, s, :, : n // m.PIECE].reshape(-1, pieces.shape[-1]))
                if likeness and n >= m.PIECE else math.nan,
            })  # fmt: skip
        return out

    def _settings(self) -> list[tuple[float, int]]:
        return [(t, k) for t in self.temperatures for k in self.top_k]

    def _answers(self, name: str) -> Tensor:
        """Ids `[K, S, P, N]`; the baseline's are kept."""
        if name == self.baseline and self._base is not None:
            return self._base
        settings, P, N = self._settings(), len(self.P_T), self.lengths[-1]
        u_SPN = torch.stack([
            torch.rand((P, N), generator=torch.Generator().manual_seed(derive_seed(seed, "uniforms")))
            for seed in self.seeds
        ])  # fmt: skip
        K, S = len(settings), len(self.seeds)
        rows = [
            self.P_T.repeat(K * S, 1),
            u_SPN.reshape(S * P, N).repeat(K, 1),
            *(torch.tensor(x).repeat_interleave(S * P) for x in zip(*settings, strict=True)),
        ]
        parts = zip(*(x.split(ROWS) for x in rows), strict=True)
        made = torch.cat([sample_rows(self._model(name), *part) for part in parts]).view(K, S, P, N)
        if name == self.baseline:
            self._base = made
        return made

    def _likeness(self) -> m.Likeness | None:
        if self.references is None or self.lengths[-1] < m.PIECE:
            return None
        ids = self.references[:, : self.lengths[-1]].long()
        pieces = m.read_answers(self._model(self.baseline), self.P_T, ids)[1]
        return m.Likeness(pieces.reshape(-1, pieces.shape[-1]))

    def _costs(self, cells: list[Cell]) -> list[dict[str, Any]]:
        model, prompt = self.models[cells[0]["variant"]], self.P_T[0].tolist()
        speeds = [tokens_per_second(model, prompt, n, self.rounds) if self.rounds else math.nan for n in self.lengths]
        nats = m.losses(self._model(cells[0]["variant"]), self.held)
        return [{"bytes": model_bytes(model), "tokens_per_s": speeds, "nats": nats}]

    def _kl(self, cells: list[Cell]) -> list[dict[str, Any]]:
        at = tuple(cell["temperature"] for cell in cells)
        base, other = self._model(self.baseline), self._model(cells[0]["variant"])
        return [{"kl": row} for row in m.divergence(base, other, self.held, at).T]

    def _model(self, name: str) -> Any:
        """With unpacked weights, the same numbers: many rows would unpack them in vain again and again."""
        if name not in self._plain:
            self._plain = {k: v for k, v in self._plain.items() if k == self.baseline}
            self._plain[name] = unpacked(self.models[name]).eval()
        return self._plain[name]

    def _space(self) -> str:
        """A hash of all models, texts and settings that are no axes."""
        held = [self.P_T, self.held, *([] if self.references is None else [self.references])]
        states = [t for _, model in sorted(self.models.items()) for t in model.state_dict().values()]
        parts = [
            t.detach().contiguous().view(-1).view(torch.uint8).numpy().tobytes() for t in [*states, *held] if t.numel()
        ]
        size = "" if self.bytes_V is None else str(self.bytes_V.tolist())
        return digest(*parts, str(sorted(self.models)), self.baseline, str(self.lengths[-1]), size)


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def _long(table: pd.DataFrame, by: list[str], value: str) -> pd.DataFrame:
    good = table.loc[table["error"] == "", [*by, value]].explode(value)
    good["text"] = good.groupby(by).cumcount()
    return good.astype({value: float}).reset_index(drop=True)
