"""Text from a language model, token by token, each known as soon as it is made.

Dims: V vocabulary.
"""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from smidgen.kit.errors import BadInput, bad
from smidgen.lm.model import LanguageModel
from smidgen.nets.decoder import Decoder
from smidgen.nets.products import full_speed


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen.

    Attributes:
        temperature: 0 takes the likeliest; above 1 is more even than the model.
        top_k: only the k likeliest (0: all).
        top_p: only the likeliest that together have this probability.
        repetition_penalty: logits of tokens that occurred are divided by it where positive, else multiplied
            (Keskar et al. 2019); 1: off.
        max_tokens: at most so many new ones.
        stop: the text ends before the first of these.
        seed: of the draws; None: another each time.
    """

    temperature: float = 0.8
    top_k: int = 0
    top_p: float = 1.0
    repetition_penalty: float = 1.0
    max_tokens: int = 200
    stop: tuple[str, ...] = ()
    seed: int | None = None

    def __post_init__(self) -> None:
        for name, good, expected in (
            ("temperature", 0 <= self.temperature < float("inf"), "0 or more"),
            ("top_k", self.top_k >= 0, "0 or more"),
            ("top_p", 0 < self.top_p <= 1, "above 0, at most 1"),
            ("repetition_penalty", self.repetition_penalty > 0, "above 0"),
            ("max_tokens", self.max_tokens >= 1, "at least 1"),
            ("stop", all(self.stop), "no empty text"),
        ):
            if not good:
                raise bad(name, expected, getattr(self, name))


@dataclass
class Said:
    """What came of a generation; `reason`: "end" of the document, "stop" text, "length" asked for, "context" full."""

    text: str = ""
    tokens: int = 0
    reason: str = ""


def chances(logits_V: Tensor, seen: Tensor, sampling: Sampling) -> Tensor:
    """Probabilities `[V]` of the next token: after penalty, temperature, top-k and top-p, in this order.

    Args:
        seen: ids that occurred, in prompt and answer.
    """
    logits_V = logits_V.float().clone()
    if sampling.repetition_penalty != 1:
        ids = seen.unique()
        old = logits_V[ids]
        logits_V[ids] = torch.where(old > 0, old / sampling.repetition_penalty, old * sampling.repetition_penalty)
    if sampling.temperature == 0:
        return torch.zeros_like(logits_V).index_fill_(0, logits_V.argmax(keepdim=True), 1.0)
    logits_V = (logits_V - logits_V.max()) / sampling.temperature
    if 0 < sampling.top_k < len(logits_V):
        lowest = logits_V.topk(sampling.top_k).values[-1]
        logits_V = logits_V.masked_fill(logits_V < lowest, -torch.inf)
    chances_V = logits_V.softmax(0)
    if sampling.top_p < 1:
        ordered, ids = chances_V.sort(descending=True)
        out = ordered.cumsum(0) - ordered >= sampling.top_p  # the first that crosses is still in
        chances_V = chances_V.index_fill(0, ids[out], 0.0)
    return chances_V / chances_V.sum()


def next_tokens(
    model: Decoder, prompt: Sequence[int], sampling: Sampling, end: int | None = None, words: int | None = None
) -> Iterator[int]:
    """New ids, one after another: up to max_tokens, the end token (which is not given) or a full context.

    Args:
        words: ids from here on are never drawn (the embedding may have more rows than the tokenizer has words).
    Raises:
        BadInput: the prompt is empty, fills the context, or has ids outside the vocabulary.
    """
    longest = model.config.max_len
    if not 1 <= len(prompt) < longest:
        raise bad("prompt", f"1 to {longest - 1:,} tokens", f"{len(prompt):,}", "Shorten it: nothing is cut silently.")
    device = model.model.embed_tokens.weight.device
    random = torch.Generator().manual_seed(sampling.seed) if sampling.seed is not None else None
    seen = torch.tensor(list(prompt), dtype=torch.long)
    if int(seen.min()) < 0 or int(seen.max()) >= model.config.vocab:
        wrong = int(seen.min()) if int(seen.min()) < 0 else int(seen.max())
        raise bad("prompt ids", f"0 to {model.config.vocab - 1:,}", wrong, "Is it this tokenizer?")
    room = min(sampling.max_tokens, longest - len(prompt))
    return _tokens(model, seen, sampling, end, words, room, random, device)


def _tokens(
    model: Decoder, seen: Tensor, sampling: Sampling, end: int | None, words: int | None, room: int,
    random: torch.Generator | None, device: torch.device,
) -> Iterator[int]:  # fmt: skip
    cache, new = model.new_cache(1, len(seen) + room), seen
    for _ in range(room):
        # a prompt multiplies matrices; one token at a time waits for memory, and MKL is the faster for that
        fast = full_speed() if len(new) > 1 else contextlib.nullcontext()
        with torch.inference_mode(), fast:
            x_BTD = model.hidden(new[None].to(device), cache=cache)
            logits_V = (x_BTD[0, -1] @ model.output_weight_VD.T)[:words].cpu()
            if not torch.isfinite(logits_V).all():
                raise BadInput("The model gives no numbers for this prompt (NaN or infinity): its training went wrong.")
            new = torch.multinomial(chances(logits_V, seen, sampling), 1, generator=random)
            seen = torch.cat((seen, new))
        token = int(new)
        if token == end:
            return
        yield token


def stream(model: LanguageModel, prompt: str, sampling: Sampling, said: Said | None = None) -> Iterator[str]:
    """The answer in pieces as it is made; whole characters only, and never a part of a stop text.

    Args:
        said: filled in as it goes; `reason` is known at the end.
    Raises:
        BadInput: the prompt is too long for the model's context.
    """
    said = said if said is not None else Said()
    ids = [model.tokenizer.end, *model.tokenizer.encode(prompt)]
    tokens = next_tokens(model.decoder, ids, sampling, model.tokenizer.end, model.tokenizer.words)
    return _pieces(model, len(ids), tokens, sampling, said)


def _pieces(model: LanguageModel, prompt: int, tokens: Iterator[int], sampling: Sampling, said: Said) -> Iterator[str]:
    waiting: list[int] = []  # ids whose bytes may not make whole characters yet
    held = ""  # text that may be the beginning of a stop text
    for token in tokens:
        said.tokens += 1
        waiting.append(token)
        text = model.tokenizer.decode(waiting)
        if text.endswith("\ufffd") and len(waiting) < 8:
            continue
        waiting, held = [], held + text
        found = min((at for at in map(held.find, sampling.stop) if at >= 0), default=-1)
        if found >= 0:
            said.reason = "stop"
            yield from _give(held[:found], said)
            return
        keep = _maybe_stop(held, sampling.stop)
        yield from _give(held[: len(held) - keep], said)
        held = held[len(held) - keep :]
    yield from _give(held + model.tokenizer.decode(waiting), said)
    full = prompt + said.tokens >= model.decoder.config.max_len
    said.reason = "length" if said.tokens == sampling.max_tokens else "context" if full else "end"


def _give(text: str, said: Said) -> Iterator[str]:
    if text:
        said.text += text
        yield text


def _maybe_stop(text: str, stops: tuple[str, ...]) -> int:
    """Length of the longest end of a text with which a stop text begins."""
    return max(
        (n for stop in stops for n in range(1, min(len(stop), len(text) + 1)) if text.endswith(stop[:n])), default=0
    )


def complete(model: LanguageModel, prompt: str, sampling: Sampling | None = None) -> Said:
    """The whole answer at once."""
    said = Said()
    for _ in stream(model, prompt, sampling or Sampling(), said):
        pass
    return said
