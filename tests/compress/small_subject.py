"""A small network as what is compressed: rows whose columns go together, judged by its own answers."""

import torch
from torch import Tensor, nn

from smidgen.compress.subject import Subject


def subject(learn: int = 6) -> Subject:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(32, 64), nn.Tanh(), nn.LayerNorm(64), nn.Linear(64, 8)).eval()
    mixing = torch.randn(32, 32) / 6

    def batches(n: int) -> list[Tensor]:
        return [torch.randn(40, 32) @ mixing for _ in range(n)]

    def distance(said: Tensor, wanted: Tensor, batch: Tensor) -> Tensor:
        return ((said - wanted) ** 2).mean()

    learnt, choose, check = batches(learn), batches(2), batches(2)
    with torch.no_grad():
        goal = [model(b) for b in check]

    def loss(m: nn.Module, data: list[Tensor]) -> float:
        with torch.no_grad():
            return float(sum(distance(m(b), g, b) for b, g in zip(data, goal, strict=True)) / len(data))

    return Subject(model, learnt, choose, check, lambda m, b: m(b), distance, loss, "squared error")
