"""Which tokens the n-th batch holds: a pure function of seed, epoch and position, so that a run resumes anywhere.

The stream of tokens is cut into windows of `context` + 1 tokens (inputs and, one later, targets). An epoch visits each
window once, in an order that a keyed permutation computes place by place: nothing is shuffled in memory, and the
n-th window of any epoch is known at once. Each epoch cuts the stream at another offset. All that must be kept is
one number, how many windows were used; the number of ranks or reading threads does not enter.

Dims: B windows of a batch, T = context.
"""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from smidgen.kit.errors import BadInput, bad
from smidgen.kit.seeds import derive_seed

if TYPE_CHECKING:
    from torch import Tensor

SCHEMA = 1
_ROUNDS = 6


class Tokens(Protocol):
    """A stream of token ids, all documents one after another (`lm.shards.TokenShards` is one)."""

    fingerprint: str

    def __len__(self) -> int: ...

    def read(self, start: int, stop: int) -> np.ndarray:
        """The ids of these places."""
        ...

    def starts(self, start: int, stop: int) -> np.ndarray:
        """Ascending places in [start, stop) where a document begins."""
        ...


class Batch(NamedTuple):
    ids_BT: "Tensor"
    targets_BT: "Tensor"
    documents_BT: "Tensor | None"  # None: each row is one document, which attention does faster
    number: int  # of the first window among all used since the start
    windows: tuple[tuple[int, int], ...]  # (epoch, window) of each row, for a log that can be replayed

    def part(self, rows: slice) -> "Batch":
        """Some of the rows: those of one rank, of a batch that all share."""
        marks_BT = None if self.documents_BT is None else self.documents_BT[rows]
        return Batch(self.ids_BT[rows], self.targets_BT[rows], marks_BT, self.number, self.windows[rows])


def permuted(places: np.ndarray, count: int, key: int) -> np.ndarray:
    """Where a keyed permutation of 0..count-1 sends these places.

    A Feistel network on the next even number of bits, walked until it falls below `count` (Black and Rogaway 2002):
    no table, the same on any machine.
    """
    half = max(1, (max(count - 1, 1).bit_length() + 1) // 2)
    low = np.uint64((1 << half) - 1)
    keys = np.random.Philox(key=key).random_raw(_ROUNDS).astype(np.uint64)
    out = np.asarray(places, np.uint64)
    if len(out) and int(out.max()) >= count:
        raise bad("place", f"below {count}", int(out.max()))
    todo = np.ones(len(out), bool)
    while todo.any():
        left, right = out[todo] >> np.uint64(half), out[todo] & low
        for round_key in keys:
            left, right = right, left ^ (_mixed(right ^ round_key) & low)
        out[todo] = (left << np.uint64(half)) | right
        todo[todo] = out[todo] >= count
    return out.astype(np.int64)


def _mixed(x: np.ndarray) -> np.ndarray:
    """SplitMix64's finalizer: every bit of the input moves about half of the output's."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def windows_of(length: int, context: int) -> int:
    """Windows of an epoch; the same in all, whatever the offset.

    Raises:
        BadInput: the stream is shorter than one window.
    """
    if context < 1:
        raise bad("context", "at least 1 token", context)
    if length < context + 1:
        raise BadInput(
            f"The corpus has {length:,} tokens, fewer than one context of {context:,} and the token after it: give "
            "more text, or choose a shorter context."
        )
    return max(1, (length - context) // context)


def offset_of(length: int, context: int, seed: int, epoch: int) -> int:
    """Where this epoch begins to cut the stream."""
    spare = length - 1 - windows_of(length, context) * context
    return derive_seed(seed, "offset", epoch) % (min(spare, context - 1) + 1)


def window_at(length: int, context: int, seed: int, epoch: int, positions: np.ndarray) -> np.ndarray:
    """First tokens of the windows at these positions of an epoch."""
    count = windows_of(length, context)
    key = derive_seed(seed, "order", epoch)
    return permuted(positions, count, key) * context + offset_of(length, context, seed, epoch)


def window(tokens: Tokens, start: int, context: int) -> tuple[np.ndarray, np.ndarray]:
    """Ids `[context + 1]` and the number of each input token's document within the window `[context]`."""
    ids = tokens.read(start, start + context + 1).astype(np.int64)
    begins = np.zeros(context, np.int64)
    begins[tokens.starts(start + 1, start + context) - start] = 1
    return ids, begins.cumsum()


@dataclass(frozen=True)
class Order:
    """Batches of one stream, from any point on.

    Attributes:
        tokens: what is read.
        batch: windows of a batch.
        seed: of the order.
        documents: mark documents, so that none sees another; False: attention runs over their borders.
        ahead: batches that threads prepare while one is used; for slow disks. It changes nothing else.
    """

    tokens: Tokens
    context: int
    batch: int
    seed: int = 0
    documents: bool = True
    ahead: int = 0

    def __post_init__(self) -> None:
        windows_of(len(self.tokens), self.context)
        if self.batch < 1:
            raise bad("batch", "at least 1 window", self.batch)

    @property
    def epoch_windows(self) -> int:
        return windows_of(len(self.tokens), self.context)

    def places(self, first: int, count: int) -> list[tuple[int, int, int]]:
        """(epoch, window, first token) of `count` windows from the `first`-th since the start."""
        length, out = len(self.tokens), []
        epochs, positions = np.divmod(np.arange(first, first + count), self.epoch_windows)
        for epoch in np.unique(epochs).tolist():
            starts = window_at(length, self.context, self.seed, epoch, positions[epochs == epoch])
            which = (starts - offset_of(length, self.context, self.seed, epoch)) // self.context
            out += [(epoch, w, s) for w, s in zip(which.tolist(), starts.tolist(), strict=True)]
        return out

    def at(self, number: int) -> Batch:
        """The batch that begins with the `number`-th window."""
        import torch

        places = self.places(number, self.batch)
        read = [window(self.tokens, start, self.context) for _, _, start in places]
        ids = torch.from_numpy(np.stack([ids for ids, _ in read]))
        documents = np.stack([d for _, d in read])
        marked = self.documents and documents.any()
        return Batch(
            ids_BT=ids[:, :-1].contiguous(),
            targets_BT=ids[:, 1:].contiguous(),
            documents_BT=torch.from_numpy(documents) if marked else None,
            number=number,
            windows=tuple((epoch, which) for epoch, which, _ in places),
        )

    def batches(self, used: int = 0) -> Iterator[Batch]:
        """Batches without end, from the `used`-th window on."""
        if not self.ahead:
            while True:
                yield self.at(used)
                used += self.batch
        pool = ThreadPoolExecutor(self.ahead, thread_name_prefix="batches")
        try:
            coming: list[Future[Batch]] = [pool.submit(self.at, used + i * self.batch) for i in range(self.ahead)]
            while True:
                used += self.batch
                coming.append(pool.submit(self.at, used + (self.ahead - 1) * self.batch))
                yield coming.pop(0).result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def state(self, used: int) -> dict[str, Any]:
        """All that a checkpoint must hold to go on after `used` windows."""
        return {
            "schema": SCHEMA,
            "used": used,
            "seed": self.seed,
            "context": self.context,
            "tokens": self.tokens.fingerprint,
        }

    def resume(self, state: dict[str, Any]) -> int:
        """The number of windows used, from a state.

        Raises:
            BadInput: it belongs to other tokens, another seed or context, or a newer version: the order would differ.
        """
        if not isinstance(state, dict) or state.get("schema", SCHEMA + 1) > SCHEMA:
            raise BadInput("The state of the data order is damaged or from a newer version of smidgen: update it.")
        here = self.state(0)
        for name, why in (
            ("tokens", "The corpus or its tokenizer changed since the checkpoint"),
            ("seed", "The checkpoint was made with another seed"),
            ("context", "The checkpoint was made with another context"),
        ):
            if state.get(name) != here[name]:
                raise bad(f"{name} of the data order", str(state.get(name)), here[name], f"{why}: start anew.")
        used = state.get("used")
        if type(used) is not int or used < 0:
            raise bad("used windows", "a whole number", used)
        return used
