"""Which parts come from where after a loss: the one plan that a simulation and real processes carry out."""

from collections.abc import Mapping
from dataclasses import dataclass

from smidgen.train.recovery.errors import UnrecoverableFailure
from smidgen.train.recovery.rebuild import Rule
from smidgen.train.recovery.stages import ENDS

# By part, the parts whose machines keep a shadow of it: a copy with its optimizer that gets the same gradients.
Holders = Mapping[int, tuple[int, ...]]


@dataclass(frozen=True)
class Rebuild:
    """`target` is made of `sources`, with a fresh optimizer."""

    target: int
    sources: tuple[int, ...]


@dataclass(frozen=True)
class Restore:
    """The exact state of `owner` goes from `holder` to `target`, which is the owner itself or keeps its shadow."""

    owner: int
    holder: int
    target: int


def ends_held(n_stages: int) -> Holders:
    """CheckFree+: embedding and head lie beside the first and the last stage as well."""
    return {ENDS: (0, n_stages - 1)}


def all_held(n_stages: int) -> Holders:
    """Redundant computation: the machine before has a shadow of every part."""
    return {part: (part - 1 if part > ENDS else n_stages - 1,) for part in range(ENDS, n_stages)}


def plan(lost: set[int], n_stages: int, rule: Rule | None, holders: Holders) -> list[Rebuild | Restore]:
    """What to do, in order: first the lost parts, then the shadows that were lost with them.

    Args:
        rule: without one, only shadows can help.
    Raises:
        UnrecoverableFailure: stages side by side, the first or the last without CheckFree+, a part with all holders
            of its shadow.
    """
    unheld = {part for part in lost if part not in holders}
    if unheld:
        _refuse(unheld, lost, n_stages, rule)
    moves: list[Rebuild | Restore] = []
    for part in sorted(lost):
        if part in unheld:
            assert rule is not None
            moves.append(Rebuild(part, rule.sources(part, n_stages)))
            continue
        alive = [holder for holder in holders[part] if holder not in lost]
        if not alive:
            raise UnrecoverableFailure(tuple(sorted(lost)), "the only copy was lost too")
        moves.append(Restore(part, alive[0], part))
    again = [(owner, holder) for owner, held in holders.items() for holder in held if holder in lost]
    return moves + [Restore(owner, owner, holder) for owner, holder in again]


def _refuse(unheld: set[int], lost: set[int], n_stages: int, rule: Rule | None) -> None:
    stages = tuple(sorted(unheld))
    if rule is None or ENDS in unheld:
        raise UnrecoverableFailure(stages, "nothing else holds these weights")
    outer = tuple(k for k in stages if k in (0, n_stages - 1))
    if outer and not rule.plus:
        raise UnrecoverableFailure(outer, "the first and the last stage have one neighbour only (CheckFree+ can)")
    together = tuple(sorted({k for a in stages if a + 1 in lost for k in (a, a + 1)}))
    if together:
        raise UnrecoverableFailure(together, "neighbours cannot be rebuilt of each other")
