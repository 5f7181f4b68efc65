"""Selfie (Trinh, Luong and Le, 2019, arXiv 1906.02940): the trunk of a network for pictures, trained without labels.

A picture is cut into patches, some are hidden. A summary of the others, together with the place of a hidden one, must
choose the right patch among all that are hidden in this picture. What is kept is the network that reads patches: it
becomes the first stages of a whole network, which is then fine-tuned on few labels.

    selfie = Selfie(SmallResNet((16, 32, 64)), 64, image_size=32, patch_size=8, heads=4)
    pretrain(selfie, images, selfie.draw, PretrainingConfig(epochs=10), look=pretext(held), choose="accuracy")
    net = SmallResNet((16, 32, 64, 128))
    transfer_trunk(selfie, net, {"stem.": "stem.", "stages.": "stages."}, leave=("norm.",))
    finetune(net, 128, images[rows], y[rows])                       # learn/label_fractions.py

Patches of one batch share the statistics of BatchNorm: with fewer than about 32 pictures the hidden ones show through.

Dims: B pictures, C channels, H x W pixels, P patches, m hidden ones, D features.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from smidgen.data.augment.pictures import ViewConfig
from smidgen.kit.errors import BadInput, bad
from smidgen.kit.seeds import derive_seed
from smidgen.learn.pretraining import PretrainingConfig, as_floats
from smidgen.nets.attention_pool import AttentionPool

FACTORED_FROM = 17  # patches from which places are rows plus columns: the paper has 49 so, and 16 one by one


@dataclass(frozen=True)
class SelfieOutput:
    """loss: mean cross-entropy over hidden patches. accuracy: share that was chosen rightly; chance is 1 / m."""

    loss: Tensor
    accuracy: Tensor


class Selfie(nn.Module):
    """
    Args:
        patch_net: gives features `[n, feature_dim]` of patches `[n, C, p, p]`; what is reused.
        image_size, patch_size: edges in pixels. mask_fraction: share of hidden patches.
        depth, heads, ffn_dim, dropout: of the attention pool.
        factored_pos: places as row plus column; None: from 17 patches on.
        context_pos: places are added to the patches that the summary reads (the paper does not say).
        fill: "drop": hidden patches are left out of the summary's input. "noise": normal noise stands in their places.
        logit_scale: factor of the dot products, 1 in the paper; 1 / sqrt(D) where training is unstable.
        patch_views: changes each patch by itself, in training alone, so that colours do not tell neighbours (not in
            the paper).
        seed: of the weights of pool and places.
    Raises:
        BadInput: edges that patches do not fill; fewer than 2 hidden patches, or no visible one; heads that do not
            divide the features.
    """

    def __init__(
        self,
        patch_net: nn.Module,
        feature_dim: int,
        *,
        image_size: int,
        patch_size: int,
        mask_fraction: float = 0.25,
        depth: int = 3,
        heads: int = 32,
        ffn_dim: int = 640,
        dropout: float = 0.1,
        factored_pos: bool | None = None,
        context_pos: bool = True,
        fill: Literal["drop", "noise"] = "drop",
        logit_scale: float = 1.0,
        patch_views: ViewConfig | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if patch_size < 1 or image_size % patch_size:
            raise bad("patch_size", f"a divisor of the edge of {image_size} pixels", patch_size)
        self.image_size, self.patch_size, self.grid = image_size, patch_size, image_size // patch_size
        self.patches = self.grid**2
        self.hidden = round(mask_fraction * self.patches)
        if not 2 <= self.hidden < self.patches:
            got = f"{self.hidden} of {self.patches}"
            raise bad("mask_fraction", "at least 2 hidden patches, as there is no choice else, and a visible one", got)
        if fill not in ("drop", "noise"):
            raise bad("fill", "drop or noise", fill)
        self.patch_net, self.feature_dim = patch_net, feature_dim
        self.context_pos, self.fill, self.logit_scale, self.patch_views = context_pos, fill, logit_scale, patch_views
        self.pool = AttentionPool(feature_dim, depth, heads, ffn_dim, dropout, seed=derive_seed(seed, "pool"))
        factored = self.patches >= FACTORED_FROM if factored_pos is None else factored_pos
        g = torch.Generator().manual_seed(derive_seed(seed, "places"))
        shape = (2, self.grid, feature_dim) if factored else (self.patches, feature_dim)
        self.places = nn.Parameter(0.02 * torch.randn(shape, generator=g))

    def draw(self, x_BCHW: Tensor, generator: torch.Generator) -> tuple[Tensor, ...]:
        """What `forward` takes: pictures, an order of patches for each, of which the first m are hidden, and noise."""
        where = generator.device
        order_BP = torch.rand(len(x_BCHW), self.patches, generator=generator, device=where).argsort(1)
        drawn = [order_BP.to(x_BCHW.device)]
        if self.fill == "noise":
            shape = (len(x_BCHW), self.hidden, self.feature_dim)
            drawn.append(torch.randn(shape, generator=generator, device=where).to(x_BCHW.device))
        if self.patch_views is not None and self.training:
            x_BCHW = joined(self.patch_views(cut(x_BCHW, self.patch_size), generator), len(x_BCHW))
        return x_BCHW, *drawn

    def forward(self, x: Tensor, order_BP: Tensor | None = None, noise_BmD: Tensor | None = None) -> SelfieOutput:
        """Loss and accuracy of pictures float `[B, C, H, W]`; what is not given is drawn from torch's own generator."""
        if x.ndim != 4 or x.shape[2:] != (self.image_size, self.image_size):
            raise bad("pictures", f"[B, C, {self.image_size}, {self.image_size}]", list(x.shape))
        if order_BP is None:
            order_BP = torch.rand(len(x), self.patches, device=x.device).argsort(1)
        h_BPD = self._features(x)
        places_BPD = self.positions()[order_BP]
        h_BPD = h_BPD.gather(1, order_BP[..., None].expand_as(h_BPD))  # hidden ones first
        m = self.hidden
        seen = h_BPD[:, m:]
        if self.fill == "noise":
            noise = torch.randn_like(h_BPD[:, :m]) if noise_BmD is None else noise_BmD
            seen = torch.cat([noise.to(seen), seen], 1)
        if self.context_pos:
            seen = seen + places_BPD[:, -seen.shape[1] :]
        v_BmD = self.pool(seen)[:, None] + places_BPD[:, :m]
        logits_Bmm = (v_BmD @ h_BPD[:, :m].mT).float() * self.logit_scale
        right = torch.arange(m, device=x.device).expand(len(x), m)
        loss = F.cross_entropy(logits_Bmm.flatten(0, 1), right.flatten())
        return SelfieOutput(loss, (logits_Bmm.detach().argmax(2) == right).float().mean())

    def training_loss(self, *drawn: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """As `learn.pretraining` asks for it, of what `draw` gave."""
        made = self(*drawn)
        return made.loss, {"accuracy": made.accuracy}

    def positions(self) -> Tensor:
        """The learned vector of each place, `[P, D]`, row by row."""
        if self.places.ndim == 2:
            return self.places
        rows, columns = self.places
        return (rows[:, None] + columns).flatten(0, 1)

    def _features(self, x: Tensor) -> Tensor:
        h = self.patch_net(cut(x, self.patch_size))
        count = len(x) * self.patches
        if h.shape != (count, self.feature_dim):
            raise bad("patch_net", f"features [{count}, {self.feature_dim}] of {count} patches", list(h.shape))
        return h.unflatten(0, (len(x), self.patches))


def cut(x_BCHW: Tensor, size: int) -> Tensor:
    """Patches `[B * P, C, size, size]`, those of a picture together, row by row."""
    rows = x_BCHW.unflatten(2, (-1, size)).unflatten(4, (-1, size))  # B C rows size columns size
    return rows.permute(0, 2, 4, 1, 3, 5).flatten(0, 2)


def joined(patches: Tensor, count: int) -> Tensor:
    """The opposite of `cut`, for `count` square pictures."""
    grid = round((len(patches) // count) ** 0.5)
    x = patches.unflatten(0, (count, grid, grid)).permute(0, 3, 1, 4, 2, 5)
    return x.flatten(4, 5).flatten(2, 3)


def pretext(images: Tensor, *, seed: int = 0, batch: int = 256) -> Callable[[nn.Module], dict[str, float]]:
    """For `pretrain(..., look=..., choose="accuracy")`: loss and accuracy on pictures that are not trained on, hidden
    in the same places each time."""

    @torch.no_grad()
    def look(selfie: nn.Module) -> dict[str, float]:
        assert isinstance(selfie, Selfie)
        generator = torch.Generator().manual_seed(derive_seed(seed, "pretext"))
        device, loss, right = selfie.places.device, 0.0, 0.0
        for part in images.split(batch):
            made = selfie(*selfie.draw(as_floats(part.to(device)), generator))
            loss, right = loss + len(part) * float(made.loss), right + len(part) * float(made.accuracy)
        return {"held loss": loss / len(images), "accuracy": right / len(images)}

    return look


def transfer_trunk(
    selfie: Selfie, full_net: nn.Module, prefix_map: Mapping[str, str], *, leave: tuple[str, ...] = ()
) -> list[str]:
    """Copies weights and statistics of `patch_net` into a whole network; the names of what was set there.

    Args:
        prefix_map: how names begin in `patch_net`, and how instead in `full_net`. leave: beginnings of what is not to
            be copied. All else is an error, and nothing is copied.
    Raises:
        BadInput: a name that neither speaks of, a prefix that no name has, two for one place; a name that the whole
            network lacks, or of another shape.
    """
    source, target, moves, used = selfie.patch_net.state_dict(), full_net.state_dict(), {}, set()
    for name, value in source.items():
        found = [prefix for prefix in prefix_map if name.startswith(prefix)]
        if not found:
            if not name.startswith(leave):
                raise BadInput(f"{name} of the patch network has no place: name it in prefix_map, or in leave.")
            continue
        prefix = max(found, key=len)
        used.add(prefix)
        new = prefix_map[prefix] + name.removeprefix(prefix)
        if new not in target or target[new].shape != value.shape:
            has = list(target[new].shape) if new in target else "nothing of this name"
            raise bad(f"{new} of the whole network", f"{list(value.shape)}, as {name} is", has)
        if new in moves:
            raise BadInput(f"prefix_map puts two weights into {new}.")
        moves[new] = value
    for prefix in prefix_map:
        if prefix not in used:
            raise bad("prefix_map", "beginnings of names of the patch network", prefix)
    with torch.no_grad():
        for new, value in moves.items():
            target[new].copy_(value)
    return list(moves)


def community_sgd(pictures: int, *, epochs: int = 200, seed: int = 0) -> PretrainingConfig:
    """SGD as in the community's reimplementation (wuhoward/SELFIE): batches of 128, rate 0.4 after 1000 updates, decay
    1e-4, Nesterov; here with one cosine to 0. The paper's own settings are not published in full."""
    each = max(1, pictures // 128)
    return PretrainingConfig(
        epochs=epochs,
        batch=128,
        optimizer="sgd",
        lr=0.4,
        weight_decay=1e-4,
        warmup=min(1000 / each, epochs),
        least=0.0,
        seed=seed,
    )
