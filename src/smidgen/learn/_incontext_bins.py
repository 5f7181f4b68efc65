"""What a histogram with fixed edges says of a number: mean, quantiles, and how far off it is (CRPS).

Between two edges chances are spread evenly; beyond the outermost ones they fall off exponentially, with mean TAIL.
Dims: N rows, C bins, E = C - 1 edges, Q levels.
"""

import numpy as np

TAIL = 0.7  # standard deviations


def mean(chance_NC: np.ndarray, edges_E: np.ndarray) -> np.ndarray:
    """The mean `[N]`."""
    middle = np.concatenate([[edges_E[0] - TAIL], (edges_E[1:] + edges_E[:-1]) / 2, [edges_E[-1] + TAIL]])
    return chance_NC @ middle


def quantiles(chance_NC: np.ndarray, edges_E: np.ndarray, levels_Q: np.ndarray) -> np.ndarray:
    """Values `[N, Q]` below which the target lies with these chances, each above 0 and below 1."""
    below_NE = chance_NC.cumsum(1)[:, :-1]
    total_N = chance_NC.sum(1)
    out = np.empty((len(chance_NC), len(levels_Q)))
    for i in range(len(chance_NC)):
        wanted = levels_Q * total_N[i]
        out[i] = np.interp(wanted, below_NE[i], edges_E)
        low, high = wanted < below_NE[i, 0], wanted > below_NE[i, -1]
        out[i, low] = edges_E[0] + TAIL * np.log(wanted[low] / below_NE[i, 0])
        above = total_N[i] - below_NE[i, -1]
        out[i, high] = edges_E[-1] - TAIL * np.log((total_N[i] - wanted[high]) / above)
    return out


def crps(chance_NC: np.ndarray, edges_E: np.ndarray, y_N: np.ndarray) -> np.ndarray:
    """Continuous ranked probability score `[N]`, in the unit of the edges: the integral over t of the squared
    difference between the chance of a value below t and whether y is; on a grid of quantiles (mean pinball loss)."""
    levels = (np.arange(400) + 0.5) / 400
    at_NQ = quantiles(chance_NC, edges_E, levels)
    off_NQ = y_N[:, None] - at_NQ
    return 2 * np.maximum(levels * off_NQ, (levels - 1) * off_NQ).mean(1)
