"""Compact transformers against plain formulas, published sizes and what must not change the answer."""

import pytest
import torch
import torch.nn.functional as F

from smidgen.kit.errors import BadInput
from smidgen.nets import compact_presets as presets
from smidgen.nets.compact_blocks import DropPath, SeqPool
from smidgen.nets.compact_positions import resize_positional_embedding
from smidgen.nets.compact_text import TextCompactTransformer, TextTokenizer, text_cct
from smidgen.nets.compact_weights import from_reference, load_reference, to_reference
from smidgen.nets.conv_tokenizer import ConvTokenizer


def pictures(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def plain(state, x, heads, convs, class_token=False, slip=True):
    """The authors' network, step by step, from weights under the authors' names. `slip`: their place of the norm."""

    def norm(h, name):
        return F.layer_norm(h, h.shape[-1:], state[name + ".weight"], state[name + ".bias"])

    def linear(h, name):
        return h @ state[name + ".weight"].T + state.get(name + ".bias", 0)

    for i in range(convs):
        w = state[f"tokenizer.conv_layers.{i}.0.weight"]
        if class_token:
            x = F.conv2d(x, w, state[f"tokenizer.conv_layers.{i}.0.bias"], stride=w.shape[-1])
        else:
            x = F.max_pool2d(F.conv2d(x, w, padding=1).relu(), 3, 2, 1)
    x = x.flatten(2).mT
    if class_token:
        x = torch.cat([state["classifier.class_emb"].expand(len(x), -1, -1), x], 1)
    x = x + state["classifier.positional_emb"]
    depth = 1 + max(int(name.split(".")[2]) for name in state if "blocks" in name)
    for i in range(depth):
        at = f"classifier.blocks.{i}."
        q, k, v = linear(norm(x, at + "pre_norm"), at + "self_attn.qkv").chunk(3, -1)
        mixed = []
        for q_h, k_h, v_h in zip(*(t.chunk(heads, -1) for t in (q, k, v)), strict=True):
            mixed.append((q_h @ k_h.mT / q_h.shape[-1] ** 0.5).softmax(-1) @ v_h)
        x = x + linear(torch.cat(mixed, -1), at + "self_attn.proj")
        h = norm(x, at + "norm1")
        x = (h if slip else x) + linear(F.gelu(linear(h, at + "linear1")), at + "linear2")
    x = norm(x, "classifier.norm")
    if class_token:
        return linear(x[:, 0], "classifier.fc")
    weights = linear(x, "classifier.attention_pool").softmax(1)
    return linear((weights * x).sum(1), "classifier.fc")


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("cct_2/3x2", 283_723),
        ("cct_4/3x2", 482_123),
        ("cct_6/3x1", 3_233_803),
        ("cct_7/3x1", 3_760_139),
        ("cct_14_7x2_224", 22_367_273),
        ("cvt_7/4", 3_716_619),
        ("vit_lite_2/4", 214_666),
    ],
)
def test_parameters_are_as_many_as_by_hand(name, count):
    """cct_7/3x1, say: 9 x 3 x 256; 256 x 256 places; 7 x (3 D^2 + D^2 + D + 2 x 2 D + 2 x 2 D^2 + 3 D); 2 D; D + 1; 10
    D + 10."""
    assert sum(p.numel() for p in presets.create(name).parameters()) == count


@pytest.mark.parametrize("slip", [True, False])
@pytest.mark.parametrize("name", ["cct_2/3x2", "vit_lite_2/4"])
def test_forward_is_the_plain_formula(name, slip):
    net = presets.create(name, image_size=(16, 24), in_channels=2, reference_norm=slip, seed=1).eval()
    for i, p in enumerate(net.parameters()):  # biases and norms that do something
        with torch.no_grad():
            p.add_(0.1 * pictures(*p.shape, seed=i))
    theirs, x = to_reference(net.state_dict()), pictures(3, 2, 16, 24)
    expected = plain(theirs, x, 2, convs=2 if "cct" in name else 1, class_token="vit" in name, slip=slip)
    torch.testing.assert_close(net(x), expected, rtol=1e-4, atol=1e-5)
    if "cct" in name:
        assert net.pool_weights(x).shape == (3, *net.grid()) == (3, 4, 6)
        torch.testing.assert_close(net.pool_weights(x).sum((1, 2)), torch.ones(3))
    else:
        with pytest.raises(BadInput, match="pooling weights"):
            net.pool_weights(x)


@pytest.mark.parametrize("family", ["cvt_2/4", "vit_lite_2/4"])
def test_without_positions_the_order_of_patches_says_nothing(family):
    x = pictures(2, 3, 8, 8)
    turned = torch.cat([x[:, :, 4:], x[:, :, :4]], 2)
    blind = presets.create(family, image_size=None, pos="none").eval()
    torch.testing.assert_close(blind(x), blind(turned), rtol=1e-4, atol=1e-5)
    seeing = presets.create(family, image_size=8).eval()
    assert (seeing(x) - seeing(turned)).abs().max() > 1e-3


@pytest.mark.parametrize("settings", [{}, {"kernel_size": 7, "n_layers": 2}, {"kernel_size": 4, "stride": 3},
                                      {"kernel_size": 2, "padding": 0, "pool": None}, {"pool": (2, 2, 0)}])  # fmt: skip
def test_sequence_length_is_what_comes_out(settings):
    tokenizer = ConvTokenizer(1, 4, **settings)
    for h, w in ((9, 14), (16, 16), (31, 20)):
        assert tokenizer(pictures(1, 1, h, w)).shape == (1, tokenizer.sequence_length(h, w), 4)


@pytest.mark.parametrize("first", [0, 1])
def test_positions_are_resized_on_their_grid(first):
    """A bicubic reading of a constant is the constant, and of a plane, away from its rims, the plane."""
    rows, columns = torch.meshgrid(torch.arange(8.0), torch.arange(6.0), indexing="ij")
    table = torch.stack([rows, columns, torch.full_like(rows, 5)], -1).reshape(1, 48, 3)
    table = torch.cat([torch.full((1, first, 3), -1.0), table], 1)
    state = {"encoder.positional_embedding": table, "head.bias": torch.zeros(2)}
    new = resize_positional_embedding(state, (8, 6), (16, 12))["encoder.positional_embedding"]
    assert new.shape == (1, first + 16 * 12, 3)
    assert torch.equal(new[:, :first], table[:, :first])
    grid = new[:, first:].reshape(16, 12, 3)
    inner = grid[4:-4, 4:-4]
    torch.testing.assert_close(inner[:, 0, 0], (torch.arange(4.0, 12) + 0.5) / 2 - 0.5)
    torch.testing.assert_close(inner[0, :, 1], (torch.arange(4.0, 8) + 0.5) / 2 - 0.5)
    torch.testing.assert_close(grid[..., 2], torch.full((16, 12), 5.0))
    same = resize_positional_embedding(state, (8, 6), (8, 6))
    assert torch.equal(same["encoder.positional_embedding"], table) and same["head.bias"] is state["head.bias"]
    with pytest.raises(BadInput, match="7 x 6 places"):
        resize_positional_embedding(state, (7, 6), (8, 8))


def test_weights_of_the_authors_come_in_at_another_size_and_task():
    old = presets.create("cct_2/3x2", image_size=16, reference_norm=True, seed=3)
    theirs = {"state_dict": {"module." + name: value for name, value in to_reference(old.state_dict()).items()}}
    assert all(torch.equal(v, old.state_dict()[k]) for k, v in from_reference(theirs).items())
    new = presets.create("cct_2/3x2", image_size=(16, 32), num_classes=4, reference_norm=True)
    with pytest.warns(UserWarning, match="10 classes apart, this network 4"):
        load_reference(new, theirs)
    x = pictures(1, 3, 16, 16)
    loaded = presets.create("cct_2/3x2", image_size=16, reference_norm=True)
    assert torch.equal(load_reference(loaded, theirs)(x), old.eval()(x))
    assert new(pictures(1, 3, 16, 32)).shape == (1, 4)
    with pytest.raises(BadInput, match="reference_norm=True"):
        load_reference(presets.create("cct_2/3x2", image_size=16), theirs)
    with pytest.raises(BadInput, match="lack"):
        load_reference(presets.create("cct_4/3x2", image_size=16, reference_norm=True), theirs)


def test_sine_positions_are_a_table_that_nothing_trains():
    net = presets.create("cct_2_3x2_32_sine")
    assert "encoder.positional_embedding" not in dict(net.named_parameters())
    table = net.state_dict()["encoder.positional_embedding"][0]
    assert table.shape == (64, 128)
    place, pair = 5, 3
    angle = torch.tensor(place / 10000 ** (2 * pair / 128))
    torch.testing.assert_close(table[place, 2 * pair : 2 * pair + 2], torch.stack([angle.sin(), angle.cos()]))


def test_pooling_does_not_see_masked_tokens():
    pool, x = SeqPool(8), pictures(2, 5, 8)
    mask = torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]]).bool()
    torch.testing.assert_close(pool(x, mask)[:1], pool(x[:1, :3]))
    assert torch.equal(pool.weights(x, mask)[0, 3:], torch.zeros(2))
    torch.testing.assert_close(pool(x, ~torch.ones_like(mask)), x.mean(1))  # nothing to tell by: a plain mean
    with pytest.raises(BadInput, match="mask"):
        pool(x, mask.float())


def test_stochastic_depth_leaves_out_whole_rows_and_keeps_the_mean():
    drop, x = DropPath(0.25), torch.ones(4000, 2, 3)
    drop.generator = torch.Generator().manual_seed(0)
    out = drop(x)
    assert out.unique().tolist() == [0.0, pytest.approx(1 / 0.75)]
    assert torch.equal(out.amax((1, 2)), out.amin((1, 2)))
    assert abs(float(out.mean()) - 1) < 4 * (0.25 / 0.75 / 4000) ** 0.5
    assert torch.equal(drop.eval()(x), x)
    net = presets.create("cct_7/3x1", stochastic_depth=0.12)
    assert [block.drop_path.rate for block in net.encoder.blocks] == pytest.approx([0.02 * i for i in range(7)])


def test_first_weights_and_draws_depend_on_their_seed_alone():
    def outcome(seed):
        torch.rand(seed + 1)
        net = presets.create("cct_2/3x2", attn_dropout=0.0, stochastic_depth=0.5, seed=seed)
        net.draw_from(torch.Generator().manual_seed(seed))
        return net(pictures(8, 3, 32, 32))

    before = torch.random.get_rng_state()
    a = outcome(1)
    assert torch.equal(a, outcome(1)) and not torch.equal(a, outcome(2))
    torch.random.set_rng_state(before)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: presets.cct_2(32, heads=3), "multiple of the 3 heads"),
        (lambda: presets.cct_2(2, kernel_size=7, n_layers=2, padding=0), "large enough for one token"),
        (lambda: presets.cct_2(None), "a size for pos"),
        (lambda: presets.cvt_2(30), "multiples of the patch of 4"),
        (lambda: presets.cct_2(32, 1)(pictures(1, 3, 32, 32)), "1 channels"),
        (lambda: presets.cct_2(32)(pictures(1, 3, 16, 64)), "32 x 32 pixels"),
        (lambda: presets.create("cct_5/3x1"), "one of 2, 4, 6, 7, 14"),
        (lambda: presets.create("cct_7/4"), "kernel x layers"),
        (lambda: presets.create("resnet_9"), "no compact transformer"),
        (lambda: presets.register("cct_7_3x1_32"), "a new one"),
        (lambda: from_reference({"stem.weight": 1}), "stem.weight"),
    ],
)
def test_mistakes_are_told(make, says):
    with pytest.raises(ValueError, match=says):
        make()


def test_names_are_those_of_the_paper_and_of_the_authors():
    assert presets.settings_of("CCT-7/3x1") == presets.settings_of("cct_7_3x1_32")
    assert {"cct_14_7x2_384", "cvt_7_4_32_sine", "vit_lite_2_4_32"} <= set(presets.names())
    assert presets.settings_of("cct_7_3x1_32_sine_c100")["num_classes"] == 100


@pytest.mark.parametrize("settings", [{"kernel_size": 4}, {"kernel_size": 3, "n_layers": 2}, {"pool": "cls"}])
def test_what_follows_a_text_does_not_change_it(settings):
    net = text_cct(2, 30, 20, 3, embed=12, **settings).eval()
    ids = torch.tensor([[4, 9, 2, 7, 7, 1, 29]])
    longer = F.pad(ids, (0, 13))
    torch.testing.assert_close(net(longer), net(ids))
    noise = longer.clone()
    noise[:, 7:] = 5
    torch.testing.assert_close(net(noise, longer != 0), net(ids))
    assert (net(longer) - net(noise)).abs().max() > 1e-4
    if settings.get("pool") != "cls":
        assert int((net.pool_weights(longer) > 0).sum()) == net.tokenizer.sequence_length(7)
    assert net(torch.zeros(2, 5, dtype=torch.long)).isfinite().all()
    with pytest.raises(ValueError, match="1 to 20 words"):
        net(torch.zeros(1, 21, dtype=torch.long))
    with pytest.raises(ValueError, match="from 0 to 29"):
        net(ids + 1)


def test_the_mask_of_tokens_is_pooled_with_the_stride():
    tokenizer = TextTokenizer(3, 4, kernel_size=3)
    mask = torch.zeros(1, 12, dtype=torch.bool)
    mask[:, :5] = True
    x, kept = tokenizer(pictures(1, 12, 3), mask)
    assert kept[0].tolist() == [True] * 3 + [False] * 3  # of places 0, 2, 4
    assert torch.equal(x[0, 3:], torch.zeros(3, 4))
    assert isinstance(TextCompactTransformer(9, 8), torch.nn.Module)
