"""The batch size that wastes least, by the loss that a language model has reached (MiniCPM, Hu et al., 2024, arXiv
2404.06395, section 3).

batch = 1.21e9 / L^6.24 tokens, L in nats a token on C4: fitted by its authors on models of 9e6 to 1.7e8 parameters; for
their own of 2.4e9, expected to end at a loss of about 2.5, they took the 4e6 tokens that it gives. The constants, and
the range of losses below, are quoted from memory of the paper and unconfirmed. Nats a token depend on the tokenizer:
on other text or with other tokens the law is a guess, and a loss of bytes is no input for it.
"""

from dataclasses import dataclass

from smidgen.kit.errors import bad

L_RANGE = (2.5, 5.0)  # nats a token
FAR = 1.2  # beyond this factor outside the range the law is not used: a factor of 3 in the batch


@dataclass(frozen=True)
class Batch:
    """`tokens` of the predicted optimum; `outside`: how far the loss is out of the range, as a factor (1 inside)."""

    tokens: float
    outside: float

    @property
    def usable(self) -> bool:
        return self.outside <= FAR


def batch_law(loss: float) -> Batch:
    """The published law. Raises BadInput: not positive.

    Args:
        loss: in nats a token, that training is expected to reach.
    """
    if not loss > 0:
        raise bad("loss", "nats a token, above 0", loss)
    low, high = L_RANGE
    return Batch(1.21e9 / loss**6.24, max(low / loss, loss / high, 1.0))
