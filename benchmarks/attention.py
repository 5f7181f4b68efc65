"""What a compact transformer costs beside the same layers written plainly over torch's fused attention.

    python benchmarks/attention.py run      # two minutes; writes results/attention.json

Forward and backward of CCT-2 in training mode, without dropout or stochastic depth, on one core. "plain" is what one
writes by hand: nn.Conv2d, ReLU, max-pooling, nn.Linear and scaled_dot_product_attention. Both have the same weights,
and their outputs are compared before any clock runs. Ways take turns within one process; what counts is the median of
the processor time, since a busy machine stretches the other. The target: not more than 10 % above plain.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from smidgen.kit.machine import machine, versions
from smidgen.nets.compact_presets import create
from smidgen.nets.products import full_speed

RESULTS = Path(__file__).resolve().parent / "results" / "attention.json"
SIZES = {  # name, side, channels, pictures, rounds
    "CCT-2/3x2, 32 x 32 colour, 64 tokens": ("cct_2/3x2", 32, 3, 64, 15),
    "CCT-2/3x1, 28 x 28 grey, 196 tokens": ("cct_2/3x1", 28, 1, 32, 11),
}
TARGET = 1.10


class PlainBlock(nn.Module):
    """Pre-norm attention and a small network."""

    def __init__(self, dim: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.qkv, self.proj = nn.Linear(dim, 3 * dim, bias=False), nn.Linear(dim, dim)
        self.fc1, self.fc2 = nn.Linear(dim, hidden), nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        B, N, D = x.shape
        q, k, v = self.qkv(self.norm1(x)).reshape(B, N, 3, self.heads, D // self.heads).permute(2, 0, 3, 1, 4)
        x = x + self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(B, N, D))
        return x + self.fc2(F.gelu(self.fc1(self.norm2(x))))


class Plain(nn.Module):
    """CCT-2 as one writes it down."""

    def __init__(self, channels: int, convs: int, tokens: int, dim: int = 128, classes: int = 10) -> None:
        super().__init__()
        widths = [channels, *[64] * (convs - 1), dim]
        layers: list[nn.Module] = []
        for before, after in zip(widths[:-1], widths[1:], strict=True):
            layers += [nn.Conv2d(before, after, 3, 1, 1, bias=False), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
        self.tokenizer, self.positions = nn.Sequential(*layers), nn.Parameter(torch.zeros(1, tokens, dim))
        self.blocks, self.norm = nn.Sequential(*[PlainBlock(dim, 2, dim) for _ in range(2)]), nn.LayerNorm(dim)
        self.pool, self.fc = nn.Linear(dim, 1), nn.Linear(dim, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.tokenizer(x).flatten(2).transpose(1, 2) + self.positions
        x = self.norm(self.blocks(x))
        return self.fc((self.pool(x).softmax(1).transpose(1, 2) @ x)[:, 0])


def pair(name: str, side: int, channels: int) -> dict[str, nn.Module]:
    """Both networks, with the same weights."""
    ours = create(name, image_size=side, in_channels=channels, attn_dropout=0.0, stochastic_depth=0.0)
    plain = Plain(channels, ours.config.n_layers, ours.tokenizer.sequence_length(side, side))
    theirs = dict(plain.named_parameters())
    own = dict(ours.named_parameters())
    names = {"positions": "encoder.positional_embedding"}
    for a, b in (("norm", "encoder.norm"), ("fc", "head"), ("pool", "encoder.seq_pool.score")):
        names |= {f"{a}.{kind}": f"{b}.{kind}" for kind in ("weight", "bias")}
    names |= {f"tokenizer.{3 * i}.weight": f"tokenizer.convs.{i}.weight" for i in range(ours.config.n_layers)}
    parts = {"norm1": "norm_attention", "norm2": "norm_mlp", "qkv": "qkv", "proj": "out", "fc1": "up", "fc2": "down"}
    for name in theirs:
        if name.startswith("blocks."):
            _, i, part, kind = name.split(".")
            names[name] = f"encoder.blocks.{i}.{parts[part]}.{kind}"
    assert names.keys() == theirs.keys() and len(names) == len(own)
    plain.load_state_dict({name: own[ours_is].detach().clone() for name, ours_is in names.items()})
    return {"ours": ours, "plain": plain}


def step(net: nn.Module, x: Tensor, y: Tensor) -> None:
    net.zero_grad()
    F.cross_entropy(net(x), y).backward()


def forward(net: nn.Module, x: Tensor, y: Tensor) -> None:
    with torch.inference_mode():
        net(x)


def medians(work: Callable, nets: dict[str, nn.Module], x: Tensor, y: Tensor, rounds: int) -> dict[str, float]:
    """Milliseconds of processor time, each way, and their ratio."""
    spent: dict[str, list[float]] = {name: [] for name in nets}
    for i in range(rounds + 2):
        for name in sorted(nets, reverse=bool(i % 2)):  # neither always follows the other
            start = time.process_time()
            work(nets[name], x, y)
            if i >= 2:
                spent[name].append(1e3 * (time.process_time() - start))
    found = {name: round(statistics.median(s), 2) for name, s in spent.items()}
    return {**found, "ours_over_plain": round(found["ours"] / found["plain"], 3)}


def run() -> None:
    torch.set_num_threads(1)
    found = {}
    with full_speed():
        for title, (name, side, channels, pictures, rounds) in SIZES.items():
            nets = pair(name, side, channels)
            random = torch.Generator().manual_seed(0)
            x = torch.randn(pictures, channels, side, side, generator=random)
            y = torch.randint(10, (pictures,), generator=random)
            torch.testing.assert_close(nets["ours"](x), nets["plain"](x), rtol=1e-4, atol=1e-5)
            found[title] = {
                "pictures": pictures,
                "rounds": rounds,
                "forward_backward_ms": medians(step, nets, x, y, rounds),
                "forward_ms": medians(forward, nets, x, y, rounds),
            }
            print(title, json.dumps(found[title]))
    reached = all(f["forward_backward_ms"]["ours_over_plain"] <= TARGET for f in found.values())
    out = {"found": found, "target": TARGET, "reached": reached, "cores": 1, "date": date.today().isoformat()}
    RESULTS.write_text(json.dumps({**out, "machine": machine(), "versions": versions()}, indent=1) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("run",))
    parser.parse_args()
    run()
