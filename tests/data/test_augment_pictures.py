"""Views of pictures: geometry, colours and chances against plain formulas, and equal draws for equal generators."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from smidgen.data.augment.pictures import (
    GREY,
    ViewConfig,
    as_pictures,
    blurred,
    published_pair,
    small_pair,
    strong,
    view,
    weak,
)
from smidgen.kit.errors import BadInput


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def ramps(count: int, H: int, W: int) -> torch.Tensor:
    """Channel 0: place along the width, 0 to 1; channel 1: down the height."""
    across, down = ((torch.arange(n) + 0.5) / n for n in (W, H))
    return torch.stack([across.expand(H, W), down[:, None].expand(H, W)])[None].repeat(count, 1, 1, 1)


@pytest.mark.parametrize("pipeline", [published_pair(16), small_pair(0.5), weak(0.5), strong(0.5)])
def test_equal_generators_give_equal_views_and_each_picture_its_own(pipeline):
    x = torch.rand(1, 3, 16, 16, generator=seeded(1)).repeat(6, 1, 1, 1)
    before = x.clone()
    if isinstance(pipeline, ViewConfig):
        a, again, b = pipeline(x, seeded()), pipeline(x, seeded()), pipeline(x, seeded(3))
    else:
        (a, b), (again, _) = pipeline(x, seeded()), pipeline(x, seeded())
    assert torch.equal(a, again) and torch.equal(x, before) and a.shape == x.shape
    assert not torch.equal(a, b) and len({tuple(p.flatten().tolist()) for p in a}) == 6
    if not isinstance(pipeline, type(published_pair())) or not pipeline.first.mean:
        assert a.min() >= 0 and a.max() <= 1


def test_a_crop_keeps_its_share_and_shape_and_lies_inside():
    config = ViewConfig(crop=(0.3, 0.6), aspect=(0.8, 1.25))
    seen = view(ramps(300, 40, 60), config, seeded())
    across, down = seen[:, 0, 20, :], seen[:, 1, :, 30]
    wide, high = (across[:, -1] - across[:, 0]) * 60 / 59, (down[:, -1] - down[:, 0]) * 40 / 39
    area, aspect = wide * high, wide * 60 / (high * 40)
    assert area.min() > 0.29 and area.max() < 0.61 and area.max() - area.min() > 0.25
    assert aspect.min() > 0.78 and aspect.max() < 1.28 and aspect.std() > 0.1
    middle = across.mean(1)
    assert (middle >= wide / 2 - 0.01).all() and (middle <= 1 - wide / 2 + 0.01).all() and middle.std() > 0.05


def test_a_flip_without_and_with_resampling_is_the_mirror_image():
    x = torch.rand(4, 2, 6, 8, generator=seeded())
    assert torch.equal(view(x, ViewConfig(flip=1.0), seeded()), x.flip(-1))
    whole = ViewConfig(flip=1.0, crop=(1, 1), aspect=(8 / 6, 8 / 6))
    assert torch.allclose(view(x, whole, seeded()), x.flip(-1), atol=1e-5)
    flipped = view(x[:1].repeat(2000, 1, 1, 1), ViewConfig(flip=0.3), seeded())
    assert (flipped[:, 0, 0, 0] != x[0, 0, 0, 0]).float().mean().item() == pytest.approx(0.3, abs=0.04)


def test_turns_are_turns_of_pixels_and_shifts_end_where_they_should():
    place = torch.stack(torch.meshgrid(torch.arange(40.0), torch.arange(80.0), indexing="ij"))
    dot = (-((place[0] - 19.5) ** 2 + (place[1] - 51.5) ** 2) / 8).exp()[None, None].repeat(200, 1, 1, 1)

    def centre(x):
        return torch.stack([(x[:, 0] * p).sum((1, 2)) / x[:, 0].sum((1, 2)) for p in place], 1)

    off = centre(view(dot, ViewConfig(rotate=60), seeded())) - torch.tensor([19.5, 39.5])
    assert torch.allclose(off.norm(dim=1), torch.full((200,), 12.0), atol=0.05)
    angle = torch.atan2(off[:, 0], off[:, 1]).rad2deg()
    assert angle.abs().max() < 60.5 and angle.max() > 55 and angle.min() < -55
    moved = centre(view(dot, ViewConfig(shift=0.1), seeded())) - torch.tensor([19.5, 51.5])
    assert (moved.abs().amax(0) <= torch.tensor([4.01, 8.01])).all()
    assert (moved.abs().amax(0) > torch.tensor([3.8, 7.6])).all()
    large = view(dot, ViewConfig(zoom=(1.5, 1.5)), seeded())
    assert torch.allclose(centre(large) - torch.tensor([19.5, 39.5]), torch.tensor([0.0, 18.0]), atol=0.05)


def test_blur_is_gaussian_and_each_picture_has_its_own():
    x = torch.rand(3, 2, 41, 41, generator=seeded(), dtype=torch.float64)
    sigma = torch.tensor([0.1, 1.0, 2.5], dtype=torch.float64)
    out = blurred(x, sigma)
    for k, s in enumerate(sigma):
        expected = gaussian_filter(x[k, 0].numpy(), float(s), truncate=6)
        assert np.allclose(out[k, 0, 17:24, 17:24], expected[17:24, 17:24], atol=1e-6)
    assert torch.allclose(blurred(torch.ones_like(x), sigma), torch.ones_like(x))  # edges do not darken
    some = view(x.repeat(100, 1, 1, 1), ViewConfig(blur=0.25, sigma=(2, 2)), seeded())
    assert (some != x.repeat(100, 1, 1, 1)).flatten(1).any(1).float().mean().item() == pytest.approx(0.25, abs=0.08)


def test_colours():
    x = 0.3 + 0.3 * torch.rand(500, 3, 5, 5, generator=seeded())
    brightness = torch.tensor(GREY)[:, None, None]
    bright = view(x, ViewConfig(brightness=0.4), seeded()) / x
    assert torch.allclose(bright, bright[:, :1, :1, :1].expand_as(bright), atol=1e-5)
    assert 0.6 <= bright.min() < 0.62 and 1.38 < bright.max() <= 1.4001
    turned = view(x, ViewConfig(hue=0.05, saturation=0.2), seeded())
    assert torch.allclose((turned * brightness).sum(1), (x * brightness).sum(1), atol=0.02)
    assert (turned - x).abs().mean() > 0.01
    lost = view(x, ViewConfig(grey=1.0), seeded())
    assert torch.allclose(lost, (x * brightness).sum(1, keepdim=True).expand_as(x))
    contrast = view(x[:, :1], ViewConfig(contrast=0.5), seeded())
    ratio = contrast.std((1, 2, 3)) / x[:, :1].std((1, 2, 3))
    assert torch.allclose(contrast.mean((1, 2, 3)), x[:, :1].mean((1, 2, 3)), atol=1e-5)
    assert 0.5 <= ratio.min() < 0.53 and 1.47 < ratio.max() < 1.5001
    unjittered = view(x, ViewConfig(brightness=0.4, jitter=0.0), seeded())
    assert torch.equal(unjittered, x)
    inverted = view(x, ViewConfig(solarize=1.0), seeded())
    assert torch.equal(inverted, torch.where(x >= 0.5, 1 - x, x))


def test_erasing_and_normalisation():
    x = torch.ones(400, 1, 50, 50)
    share = 1 - view(x, ViewConfig(erase=1.0, erased=(0.05, 0.25)), seeded()).mean((1, 2, 3))
    assert 0.04 < share.min() < 0.07 and 0.22 < share.max() < 0.27
    hit = view(x, ViewConfig(erase=0.4), seeded()).mean((1, 2, 3)) < 1
    assert hit.float().mean().item() == pytest.approx(0.4, abs=0.08)
    out = view(x, ViewConfig(mean=(0.5,), std=(0.25,)), seeded())
    assert torch.equal(out, torch.full_like(x, 2.0))


def test_what_is_no_batch_of_pictures_is_told(data_folder):
    with np.load(data_folder / "mnist10k" / "test.npz") as file:
        images = file["images"][:20]
    pictures = as_pictures(images)
    assert pictures.shape == (20, 1, 28, 28) and float(pictures.max()) == 1.0
    assert torch.equal((pictures[:, 0] * 255).round().byte(), torch.from_numpy(images))
    for wrong in (pictures[0], (pictures * 255).byte()):
        with pytest.raises(BadInput, match=r"float tensor \[B, C, H, W\]"):
            view(wrong, weak(), seeded())
    with pytest.raises(BadInput, match="3 channels, the pictures 1"):
        view(pictures, published_pair(28).first, seeded())
    with pytest.raises(BadInput, match="crop"):
        replace(weak(), crop=(0.5, 1.5))
