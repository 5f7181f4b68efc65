"""Texts to compress by: from a person's file, or, where there is none, what a model itself can say."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from smidgen.kit.errors import BadInput, bad
from smidgen.kit.seeds import derive_seed

LEAST = 8  # texts
PLAIN = (".txt", ".md", ".text")
OWN = 64  # sequences that a language model writes for itself, or word salads that an encoder reads


def texts_of(source: Any, column: str | None = None) -> list[str]:
    """Texts of a file (plain: a line each; a table or JSON lines: of its text column) or of a sequence of strings,
    without blank ones and repetitions.

    Raises:
        BadInput: no such file or column, no texts, or fewer than 8.
    """
    if isinstance(source, str | Path):
        found, where = _of_file(Path(source), column), str(source)
    else:
        found, where = [str(s) for s in source], "calibration texts"
    texts = list(dict.fromkeys(t.strip() for t in found if t and t.strip()))
    if len(texts) < LEAST:
        raise bad(
            where, f"at least {LEAST} different texts to calibrate by", len(texts), "A hundred or more are better."
        )
    return texts


def documents_of(source: Any, column: str | None = None) -> list[str]:
    """As `texts_of`, but a plain text file is one document: what a causal model reads goes over the ends of lines."""
    if isinstance(source, str | Path) and Path(source).suffix.lower() in PLAIN:
        text = "\n".join(_of_file(Path(source), None))
        if not text.strip():
            raise BadInput(f"{source} is empty: give text to calibrate by.")
        return [text]
    return texts_of(source, column)


def _of_file(path: Path, column: str | None) -> list[str]:
    if not path.is_file():
        raise BadInput(f"{path}: there is no such file of calibration data. Check the path.")
    if path.suffix.lower() in PLAIN:
        try:
            return path.read_text(encoding="utf-8-sig").splitlines()
        except UnicodeDecodeError:
            raise BadInput(f"{path} is not UTF-8 text. Save it as UTF-8, or give a CSV file.") from None
    from smidgen.tasks.read import read_frame

    frame = read_frame(path)
    if column is not None:
        if column not in frame.columns:
            raise bad("column", f"one of {', '.join(map(str, frame.columns))}", column)
        return [str(v) for v in frame[column].dropna()]
    length = {name: frame[name].dropna().astype(str).str.len().mean() for name in frame.columns}
    wordy = {n: v for n, v in length.items() if frame[n].dropna().astype(str).str.contains(r"\s").mean() > 0.5}
    if not wordy:
        raise BadInput(f"{path} has no column of texts. Name it with --column, or give a file with one text a line.")
    return [str(v) for v in frame[max(wordy, key=lambda n: wordy[n])].dropna()]


@torch.no_grad()
def own_windows(model: Any, length: int, seed: int = 0) -> list[Tensor]:
    """Token ids `[8, length]` that a causal model wrote itself, from a random first token each."""
    vocabulary = int(model.config.vocab_size)
    with torch.random.fork_rng(devices=[]):  # transformers draws from the one generator that all share
        torch.manual_seed(derive_seed(seed, "compress", "own"))
        return [_own_window(model, vocabulary, length) for _ in range(OWN // 8)]


def _own_window(model: Any, vocabulary: int, length: int) -> Tensor:
    first = torch.randint(vocabulary, (8, 1))
    made = model.generate(
        first, attention_mask=torch.ones_like(first), do_sample=True, top_k=0, max_new_tokens=length - 1,
        min_new_tokens=length - 1, pad_token_id=0,
    )  # fmt: skip
    return made[:, :length]


def word_salads(tokenizer: Any, seed: int = 0, words: int = 12) -> list[str]:
    """Random words of a tokenizer's vocabulary, for an encoder that nobody gave texts for."""
    generator = torch.Generator().manual_seed(derive_seed(seed, "compress", "salad"))
    vocabulary = sorted(w for w in tokenizer.get_vocab() if w.isascii() and w.isalpha() and len(w) > 2)
    if len(vocabulary) < 100:
        return []
    places = torch.randint(len(vocabulary), (4 * OWN, words), generator=generator).tolist()
    return [" ".join(vocabulary[p] for p in row) for row in places]


def split(items: Sequence[Any], most: tuple[int, int, int], seed: int = 0) -> tuple[list, list, list]:
    """To learn from, to choose by, to judge by: three, one and two parts of six, at least one item and at most so many
    of each; in the order in which they came."""
    order = torch.randperm(len(items), generator=torch.Generator().manual_seed(derive_seed(seed, "compress", "split")))
    one = max(1, len(items) // 6)
    ends = (0, one, 3 * one, len(items))
    choose, check, learn = (order[a:b].tolist() for a, b in zip(ends, ends[1:], strict=False))
    parts = zip((learn, choose, check), most, strict=True)
    learn, choose, check = ([items[i] for i in sorted(part[:n])] for part, n in parts)
    return learn, choose, check
