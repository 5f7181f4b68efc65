"""How fast a decoder writes on a processor: time to the first token, tokens a second, memory, weights read a second.

A token of a batch of one needs every weight once and little arithmetic, so that its speed is that of reading memory:
1.35 B weights in float32 at 12 tokens a second (GEB-1.3B, arXiv 2406.09900, machine not stated) are 65 GB a second,
which no laptop's memory gives. So the bytes read a second stand beside the tokens.
"""

import contextlib
import itertools
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from smidgen.kit.errors import bad
from smidgen.kit.machine import cores, resident_bytes
from smidgen.lm.generate import Sampling, next_tokens
from smidgen.nets.decoder import Decoder

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
TASKS = Path("/proc/self/task")


@dataclass(frozen=True)
class Row:
    """One measurement.

    Attributes:
        threads, dtype, prompt, new: cores, number format, tokens of the prompt and after it.
        first_token_seconds: from the prompt to the first token. tokens_per_second: of the others.
        resident_bytes: of the process while it generates. cache_bytes: keys and values of all these tokens.
        weight_bytes: read for each token. weight_bytes_per_second: the same a second.
    """

    threads: int
    dtype: str
    prompt: int
    new: int
    first_token_seconds: float
    tokens_per_second: float
    resident_bytes: int
    cache_bytes: int
    weight_bytes: int
    weight_bytes_per_second: float


@dataclass(frozen=True, kw_only=True)
class CpuStudy:
    """Every combination of these, with the generation that people use (`generate.next_tokens`, always the likeliest).

    Attributes:
        prompt_lens, new_tokens: tokens. threads: each time pinned to so many cores. dtypes: "fp32", "bf16".
        rounds: measured so often, the best counts: a busy machine only ever adds. One more before is not counted.
    """

    prompt_lens: tuple[int, ...] = (64, 512)
    new_tokens: int = 32
    threads: tuple[int, ...] = (1,)
    dtypes: tuple[str, ...] = ("fp32",)
    rounds: int = 3

    def __post_init__(self) -> None:
        if self.new_tokens < 2:
            raise bad("new_tokens", "at least 2 (the first is timed apart)", self.new_tokens)
        if self.rounds < 1:
            raise bad("rounds", "at least 1", self.rounds)
        for dtype in self.dtypes:
            if dtype not in DTYPES:
                raise bad("dtypes", " or ".join(DTYPES), dtype)
        for n in self.threads:
            if not 1 <= n <= cores():
                raise bad("threads", f"1 to the {cores()} cores of this process", n)

    def run(self, model: Decoder) -> list[Row]:
        """The rows, by number format, threads and prompt. The model, threads and cores are left as they were.

        Raises:
            BadInput: a prompt with its new tokens is longer than the model's context.
        """
        longest = max(self.prompt_lens) + self.new_tokens
        if longest > model.config.max_len:
            raise bad("prompt_lens + new_tokens", f"at most {model.config.max_len:,} tokens", f"{longest:,}")
        rows = []
        for dtype in self.dtypes:
            twin = in_dtype(model, DTYPES[dtype])
            for threads, prompt in itertools.product(self.threads, self.prompt_lens):
                with pinned(threads):
                    rows.append(self._measure(twin, dtype, threads, prompt))
        return rows

    def _measure(self, model: Decoder, dtype: str, threads: int, prompt: int) -> Row:
        ids = torch.randint(model.config.vocab, (prompt,), generator=torch.Generator().manual_seed(0)).tolist()
        firsts, others, resident = [], [], 0
        for _ in range(self.rounds + 1):
            start = time.perf_counter()
            tokens = next_tokens(model, ids, Sampling(temperature=0, max_tokens=self.new_tokens))
            next(tokens)
            first = time.perf_counter()
            for _ in range(self.new_tokens - 1):
                next(tokens)
            firsts.append(first - start)
            others.append(time.perf_counter() - first)
            resident = max(resident, resident_bytes())  # with the cache, which lives as long as `tokens`
        speed = (self.new_tokens - 1) / min(others[1:])
        weights = weight_bytes(model)
        cache = model.new_cache(1, prompt + self.new_tokens).bytes
        return Row(
            threads, dtype, prompt, self.new_tokens, min(firsts[1:]), speed, resident, cache, weights, weights * speed
        )


def in_dtype(model: Decoder, dtype: torch.dtype) -> Decoder:
    """The same model in a number format; where it has that already it shares the memory of its weights."""
    with torch.device("meta"):
        twin = Decoder(model.config)
    weights = {name: value.to(dtype) for name, value in model.state_dict().items()}
    twin.load_state_dict(weights, assign=True)
    return twin.eval()


def weight_bytes(model: Decoder) -> int:
    """Of the weights that a token reads: all but an embedding that is no output matrix, of which it reads a row."""
    looked_up = 0 if model.lm_head is None else model.model.embed_tokens.weight.nbytes
    return sum(p.nbytes for p in model.parameters()) - looked_up


@contextlib.contextmanager
def pinned(threads: int) -> Iterator[None]:
    """So many threads of torch on as many cores, one each; all as before afterwards. Where the system has no pinning
    (not Linux), only the number."""
    before = torch.get_num_threads()
    own = os.sched_getaffinity(0) if hasattr(os, "sched_setaffinity") else set()
    torch.set_num_threads(threads)
    _pin(set(sorted(own)[:threads]))
    try:
        yield
    finally:
        _pin(own)
        torch.set_num_threads(before)


def _pin(to: set[int]) -> None:
    """All threads of this process, also those that libraries made, onto these cores."""
    for task in TASKS.iterdir() if to and TASKS.is_dir() else ():
        with contextlib.suppress(OSError):  # a thread that ended meanwhile
            os.sched_setaffinity(int(task.name), to)
