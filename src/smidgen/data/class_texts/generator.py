"""New texts of one class from a language model that was over-fitted on the texts there are (Bayer et al., 2021, arXiv
2103.14453, section 3.2).

Each text is learned behind a prefix of its own: its number ("numbered", for short texts) or its first words or title
("contextual", for long ones). The prefix later recalls the text, and a temperature breaks the recall up, so that each
new text has a parent. Much of what comes out are copies: see `augmenter`.
"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from smidgen.data.class_texts.language_model import (
    LmFactory,
    OverfitConfig,
    Overfitted,
    Prefixed,
    end_of,
    limit_of,
    overfit,
    sample,
)
from smidgen.kit.errors import BadInput, bad
from smidgen.kit.files import digest
from smidgen.kit.linefile import LineFile
from smidgen.kit.seeds import derive_seed

Mode = Literal["auto", "contextual", "numbered", "plain"]
FIRST_WORDS = 5
MODEL, TEXTS = "model.ckpt", "texts.jsonl"


class NotMemorised(UserWarning):
    """Training ended with its loss above the target."""


@dataclass(frozen=True)
class Generated:
    """A made text. `parent`: number of the training text whose prefix it continues. `ended`: the model ended it itself,
    it was not cut off. `tokens`: what it cost."""

    text: str
    parent: int
    temperature: float
    ended: bool
    tokens: int


@dataclass(frozen=True, kw_only=True)
class ClassTextConfig:
    """
    Attributes:
        mode: of prefixes. "auto": contextual where more than half of the texts have over `long_chars` characters, else
            numbered. "plain": none at all, to see what a prefix is worth; its parents are in name only.
        training: how long and at which rate.
        temperature, top_p: of sampling. The published temperatures are 0.7 to 0.9.
        per_instance: texts made of each training text. max_tokens: of a made text; None: half as many again as the
            longest training text has.
        batch: training texts whose prefixes are continued at once.
        start: what begins each text; None: the tokenizer's own start (bos_token), if it has one.
    """

    mode: Mode = "auto"
    long_chars: int = 280
    training: OverfitConfig = OverfitConfig()
    temperature: float = 0.7
    top_p: float | None = None
    per_instance: int = 10
    max_tokens: int | None = None
    batch: int = 8
    start: str | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.mode not in ("auto", "contextual", "numbered", "plain"):
            raise bad("mode", "auto, contextual, numbered or plain", self.mode)
        for name in ("per_instance", "batch"):
            if getattr(self, name) < 1:
                raise bad(name, "at least 1", getattr(self, name))
        if not self.temperature > 0:
            raise bad("temperature", "above 0", self.temperature)
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise bad("top_p", "above 0, at most 1, or None", self.top_p)
        if self.max_tokens is not None and self.max_tokens < 1:
            raise bad("max_tokens", "at least 1, or None", self.max_tokens)


class ClassTextGenerator:
    """Of one class: `fit` its texts, then `generate`.

    Args:
        lm_factory: gives a fresh model and its tokenizer, in the form of transformers.
        context: of a text its title or beginning, for contextual prefixes; None: its first five words. Where the text
            does not begin with it (a title kept apart), it is put before it, and made texts come without.
        folder: where the model and the made texts are kept: work that was stopped goes on, and what is done is read.

    Attributes:
        mode_: "contextual", "numbered" or "plain". fitted_: steps, loss and seconds of the training.
    """

    def __init__(
        self,
        lm_factory: LmFactory,
        config: ClassTextConfig | None = None,
        *,
        context: Callable[[str], str] | None = None,
        folder: Path | str | None = None,
    ) -> None:
        self.lm_factory, self.config, self.context = lm_factory, config or ClassTextConfig(), context
        self.folder = None if folder is None else Path(folder)
        self.mode_ = ""

    def fresh(self, name: str) -> "ClassTextGenerator":
        """One of the same kind for another class: a folder and seeds of its own."""
        c = self.config
        training = replace(c.training, seed=derive_seed(c.training.seed, "class", name))
        config = replace(c, seed=derive_seed(c.seed, "class", name), training=training)
        folder = None if self.folder is None else self.folder / digest(name)[:12]
        return ClassTextGenerator(self.lm_factory, config, context=self.context, folder=folder)

    def fit(self, texts: Sequence[str], tags: Sequence[str] | None = None) -> "ClassTextGenerator":
        """Over-fits a fresh model on the texts of one class.

        Args:
            tags: names of classes, put into the prefixes: one model for texts of several classes.
        Raises:
            BadInput: fewer than 2 texts, an empty one, a tokenizer without an end of text, a folder of other work.
        Warns:
            NotMemorised: the loss ended above the target.
        """
        texts = list(texts)
        if len(texts) < 2:
            raise bad("texts of a class", "at least 2", len(texts))
        empty = next((i for i, t in enumerate(texts) if not t.strip()), None)
        if empty is not None:
            raise BadInput(f"Text {empty} of this class is empty: leave it out.")
        if tags is not None and len(tags) != len(texts):
            raise bad("tags", f"one for each of {len(texts)} texts", len(tags))
        long = sum(len(t) > self.config.long_chars for t in texts)
        automatic = "contextual" if 2 * long > len(texts) else "numbered"
        self.mode_ = automatic if self.config.mode == "auto" else self.config.mode
        self.model, self.tokenizer = self.lm_factory()
        end_of(self.tokenizer)
        self._texts, self._tags = texts, list(tags) if tags is not None else [""] * len(texts)
        self._parts = [self._cut(i) for i in range(len(texts))]
        self._prefixes = [self._prefix(i) for i in range(len(texts))]
        whole = [self._whole(i) for i in range(len(texts))]
        self._longest = max(len(w.ids) - w.prefix for w in whole)
        if self.folder is not None:
            self.folder.mkdir(parents=True, exist_ok=True)
        training = self.config.training
        self.fitted_: Overfitted = overfit(
            self.model, whole, training, self.folder / MODEL if self.folder is not None else None
        )
        if not self.fitted_.loss <= training.target_loss:
            warnings.warn(
                f"The language model ended with a loss of {self.fitted_.loss:.3g} after {self.fitted_.steps} steps, "
                f"above the target of {training.target_loss:.3g}: what it writes may be of no class. Train longer.",
                NotMemorised,
                stacklevel=2,
            )
        return self

    def generate(
        self, parents: Sequence[int] | None = None, *, temperature: float | None = None, per_instance: int | None = None
    ) -> list[Generated]:
        """Texts of each parent, by parent.

        Args:
            parents: numbers of training texts; None: all. temperature, per_instance: others than the config's.
        Raises:
            BadInput: before `fit`; a parent that is not there; a folder of other work.
        """
        if not self.mode_:
            raise BadInput("There is nothing to generate from yet: fit the generator first.")
        chosen = list(range(len(self._texts)) if parents is None else parents)
        wrong = next((p for p in chosen if not 0 <= p < len(self._texts)), None)
        if wrong is not None:
            raise bad("parents", f"numbers from 0 to {len(self._texts) - 1}", wrong)
        config = replace(
            self.config,
            temperature=self.config.temperature if temperature is None else temperature,
            per_instance=self.config.per_instance if per_instance is None else per_instance,
        )
        lots = [chosen[i : i + config.batch] for i in range(0, len(chosen), config.batch)]
        if self.folder is None:
            return [row for n, lot in enumerate(lots) for row in self._lot(n, lot, config)]
        space = digest(repr(asdict(config)), repr(self._prefixes), repr(chosen), repr(self.fitted_.steps))
        name = f"{digest(space)[:8]}-{TEXTS}"
        words = {"other": "texts of other settings", "same": "settings", "user": "generation", "line": "row of texts"}
        with LineFile(self.folder / name, space, **words) as file:
            rows = [[Generated(**r) for r in line["rows"]] for line in file.rows.values()]
            for n in range(len(rows), len(lots)):
                rows.append(self._lot(n, lots[n], config))
                file.add([{"rows": [asdict(r) for r in rows[-1]]}])
        return [row for lot in rows for row in lot]

    def _lot(self, number: int, parents: list[int], config: ClassTextConfig) -> list[Generated]:
        prefixes = [self._prefixes[p] for p in parents]
        room = limit_of(self.model) - max(map(len, prefixes))
        wanted = config.max_tokens or self._longest * 3 // 2 + 1
        made = sample(
            self.model, self.tokenizer, prefixes, times=config.per_instance, max_tokens=max(1, min(wanted, room)),
            temperature=config.temperature, top_p=config.top_p,
            seed=derive_seed(config.seed, "texts", config.temperature, number),
        )  # fmt: skip
        rows = []
        for parent, continued in zip(parents, made, strict=True):
            before = self._parts[parent][0] if self._parts[parent][2] else ""
            for one in continued:
                text = (before + self.tokenizer.decode(one.ids, skip_special_tokens=True)).strip()
                rows.append(Generated(text, parent, config.temperature, one.ended, len(one.ids) + one.ended))
        return rows

    def _cut(self, number: int) -> tuple[str, str, bool]:
        """Of a text what is given, what is learned, and whether what is given belongs to the text."""
        text = self._texts[number]
        if self.mode_ != "contextual":
            return "", text, False
        if self.context is not None:
            given = self.context(text)
        else:
            given = " ".join(text.split(" ")[: min(FIRST_WORDS, text.count(" "))])
        if text.startswith(given):
            return given, text[len(given) :], True
        return given + "\n", text, False

    def _prefix(self, number: int) -> list[int]:
        tag, given = self._tags[number], self._parts[number][0]
        marks = {"numbered": f"|{number}|"}.get(self.mode_, "|" if tag else "")
        text = (self.config.start or "") + (f"|{tag}" if tag else "") + marks + given
        bos = self.tokenizer.bos_token_id if self.config.start is None else None
        # Without a start of its own a plain text begins after an end, as in running text.
        first = [bos] if bos is not None else [] if text else [end_of(self.tokenizer)]
        return [*first, *self._ids(text)]

    def _whole(self, number: int) -> Prefixed:
        """A text too long for the model loses its end."""
        prefix = self._prefixes[number]
        ids = [*prefix, *self._ids(self._parts[number][1]), end_of(self.tokenizer)]
        room = limit_of(self.model)
        if len(prefix) >= room:
            raise bad("prefix", f"fewer than the {room} tokens that the model reads", len(prefix), "Shorten context.")
        return Prefixed(ids[:room], len(prefix))

    def _ids(self, text: str) -> list[int]:
        found: Any = self.tokenizer(text, add_special_tokens=False)["input_ids"] if text else []
        return list(found)
