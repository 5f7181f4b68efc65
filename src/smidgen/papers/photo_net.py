"""A small network with batch norms, trained on a few thousand photos: what claims about quantization work on."""

from typing import Any

SET, EPOCHS, BATCH, RATE = "cifar10_subset", 15, 100, 3e-3
CHANNELS, HIDDEN = (16, 32, 48), 16  # so that no layer has most of the weights


def trained(x: Any, y: Any, seed: int, full: bool) -> Any:
    """Three convolutions with batch norm and two linear layers, trained; small and short where not `full`."""
    import torch
    import torch.nn.functional as F
    from torch import nn

    from smidgen.train.loop import LoopConfig, Run, train

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        parts: list[nn.Module] = []
        edge, before = x.shape[-1], x.shape[1]
        for width in CHANNELS if full else (4, 4, 4):
            parts += [nn.Conv2d(before, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
            parts += [nn.MaxPool2d(2)]
            edge, before = edge // 2, width
        hidden = HIDDEN if full else 8
        parts += [nn.Flatten(), nn.Linear(before * edge * edge, hidden), nn.ReLU(), nn.Linear(hidden, 10)]
        net = nn.Sequential(*parts)
    batch, epochs = (BATCH, EPOCHS) if full else (16, 2)
    each = len(x) // batch
    orders = [torch.randperm(len(x), generator=torch.Generator().manual_seed(seed + e)) for e in range(epochs)]

    def batches(number: int) -> tuple[Any, Any]:
        rows = orders[number // each][number % each * batch :][:batch]
        return x[rows], y[rows]

    def loss(model: Any, a: Any, b: Any) -> tuple[Any, int]:
        return F.cross_entropy(model(a), b, reduction="sum"), len(b)

    steps = each * epochs
    run = Run(net, torch.optim.Adam(net.parameters(), lr=RATE))
    train(run, batches, loss, lambda step: 1 - step / steps, LoopConfig(clip=None), steps=steps)
    return net.eval()


def accuracy(net: Any, x: Any, y: Any) -> float:
    """Points."""
    import torch

    with torch.no_grad():
        said = torch.cat([net(part).argmax(1) for part in x.split(500)])
    return 100 * float((said == y).float().mean())


def photos() -> tuple[Any, Any, Any, Any]:
    """Pictures float `[N, 3, 32, 32]`, of mean 0 and deviation 1 by channel, and classes, of training and test."""
    import numpy as np
    import torch

    from smidgen.tasks import known

    out: list[Any] = []
    for part in ("train", "test"):
        with np.load(known.place(SET) / f"{part}.npz") as file:
            out += [torch.from_numpy(file["images"]).permute(0, 3, 1, 2) / 255, torch.from_numpy(file["labels"]).long()]
    mean, std = out[0].mean((0, 2, 3), keepdim=True), out[0].std((0, 2, 3), keepdim=True)
    return (out[0] - mean) / std, out[1], (out[2] - mean) / std, out[3]


def made_up(seed: int) -> tuple[Any, Any, Any, Any]:
    """A few bars, lying and standing, to show that it runs."""
    import numpy as np
    import torch

    rng = np.random.default_rng(seed)
    y = np.arange(64) % 2
    x = 0.2 * rng.random((64, 1, 12, 12)).astype(np.float32)
    for picture, c, place in zip(x, y, rng.integers(2, 10, 64), strict=True):
        picture[0, place] += 0.8 * (c == 0)
        picture[0, :, place] += 0.8 * (c == 1)
    made, classes = torch.from_numpy(x), torch.from_numpy(y).long()
    return made[:48], classes[:48], made[48:], classes[48:]
