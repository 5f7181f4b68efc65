"""Texts said anew by way of another language (Sennrich et al., 2016, arXiv 1511.06709, as augmentation).

Translators are passed in: a local model, a service, a function. What they said is kept in a file, so that nothing is
translated twice. Without one the augmenter says so, and nothing is put in its place.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from smidgen.data.augment.texts import Text
from smidgen.kit.errors import BadInput, bad
from smidgen.kit.linefile import LineFile
from smidgen.kit.seeds import derive_seed


class Translator(Protocol):
    """`name`: which model, of which version, from and to which language."""

    name: str

    def translate(self, texts: Sequence[str], seed: int | None) -> Sequence[str]:
        """A translation of each text; the likeliest, or with a seed one that is drawn."""
        ...


class CallableTranslator:
    """Any function as a translator: `call(texts, seed)`."""

    def __init__(self, call: Callable[[Sequence[str], int | None], Sequence[str]], name: str) -> None:
        self.call, self.name = call, name

    def translate(self, texts: Sequence[str], seed: int | None) -> Sequence[str]:
        return self.call(texts, seed)


class CachedTranslator:
    """A translator that is asked for each text once. `asked` counts what it was given.

    Args:
        path: file of JSON lines that keeps the translations; None: they last as long as this object.
    """

    def __init__(self, translator: Translator, path: Path | str | None = None, *, at_once: int = 32) -> None:
        self.translator, self.name, self.path, self.at_once = translator, translator.name, path, at_once
        self.asked = 0
        self._known: dict[tuple[str, int | None], str] = {}

    def translate(self, texts: Sequence[str], seed: int | None) -> list[str]:
        """Raises BadInput: the translator gave another number of texts, or the file is of another translator."""
        if self.path is None:
            self._ask(texts, seed, None)
        else:
            file = LineFile(
                self.path, self.name, other="another translator's work", same="one", user="run", line="translation"
            )
            with file:
                for number, row in file.rows.items():
                    try:
                        self._known[row["text"], row["seed"]] = str(row["said"])
                    except (KeyError, TypeError):
                        raise file.damaged(number) from None
                self._ask(texts, seed, file)
        return [self._known[t, seed] for t in texts]

    def _ask(self, texts: Sequence[str], seed: int | None, file: LineFile | None) -> None:
        new = [t for t in dict.fromkeys(texts) if (t, seed) not in self._known]
        for start in range(0, len(new), self.at_once):
            some = new[start : start + self.at_once]
            said = list(self.translator.translate(some, seed))
            self.asked += len(some)
            if len(said) != len(some) or not all(isinstance(s, str) for s in said):
                raise bad(f"translator '{self.name}'", f"{len(some)} texts", f"{len(said)}")
            if file:
                file.add({"text": t, "seed": seed, "said": s} for t, s in zip(some, said, strict=True))
            self._known |= {(t, seed): s for t, s in zip(some, said, strict=True)}


@dataclass(frozen=True)
class BackTranslation:
    """There and back again.

    Attributes:
        forward, backward: to the other language, and back; None where there is none (`missing` says so).
        n: copies of a text; more than one are drawn (`sampling`), or they would be equal.
    """

    forward: Translator | None
    backward: Translator | None
    n: int = 1
    sampling: bool = False

    def __post_init__(self) -> None:
        if self.n < 1:
            raise bad("n", "at least 1", self.n)
        if self.n > 1 and not self.sampling:
            raise bad("sampling", "True, for more than one copy of a text", False)

    @property
    def name(self) -> str:
        there, back = (t.name if t else "none" for t in (self.forward, self.backward))
        return f"back-translation {there} > {back} x{self.n}{' drawn' if self.sampling else ''}"

    @property
    def missing(self) -> str | None:
        gone = [k for k, t in (("there", self.forward), ("back", self.backward)) if t is None]
        return f"no translator {' and '.join(gone)}: pass one in." if gone else None

    def copies(self, texts: Sequence[Text], seed: int) -> list[list[Text]]:
        """Raises BadInput: a translator is missing."""
        if self.forward is None or self.backward is None:
            raise BadInput(f"Back-translation has {self.missing}")
        rounds = []
        for k in range(self.n):
            own = derive_seed(seed, "translation", k) if self.sampling else None
            flat = [part for t in texts for part in ((t,) if isinstance(t, str) else t)]
            back = iter(self.backward.translate(list(self.forward.translate(flat, own)), own))
            rounds.append([next(back) if isinstance(t, str) else (next(back), next(back)) for t in texts])
        return [[r[i] for r in rounds] for i in range(len(texts))]
