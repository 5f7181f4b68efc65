"""The small convolutional network of sensor windows (TPN: Saeed et al., 2019, arXiv 1907.11879), its heads, its file.

Three convolutions without padding, ReLU and dropout after each, then the largest value over time: how strongly each
pattern occurs anywhere in the window. Dims: B windows, T samples, C channels, F features.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from smidgen.kit.errors import BadInput, SmidgenError, bad
from smidgen.kit.files import parse_tensors, read_bytes, tensor_bytes

SHAPE = "shape"
MOST_BYTES = 1 << 30


@dataclass(frozen=True, kw_only=True)
class TPNConfig:
    """
    Attributes:
        widths, kernels: of the convolutions, one after the other. dropout: share after each.
    """

    widths: tuple[int, ...] = (32, 64, 96)
    kernels: tuple[int, ...] = (24, 16, 8)
    dropout: float = 0.1

    def __post_init__(self) -> None:
        if not self.widths or len(self.widths) != len(self.kernels) or min(self.widths + self.kernels) < 1:
            raise bad("widths and kernels", "as many of one as of the other, at least 1", (self.widths, self.kernels))
        if not 0 <= self.dropout < 1:
            raise bad("dropout", "a share from 0, below 1", self.dropout)

    @property
    def least(self) -> int:
        """Fewest samples of a window: all kernels on top of each other (46 for the published ones)."""
        return sum(self.kernels) - len(self.kernels) + 1

    def check(self, samples: int) -> None:
        """Raises BadInput: windows of so many samples are too short."""
        if samples < self.least:
            raise bad(
                "windows",
                f"at least {self.least} samples for kernels {self.kernels}",
                samples,
                "Cut longer windows, or take smaller kernels.",
            )


class TPNEncoder(nn.Module):
    """`[B, T, C]` to `[B, F]`, F = 96 by default."""

    def __init__(self, in_channels: int, config: TPNConfig | None = None, seed: int = 0) -> None:
        super().__init__()
        self.in_channels, self.config = in_channels, config or TPNConfig()
        widths = (in_channels, *self.config.widths)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.convolutions = nn.ModuleList(
                nn.Conv1d(a, b, k) for a, b, k in zip(widths[:-1], widths[1:], self.config.kernels, strict=True)
            )
            for conv in self.convolutions:
                assert isinstance(conv, nn.Conv1d) and conv.bias is not None
                nn.init.xavier_uniform_(conv.weight)  # the published network's start
                nn.init.zeros_(conv.bias)

    @property
    def width(self) -> int:
        """F."""
        return self.config.widths[-1]

    def forward(self, x_BTC: Tensor) -> Tensor:
        """Raises BadInput: windows too short for the convolutions, or of other channels."""
        if x_BTC.ndim != 3 or x_BTC.shape[2] != self.in_channels:
            raise bad("windows", f"[B, T, {self.in_channels}]", tuple(x_BTC.shape))
        self.config.check(x_BTC.shape[1])
        h_BFT = x_BTC.mT
        for conv in self.convolutions:
            h_BFT = nn.functional.dropout(conv(h_BFT).relu(), self.config.dropout, self.training)
        return h_BFT.amax(2)

    def freeze(self, convolutions: int) -> "TPNEncoder":
        """The first so many convolutions learn no more."""
        for conv in self.convolutions[:convolutions]:
            conv.requires_grad_(False)
        return self


def dense_head(width: int, sizes: tuple[int, ...], seed: int = 0) -> nn.Sequential:
    """Linear layers of these sizes with ReLU between them; no sizes: nothing."""
    layers: list[nn.Module] = []
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for size in sizes:
            layers += [nn.Linear(width, size), nn.ReLU()]
            nn.init.xavier_uniform_(layers[-2].weight)  # type: ignore[arg-type]
            nn.init.zeros_(layers[-2].bias)  # type: ignore[arg-type]
            width = size
    return nn.Sequential(*layers[:-1])


class TPNClassifier(nn.Module):
    """Encoder, one hidden layer of ReLU, scores of K classes `[B, K]`."""

    def __init__(self, encoder: TPNEncoder, classes: int, hidden: int = 1024, seed: int = 0) -> None:
        super().__init__()
        if classes < 2:
            raise bad("classes", "at least 2", classes)
        self.encoder, self.head = encoder, dense_head(encoder.width, (hidden, classes), seed)

    def forward(self, x_BTC: Tensor) -> Tensor:
        return self.head(self.encoder(x_BTC))

    @torch.no_grad()
    def predict_proba(self, x_NTC: np.ndarray, batch: int = 512) -> np.ndarray:
        """`[N, K]` float64, without dropout."""
        was, device = self.training, next(self.parameters()).device
        self.eval()
        parts = [self(torch.from_numpy(x_NTC[i : i + batch]).to(device)).cpu() for i in range(0, len(x_NTC), batch)]
        self.train(was)
        return torch.cat(parts).double().softmax(1).numpy()


def tpn_bytes(net: TPNEncoder) -> bytes:
    """The encoder as one safetensors file: its arrays, and its shape among them."""
    shape = [net.in_channels, *net.config.widths, *net.config.kernels]
    arrays = {name: value.detach().cpu().float().numpy() for name, value in net.state_dict().items()}
    return tensor_bytes({**arrays, SHAPE: np.array(shape, np.int64)})


def read_tpn(path: Path | str, dropout: float = 0.1) -> TPNEncoder:
    """The encoder in a file. Raises BadInput: no file, or not of such a network."""
    arrays = parse_tensors(read_bytes(Path(path), MOST_BYTES), str(path))
    try:
        shape = arrays.pop(SHAPE).tolist()
        layers = (len(shape) - 1) // 2
        config = TPNConfig(widths=tuple(shape[1 : 1 + layers]), kernels=tuple(shape[1 + layers :]), dropout=dropout)
        net = TPNEncoder(shape[0], config)
        net.load_state_dict({name: torch.from_numpy(array) for name, array in arrays.items()})
    except (KeyError, RuntimeError, SmidgenError, TypeError, AttributeError):
        raise BadInput(f"{path} does not hold a TPN encoder: the file is another, or damaged.") from None
    return net
