"""Views of pictures: whole batches at once, each picture changed by its own draw, the same for an equal generator.

    pair = small_pair()                                   # or published_pair(224), or TwoViews(weak(), strong())
    a_BCHW, b_BCHW = pair(x_BCHW, torch.Generator().manual_seed(0))

Crop, flip and affine map are one resampling of the input, so that nothing is blurred twice. It takes no account of
shrinking: give pictures about as large as the views, not many times as large.

Dims: B pictures, C channels, H x W pixels. Values are 0 to 1 until the normalisation, which comes last.
"""

import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from smidgen.kit.errors import BadInput, bad

GREY = (0.299, 0.587, 0.114)  # brightness of red, green and blue (ITU-R BT.601)
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
Range = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class ViewConfig:
    """What one pipeline does, in this order; by default nothing.

    Attributes:
        size: edge of the views in pixels; None: as the pictures.
        crop: share of the area that is kept, then enlarged to the view. aspect: width to height of the crop.
        rotate, shear: at most so many degrees. shift: at most this share of the edge. zoom: factor of the size.
        outside: what lies beyond the picture. resample: how pixels are read between others.
        flip: chance of a mirrored view.
        brightness, contrast, saturation: factors lie within 1 -+ this. hue: turn of colours, share of the circle.
        jitter: chance of these four together. grey: chance that colours are lost.
        blur: chance; sigma: of its Gaussian in pixels.
        solarize: chance that values from 0.5 up are inverted.
        erase: chance of a black rectangle; erased: its share of the area.
        mean, std: by channel, for the normalisation; empty: none.
    """

    size: int | None = None
    crop: Range | None = None
    aspect: Range = (3 / 4, 4 / 3)
    rotate: float = 0.0
    shear: float = 0.0
    shift: float = 0.0
    zoom: Range = (1.0, 1.0)
    outside: Literal["zeros", "border", "reflection"] = "zeros"
    resample: Literal["bilinear", "bicubic"] = "bilinear"
    flip: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    jitter: float = 1.0
    grey: float = 0.0
    blur: float = 0.0
    sigma: Range = (0.1, 2.0)
    solarize: float = 0.0
    erase: float = 0.0
    erased: Range = (0.02, 0.2)
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        for name in ("flip", "jitter", "grey", "blur", "solarize", "erase"):
            if not 0 <= getattr(self, name) <= 1:
                raise bad(name, "a chance from 0 to 1", getattr(self, name))
        for name in ("rotate", "shear", "shift", "brightness", "contrast", "saturation", "hue"):
            if getattr(self, name) < 0:
                raise bad(name, "0 or more", getattr(self, name))
        for name in ("crop", "aspect", "zoom", "sigma", "erased"):
            value = getattr(self, name)
            most = 1.0 if name in ("crop", "erased") else math.inf
            if value is not None and not 0 < value[0] <= value[1] <= most:
                raise bad(name, "a least and a most above 0" + (", at most 1" if most == 1 else ""), value)
        if len(self.mean) != len(self.std):
            raise bad("std", f"{len(self.mean)} numbers, as many as mean", self.std)

    @property
    def moves(self) -> bool:
        """Whether pixels are read anew."""
        return (self.size, self.crop, self.rotate, self.shear, self.shift, self.zoom) != (None, None, 0, 0, 0, (1, 1))

    def __call__(self, x_BCHW: Tensor, generator: torch.Generator) -> Tensor:
        """One view of each picture, as `view` makes it."""
        return view(x_BCHW, self, generator)


@dataclass(frozen=True)
class TwoViews:
    """Two views of each picture, each by its own pipeline: `pair(x_BCHW, generator)`."""

    first: ViewConfig
    second: ViewConfig

    def __call__(self, x_BCHW: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        return view(x_BCHW, self.first, generator), view(x_BCHW, self.second, generator)


def published_pair(size: int = 224) -> TwoViews:
    """The asymmetric pair of BYOL that Barlow Twins trains on (Zbontar et al., 2021, arXiv 2103.03230), for photos.

    The four colour changes come in a fixed order, the hue turns in the YIQ plane, and a crop that would be wider than
    the picture ends at its edge; sigma is meant for views of 224 pixels and shrinks with them.
    """
    scale = size / 224
    first = ViewConfig(
        size=size,
        crop=(0.08, 1.0),
        resample="bicubic",
        outside="border",
        flip=0.5,
        brightness=0.4,
        contrast=0.4,
        saturation=0.2,
        hue=0.1,
        jitter=0.8,
        grey=0.2,
        blur=1.0,
        sigma=(0.1 * scale, 2.0 * scale),
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
    )
    return TwoViews(first, replace(first, blur=0.1, solarize=0.2))


def small_pair(flip: float = 0.0) -> TwoViews:
    """For small pictures such as digits: half of the area or more, mild jitter, erasing. A digit has no mirror image,
    so `flip` is yours to ask for."""
    one = ViewConfig(crop=(0.5, 1.0), rotate=10.0, flip=flip, brightness=0.4, contrast=0.4, jitter=0.8, erase=0.5)
    return TwoViews(one, one)


def weak(flip: float = 0.0) -> ViewConfig:
    """A small shift [and a flip]: what a label surely survives (consistency training)."""
    return ViewConfig(shift=0.125, flip=flip, outside="reflection")


def strong(flip: float = 0.0) -> ViewConfig:
    """Affine map, contrast and erasing, as strong as small pictures bear."""
    return ViewConfig(
        rotate=30.0,
        shear=15.0,
        shift=0.125,
        zoom=(0.8, 1.2),
        flip=flip,
        brightness=0.5,
        contrast=0.5,
        saturation=0.5,
        erase=1.0,
        erased=(0.05, 0.25),
    )


def as_pictures(images: np.ndarray) -> Tensor:
    """float32 `[N, C, H, W]` in 0 to 1, of uint8 `[N, H, W]` or `[N, H, W, C]`. Raises BadInput: anything else."""
    if images.dtype != np.uint8 or images.ndim not in (3, 4):
        raise bad("images", "uint8 [N, H, W] or [N, H, W, C]", f"{images.dtype} {list(images.shape)}")
    pixels = torch.from_numpy(np.ascontiguousarray(images))
    return (pixels[:, None] if pixels.ndim == 3 else pixels.permute(0, 3, 1, 2)).float().div_(255).contiguous()


def view(x_BCHW: Tensor, config: ViewConfig, generator: torch.Generator) -> Tensor:
    """One view of each picture, of the same dtype and on the same device; the input is not changed.

    Raises:
        BadInput: not a batch of float pictures, or a normalisation for another number of channels.
    """
    if x_BCHW.ndim != 4 or not x_BCHW.is_floating_point():
        got = f"{x_BCHW.dtype} {list(x_BCHW.shape)}"
        raise bad("pictures", "a float tensor [B, C, H, W] in 0 to 1", got, "Of uint8 arrays `as_pictures` makes one.")
    draw = _Draw(x_BCHW, generator)
    if config.moves:
        x_BCHW = _resample(x_BCHW, config, draw)
    elif config.flip:
        x_BCHW = torch.where(draw.chance(config.flip), x_BCHW.flip(-1), x_BCHW)
    if config.brightness or config.contrast or config.saturation or config.hue:
        x_BCHW = torch.where(draw.chance(config.jitter), _jitter(x_BCHW, config, draw), x_BCHW)
    if config.grey and x_BCHW.shape[1] == 3:
        x_BCHW = torch.where(draw.chance(config.grey), _grey(x_BCHW).expand_as(x_BCHW), x_BCHW)
    if config.blur:
        x_BCHW = _some_blurred(x_BCHW, config, draw)
    if config.solarize:
        inverted = draw.chance(config.solarize) & (x_BCHW >= 0.5)
        x_BCHW = torch.where(inverted, 1 - x_BCHW, x_BCHW)
    if config.erase:
        x_BCHW = x_BCHW.masked_fill(_rectangles(x_BCHW, config, draw), 0.0)
    if config.mean:
        if x_BCHW.shape[1] != len(config.mean):
            raise BadInput(f"The normalisation has {len(config.mean)} channels, the pictures {x_BCHW.shape[1]}.")
        mean, std = (x_BCHW.new_tensor(v)[:, None, None] for v in (config.mean, config.std))
        x_BCHW = (x_BCHW - mean) / std
    return x_BCHW


class _Draw:
    """Draws for each picture of a batch, `[B, 1, 1, 1]`, made where the generator lives and moved to the pictures."""

    def __init__(self, x_BCHW: Tensor, generator: torch.Generator) -> None:
        self.like, self.generator = x_BCHW, generator

    def between(self, low: float, high: float) -> Tensor:
        unit = torch.rand(len(self.like), generator=self.generator, device=self.generator.device)
        return (low + (high - low) * unit).to(self.like)[:, None, None, None]

    def chance(self, share: float) -> Tensor:
        return self.between(0.0, 1.0) < share


def _resample(x_BCHW: Tensor, config: ViewConfig, draw: _Draw) -> Tensor:
    B, C, H, W = x_BCHW.shape
    theta_B23 = _affine(config, draw, H / W)
    edge = (H, W) if config.size is None else (config.size, config.size)
    grid = F.affine_grid(theta_B23, [B, C, *edge], align_corners=False)
    out = F.grid_sample(x_BCHW, grid, mode=config.resample, padding_mode=config.outside, align_corners=False)
    return out.clamp(0, 1) if config.resample == "bicubic" else out


def _affine(config: ViewConfig, draw: _Draw, tall: float) -> Tensor:
    """Where each place of a view lies in its picture, `[B, 2, 3]`; places run from -1 to 1. `tall`: height to width."""
    degrees = math.pi / 180
    turn, slant = (draw.between(-d * degrees, d * degrees) for d in (config.rotate, config.shear))
    zoom = draw.between(*config.zoom)
    right, down = (draw.between(-2 * config.shift, 2 * config.shift) for _ in range(2))
    wide = high = torch.ones_like(zoom)
    if config.crop is not None:
        area = draw.between(*config.crop)
        aspect = draw.between(*(math.log(a) for a in config.aspect)).exp() * tall
        wide, high = ((area * a).sqrt().clamp(max=1) for a in (aspect, 1 / aspect))
        right, down = (m + draw.between(-1, 1) * (1 - edge) for m, edge in ((right, wide), (down, high)))
    mirror = torch.where(draw.chance(config.flip), -1.0, 1.0).to(zoom)
    cos, sin = turn.cos() / zoom, turn.sin() / zoom
    # The turn is one of pixels, whose places are not square where the picture is not.
    row = [cos * wide * mirror, (cos * slant.tan() - sin) * high * tall, right]
    column = [sin * wide * mirror / tall, (sin * slant.tan() + cos) * high, down]
    return torch.stack([torch.cat([t.flatten(1) for t in r], 1) for r in (row, column)], 1)


def _grey(x_BCHW: Tensor) -> Tensor:
    """Brightness `[B, 1, H, W]`."""
    if x_BCHW.shape[1] != 3:
        return x_BCHW.mean(1, keepdim=True)
    return (x_BCHW * x_BCHW.new_tensor(GREY)[:, None, None]).sum(1, keepdim=True)


def _jitter(x_BCHW: Tensor, config: ViewConfig, draw: _Draw) -> Tensor:
    """Brightness, contrast, saturation and hue. Colours are changed only where there are three channels."""
    bright, contrast, colour = (
        draw.between(max(0.0, 1 - by), 1 + by) for by in (config.brightness, config.contrast, config.saturation)
    )
    x = (x_BCHW * bright).clamp(0, 1)
    mean = _grey(x).mean((2, 3), keepdim=True)
    x = (mean + contrast * (x - mean)).clamp(0, 1)
    if x.shape[1] != 3 or not (config.saturation or config.hue):
        return x
    turn = draw.between(-2 * math.pi * config.hue, 2 * math.pi * config.hue)[:, 0, 0].float()  # B 1
    to_yiq = torch.tensor([GREY, (0.596, -0.274, -0.322), (0.211, -0.523, 0.312)], device=x.device)
    one, none = torch.ones_like(turn), torch.zeros_like(turn)
    cos, sin = (f(turn) * colour[:, 0, 0] for f in (torch.cos, torch.sin))
    turned = torch.stack([torch.cat(r, 1) for r in ((one, none, none), (none, cos, -sin), (none, sin, cos))], 1)
    mixed = torch.linalg.solve(to_yiq, turned @ to_yiq).to(x)  # B 3 3
    return torch.einsum("bij,bjhw->bihw", mixed, x).clamp(0, 1)


def _some_blurred(x_BCHW: Tensor, config: ViewConfig, draw: _Draw) -> Tensor:
    sigma, chosen = draw.between(*config.sigma), draw.chance(config.blur).flatten().nonzero()[:, 0]
    if len(chosen) == len(x_BCHW):
        return blurred(x_BCHW, sigma.flatten())
    out = x_BCHW.clone()
    out[chosen] = blurred(x_BCHW[chosen], sigma.flatten()[chosen])
    return out


def blurred(x_BCHW: Tensor, sigma_B: Tensor) -> Tensor:
    """Gaussian blur, each picture with its own width in pixels; at edges the weights of what is there add up to 1."""
    down, along = (_weights(x_BCHW.shape[d], sigma_B) for d in (2, 3))
    return down[:, None] @ x_BCHW @ along[:, None].mT


def _weights(edge: int, sigma_B: Tensor) -> Tensor:
    place = torch.arange(edge, device=sigma_B.device, dtype=sigma_B.dtype)
    return (-0.5 * ((place[:, None] - place) / sigma_B[:, None, None]).square()).softmax(-1)


def _rectangles(x_BCHW: Tensor, config: ViewConfig, draw: _Draw) -> Tensor:
    """True in the rectangle to be erased, `[B, 1, H, W]`."""
    H, W = x_BCHW.shape[-2:]
    area, aspect = draw.between(*config.erased), draw.between(-1, 1).mul(math.log(3)).exp()  # 1/3 to 3
    wide, high = ((area * a).sqrt().clamp(max=1) for a in (aspect, 1 / aspect))
    left, top = (draw.between(0, 1) * (1 - edge) for edge in (wide, high))
    across, down = ((torch.arange(n, device=area.device) + 0.5).to(area) / n for n in (W, H))
    inside = (across >= left) & (across < left + wide) & (down[:, None] >= top) & (down[:, None] < top + high)
    return inside & draw.chance(config.erase)
