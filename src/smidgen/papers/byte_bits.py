"""Tiny decoders of bytes for claims about bits: trained in steps that can be copied, at a rate that stays or falls."""

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from smidgen.nets.decoder import Decoder, DecoderConfig
from smidgen.papers import byte_models
from smidgen.train.loop import LoopConfig, Run, train
from smidgen.train.schedules import WSD

ROWS = 8  # windows of a batch
BATCH = ROWS * byte_models.LENGTH  # bytes of it
FALL = 0.2  # of a run's updates


def shape(width: int, layers: int, ffn: int | None = None) -> DecoderConfig:
    """As `byte_models.config`; first weights of standard deviation width^-0.5, or short runs learn next to nothing."""
    of = replace(byte_models.config(width, layers), init_std=width**-0.5)
    return replace(of, ffn=ffn) if ffn else of


@dataclass(frozen=True)
class Bytes:
    """Books, or a made text where `small`; windows by `seed`; looks at `held` windows of the text held out."""

    seed: int
    small: bool = False
    held: int = 512

    def batch(self, number: int) -> tuple[Tensor, Tensor]:
        return byte_models._batch(byte_models._texts(self.small)[0], ROWS, self.seed, number)

    def run(self, of: DecoderConfig, rate: float, change: Callable[[nn.Module], object] | None = None) -> Run:
        """A new one, always alike; `change` is done to its model."""
        torch.set_num_threads(1)  # products this small only wait for each other
        torch.manual_seed(self.seed)
        model = Decoder(of, self.seed)
        if change:
            change(model)
        adamw = torch.optim.AdamW(model.parameters(), lr=rate, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
        return Run(model, adamw)

    def loss(self, model: nn.Module) -> float:
        """Nats a byte on what is held out."""
        held_RT = byte_models._texts(self.small)[1]
        held_RT = held_RT[:: max(1, len(held_RT) // self.held)]
        was = model.training
        model.eval()
        total = 0.0
        with torch.no_grad():
            for part_RT in held_RT.split(128):
                total += float(loss_of(model, *byte_models._split(part_RT))[0])
        model.train(was)
        return total / (held_RT.shape[0] * byte_models.LENGTH)


def loss_of(model: nn.Module, ids_BT: Tensor, targets_BT: Tensor) -> tuple[Tensor, int]:
    return model(ids_BT, targets_BT=targets_BT), targets_BT.numel()


def at_steps(run: Run, text: Bytes, steps: list[int], warmup: int) -> Iterator[tuple[int, Run]]:
    """The run after each number of updates, ascending, at a rate that stays at its peak."""
    for step in steps:
        yield step, train(run, text.batch, loss_of, WSD(warmup=warmup, decay=0), LoopConfig(), steps=step)


def fallen(make: Callable[[], Run], text: Bytes, lengths: list[int], warmup: int) -> dict[int, float]:
    """Held-out loss after trainings of several lengths, each with a fall over its last `FALL`: all leave from one run
    at a constant rate."""
    stable = WSD(warmup=warmup, decay=0)
    begin = {length: max(warmup, length - round(FALL * length)) for length in lengths}
    out = {}
    for length, (step, run) in zip(lengths, at_steps(make(), text, list(begin.values()), warmup), strict=True):
        branch = make()
        branch.load_state_dict(copy.deepcopy(run.state_dict()))
        schedule = stable.start_decay(step, length - step)
        train(branch, text.batch, loss_of, schedule, LoopConfig(), steps=length)
        out[length] = text.loss(branch.model)
    return out
