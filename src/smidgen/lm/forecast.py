"""What a training will take and give, said before it starts: seconds, memory, bits a byte on text held out.

Seconds come from the speed measured on the very shape; memory is counted; bits a byte come from a relation fitted on
other texts (`laws.text_loss`).
"""

import importlib.util
import math
from collections.abc import Sequence
from dataclasses import dataclass

from smidgen.kit.errors import BadInput
from smidgen.kit.machine import free_bytes, resident_bytes
from smidgen.laws.text_loss import text_loss
from smidgen.lm.held import JUDGED, WINDOWS
from smidgen.lm.plan import RATES, Plan, row_bytes
from smidgen.lm.prepare import Survey
from smidgen.nets.decoder import flops_per_token
from smidgen.train.precision import Precision

LIBRARIES = 120 << 20  # bytes that the first products and updates take, whatever the model
TRITON = 84 << 20  # and what torch takes for triton then, where it is installed
# Bytes that making a tokenizer and tokens takes: a table of the words, which fills up as it grows; for each byte of a
# piece of the longest document, and of the document, and what of the latter stays. Set by hand to texts of 0.4 to 44 MB
# (`benchmarks/forecast.py`).
TABLE, TABLE_FULL = 28_000, 14_000_000  # times the root of the bytes of text
PIECE, PIECE_FULL = 50, 720_000
DOCUMENT, DOCUMENT_LEFT = 7.5, 2
POOL = 64 << 20  # bytes of the checkpoints' buffer, at most
TOKENIZING = 1.5e6  # bytes a second


@dataclass(frozen=True)
class Forecast:
    """Attributes:
    seconds: of all of it, on a machine that does nothing else. memory_bytes: the most that the program will hold.
    bits_per_byte: on text held out: low, likely, high; the band is meant to hold nine in ten texts (`laws.text_loss`).
    matrix_speed: floating-point operations a second of the machine's matrix products, for the share in progress.
    """

    seconds: float
    memory_bytes: int
    bits_per_byte: tuple[float, float, float]
    matrix_speed: float


def forecast(
    plan: Plan,
    surveys: list[Survey],
    precision: Precision,
    training_speed: float,
    matrix_speed: float,
    held: int | None = None,
    processes: int = 1,
) -> Forecast:
    """Of a plan, before anything is read but the survey.

    Args:
        training_speed, matrix_speed: floating-point operations a second, measured.
        processes: that train together; the search and the looks at held-out text gain nothing by that.
        held: bytes that the program held before it measured anything; default: what it holds now.
    Raises:
        BadInput: this machine has less free memory than it takes.
    """
    size = sum(s.bytes for s in surveys)
    compressed = sum(s.compressed * s.bytes for s in surveys) / max(1, size)
    memory = memory_bytes(plan, precision, resident_bytes() if held is None else held, surveys)
    free = free_bytes()
    if free is not None and memory - resident_bytes() > free:
        raise BadInput(
            f"This training takes about {memory / 1e9:.1f} GB of memory; {free / 1e9:.1f} GB are free here. "
            "Ask for a smaller --size, or a shorter --context."
        )
    seconds = plan.seconds
    if seconds is None:
        search = plan.search_steps * len(RATES[plan.optimizer]) / plan.steps
        looks = (plan.steps // plan.look_every) * WINDOWS * plan.context + 2 * JUDGED
        looking = looks * flops_per_token(plan.config, plan.context, training=False)
        seconds = (plan.flops * (1 / processes + search) + looking) / training_speed + 2 * size / TOKENIZING
    bits = text_loss(plan.parameters, plan.tokens, size, compressed)
    return Forecast(seconds, memory, bits, matrix_speed)


def memory_bytes(
    plan: Plan, precision: Precision, held: int, surveys: Sequence[Survey] = (), elsewhere: float = 0.0
) -> int:
    """The most that is held at a time: while the text is tokenized, or in training with weights, gradients, Adam's two
    moments, the activations of one micro-batch and the checkpoints' buffer; beside what the program holds already.
    `elsewhere`: bytes of weights, gradients and moments that other processes hold."""
    each = {"fp32": 16, "mixed": 18, "bf16": 8}[precision]  # bytes a parameter
    activations = plan.rows * row_bytes(plan.config, plan.context) * (1.0 if precision == "fp32" else 0.6)
    training = each * plan.parameters - elsewhere + activations + pool_bytes(plan)
    size, longest = sum(s.bytes for s in surveys), max((s.longest for s in surveys), default=0)
    table = TABLE * math.sqrt(min(size, TABLE_FULL))
    piece = PIECE * min(longest, PIECE_FULL)
    libraries = LIBRARIES + (TRITON if importlib.util.find_spec("triton") else 0)
    return round(held + libraries + table + piece + max(DOCUMENT * longest, DOCUMENT_LEFT * longest + training))


def judging_seconds(plan: Plan, matrix_speed: float) -> float:
    """Of the last look, at text that decided nothing: each token is read about twice, at half the matrix speed."""
    return 2 * JUDGED * flops_per_token(plan.config, plan.context, training=False) / (0.5 * matrix_speed)


def pool_bytes(plan: Plan) -> int:
    """Of the checkpoints' buffer: no larger than the state."""
    return min(POOL, max(1 << 20, 12 * plan.parameters))
