"""Bits a byte that a small language model will reach on text like its corpus, guessed before it is trained.

log(bits) = c0 + c1 log z + c2 log N + c3 log D + c4 log U: N parameters, D tokens trained on, U bytes of text, z the
bits a byte that bzip2 needs for the corpus, which tells dense text from repetitive. Fitted here by ridge regression to
trainings of other texts, slopes with the signs that they must have (`benchmarks/forecast.py fit`); the band is
Student's, nine in ten, of the errors on a text that is left out of the fit.
"""

import math

CONSTANTS = (0.6696, 0.0, -0.1041, -0.1582, 0.0)  # of centred logarithms
CENTRES = (0.5823, 12.443, 13.0911, 14.1179)
BAND = 0.281  # of log(bits), either way


def features(parameters: float, tokens: float, text_bytes: float, compressed: float) -> tuple[float, ...]:
    """Logarithms of z, N, D and U."""
    return tuple(math.log(max(1e-9, v)) for v in (compressed, parameters, tokens, text_bytes))


def text_loss(parameters: float, tokens: float, text_bytes: float, compressed: float) -> tuple[float, float, float]:
    """Low, likely and high bits a byte.

    Args:
        parameters: in all. tokens: to be trained on, passes counted. text_bytes: of the corpus.
        compressed: bits a byte that bzip2 needs for it.
    """
    values = features(parameters, tokens, text_bytes, compressed)
    mean = CONSTANTS[0] + sum(c * (v - m) for c, v, m in zip(CONSTANTS[1:], values, CENTRES, strict=True))
    return math.exp(mean - BAND), math.exp(mean), math.exp(mean + BAND)
