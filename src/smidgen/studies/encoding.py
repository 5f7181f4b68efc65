"""Texts and images are encoded once, before the race, and within the time."""

import time
from collections.abc import Callable
from pathlib import Path

from smidgen.data.views.cache import fill
from smidgen.data.views.rows import Rows
from smidgen.data.views.view import encoders_of
from smidgen.kit import methods
from smidgen.kit.errors import BudgetSpent
from smidgen.studies.candidates import BASELINE
from smidgen.studies.plan import Plan, Progress

CACHE = Path(".smidgen/cache")
SHARE = 0.5  # of the time, for encoding; what takes longer is not tried


class _TooLong(Exception):
    pass


def while_opened(seconds: float | None, begun: float, progress: Progress) -> Callable[[int, int], None]:
    """What `tasks.read.read` is to call as it opens pictures without labels: tells of it, and ends it where it takes
    more than half of the time.

    Raises:
        BudgetSpent: as said.
    """
    stop = None if seconds is None else begun + SHARE * seconds

    def opened(done: int, total: int) -> None:
        now = time.monotonic()
        if stop is not None and now > stop and done < total:
            raise BudgetSpent(
                f"Half of the time went while pictures without labels were opened ({done:,} of {total:,} are): give "
                "more time, or fewer of them."
            )
        if done % 16 == 0 or done == total:
            left = None if seconds is None else round(begun + seconds - now, 1)
            event = {"text": "Opening pictures without labels", "done": done, "total": total, "seconds_left": left}
            progress({"kind": "encode", **event})

    return opened


def encode_within(plan: Plan, rows: Rows, encoders: tuple[str, ...], *, of_pool: bool = False) -> None:
    """Fills the rows' blocks, the quickest encoders first. Candidates whose encoder would take more than half of the
    time leave the race; what was encoded is kept in the cache, so the next run goes on from it. of_pool: these are the
    rows without labels, which not all candidates use.

    Raises:
        BudgetSpent: no candidate is left.
    """
    stop = None if plan.budget.seconds is None else plan.begun + SHARE * plan.budget.seconds
    for name in sorted(encoders, key=lambda e: e.startswith("minilm")):

        def tell(done: int, total: int, name: str = name) -> None:
            now = time.monotonic()
            if stop is not None and now > stop and done < total:
                raise _TooLong
            left = None if plan.budget.seconds is None else round(plan.begun + plan.budget.seconds - now, 1)
            event = {"text": f"Encoding ({name})", "done": done, "total": total, "seconds_left": left}
            plan.progress({"kind": "encode", **event})

        try:
            fill(rows, (name,), CACHE, tell, columns=plan.task.columns)
        except _TooLong:
            for c in plan.race.alive:
                if name in encoders_of(c.view) and (not of_pool or methods.card(c.method).unlabelled):
                    plan.race.drop(c, f"not tried: encoding ({name}) takes more than half of the time")
    rest = [c for c in plan.race.alive if c.method != BASELINE]
    if not rest and (not plan.race.alive or len(plan.race.found) > 1):
        text = "The time ended while texts or images were encoded. Give more time; what is done is kept."
        raise BudgetSpent(text, see="budget")
