"""A bound on the saved model: which members still fit into so many bytes."""

import math

import numpy as np

from smidgen.budget.budget import show_bytes
from smidgen.kit.errors import BadInput
from smidgen.studies.candidates import Candidate
from smidgen.studies.choose import Choice, OutOfFold, choose
from smidgen.studies.race import Race

REPORT_BYTES = 200_000  # room for the report in the folder; where there is less it lies beside
FRAME_BYTES = 4_000  # of a folder without a report
GROWTH = 1.15  # a member fitted on all rows may be larger than the largest of a fold by more than its rows


def needs(tried: list[Candidate], sizes: dict[tuple[str, str], int], race: Race) -> np.ndarray:
    """Bytes that each candidate's member will take, fitted on all rows."""
    share_K = np.array([1 - 1 / race.folds_of(c) for c in tried])  # of the rows that a fold's fit had
    return GROWTH * np.array([sizes[c.key] for c in tried]) / share_K + 2_000


def limit_for(need: float) -> int:
    """The smallest bound under which members of so many bytes fit."""
    bare = math.ceil(need) + FRAME_BYTES
    return bare if bare < 3 * REPORT_BYTES else math.ceil(need) + REPORT_BYTES


def within_size(
    tried: list[Candidate], board: OutOfFold, race: Race, sizes: dict[tuple[str, str], int], limit: int
) -> tuple[Choice, OutOfFold]:
    """Members leave, the most bytes for the least weight first, until the rest fits into `limit` bytes.

    Args:
        sizes: bytes of one fitted member, by candidate.
    Returns:
        The choice over all of `tried`, and the board of those that could be chosen: the estimate must not count on
        the others.
    Raises:
        BadInput: not even the smallest fits.
    """
    whole = choose(board, race.choice)
    room = limit - (REPORT_BYTES if limit >= 3 * REPORT_BYTES else FRAME_BYTES)
    need = needs(tried, sizes, race)
    fits = need <= room
    if not fits.any():
        least = tried[int(need.argmin())]
        raise BadInput(
            f"--size {show_bytes(limit)}: the smallest model that was found is {least.method} with about "
            f"{show_bytes(float(need.min()))}; allow that much, or less in --methods."
        )
    keep = np.flatnonzero(fits)
    while True:
        own = OutOfFold(board.predictions[keep], board.truth, board.prior[keep] / board.prior[keep].sum(), board.units)
        part = choose(own, race.choice)
        chosen = keep[part.weights > 0]
        if need[chosen].sum() <= room:
            weights, log_t = np.zeros(len(tried)), whole.log_t.copy()
            weights[keep], log_t[keep] = part.weights, part.log_t
            return Choice(weights, log_t), own
        dear = chosen[np.argmax(need[chosen] / np.maximum(part.weights[part.weights > 0], 1e-9))]
        keep = keep[keep != dear]
