"""Which elements of which tensor lie where when tensors are put one after another and cut into equal parts.

    unit    tensors back to back, padded at the end
    bucket  the unit is cut into buckets of equal length (the last may be shorter), each a multiple of the ranks
    part    a bucket is cut into one part a rank; a rank's shard is its parts, back to back

Borders of tensors play no role: a rank owns ranges of elements. Where tensors must stay whole, each has one owner, the
unit is one bucket, and its parts are as equal as that allows. Numbers only, no tensors.
"""

from dataclasses import dataclass
from functools import cached_property


@dataclass(frozen=True)
class Range:
    """Elements [start, start + length) of the tensor `name`, as a vector; they lie at `place` in the unit and at `at`
    in the shard of their owner (or in the bucket)."""

    name: str
    start: int
    length: int
    place: int
    at: int


@dataclass(frozen=True)
class Bucket:
    """Elements [start, start + length) of the unit; each rank owns `part` of them."""

    number: int
    start: int
    length: int
    part: int


@dataclass(frozen=True)
class Layout:
    """A unit of tensors for a number of ranks.

    Attributes:
        sizes: elements of each tensor, by name, in their order. bucket: elements of a bucket, at most.
        everywhere: each rank owns all of it (plain data parallelism). uncut: tensors stay whole.
    """

    sizes: dict[str, int]
    ranks: int
    bucket: int
    everywhere: bool = False
    uncut: bool = False

    @cached_property
    def places(self) -> dict[str, int]:
        """Where each tensor begins in the unit."""
        parts = self._owners if self.uncut else [list(self.sizes)]
        found = {}
        for rank, names in enumerate(parts):
            end = rank * (self.padded // self.ranks)
            for name in names:
                found[name] = end
                end += self.sizes[name]
        return found

    @cached_property
    def _owners(self) -> list[list[str]]:
        """Names by rank: each goes to who has the least so far, large ones first."""
        found: list[list[str]] = [[] for _ in range(self.ranks)]
        for name in sorted(self.sizes, key=lambda n: -self.sizes[n]):
            min(found, key=lambda names: sum(self.sizes[n] for n in names)).append(name)
        return [[name for name in self.sizes if name in names] for names in found]

    @cached_property
    def padded(self) -> int:
        """Elements of the unit with its padding."""
        if self.uncut:
            return self.ranks * max(sum(self.sizes[n] for n in names) for names in self._owners)
        return -(-sum(self.sizes.values()) // self.ranks) * self.ranks

    @property
    def shard(self) -> int:
        """Elements that a rank owns, padding too."""
        return self.padded if self.everywhere else self.padded // self.ranks

    @cached_property
    def buckets(self) -> list[Bucket]:
        step = self.padded or 1 if self.uncut else max(1, self.bucket // self.ranks) * self.ranks
        cuts = [(start, min(step, self.padded - start)) for start in range(0, self.padded, step)]
        return [Bucket(number, start, length, length // self.ranks) for number, (start, length) in enumerate(cuts)]

    def own(self, bucket: Bucket, rank: int) -> tuple[int, int, int]:
        """Where a rank's part of a bucket lies in the unit, where in its shard, and its length."""
        if self.everywhere:
            return bucket.start, bucket.start, bucket.length
        return bucket.start + rank * bucket.part, bucket.start // self.ranks, bucket.part

    def inside(self, bucket: Bucket) -> list[Range]:
        """The ranges in a bucket; `at` counts from its start."""
        return self._between(bucket.start, bucket.length, 0)

    def ranges(self, rank: int) -> list[Range]:
        """The ranges that a rank owns."""
        if self.everywhere:
            return [Range(n, 0, size, self.places[n], self.places[n]) for n, size in self.sizes.items() if size]
        return [r for b in self.buckets for r in self._between(b.start + rank * b.part, b.part, b.start // self.ranks)]

    def _between(self, start: int, length: int, at: int) -> list[Range]:
        found = []
        for name, place in self.places.items():
            first, last = max(start, place), min(start + length, place + self.sizes[name])
            if first < last:
                found.append(Range(name, first - place, last - first, first, at + first - start))
        return found
