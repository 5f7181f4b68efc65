"""The hybrid network against plain formulas: attention with its bias written out, names, sizes, memory."""

import pytest
import torch
import torch.nn.functional as F

from smidgen.kit.errors import BadInput
from smidgen.nets.hybrid_blocks import MBConv, RelPosAttention2d, RelPosBias, resize_table
from smidgen.nets.hybrid_net import HybridNet, HybridStageConfig
from smidgen.nets.hybrid_sizes import STACKS, astroformer, coatnet, counts, decay_groups, hybrid, stack, widened


def random(seed=0):
    return torch.Generator().manual_seed(seed)


def small(letters="C-T", image_size=16, **kw):
    n = len(letters.split("-"))
    stages = stack(letters, (32,) * n, (1,) * n, (2,) * n)
    return HybridNet(stages, 8, 3, image_size, stem_stride=1, **kw)


@pytest.mark.parametrize("kind", ["bias", "bias_tf", "mlp"])
def test_the_bias_depends_on_the_offset_alone(kind):
    bias = RelPosBias((3, 4), 2, kind, hidden=8)
    for p in bias.parameters():
        p.data.normal_(generator=random())
    made = bias().detach()
    at = [(i // 4, i % 4) for i in range(12)]
    seen = {}
    for i in range(12):
        for j in range(12):
            offset = (at[i][0] - at[j][0], at[i][1] - at[j][1])
            assert torch.equal(seen.setdefault(offset, made[:, i, j]), made[:, i, j])
    assert len({tuple(v.tolist()) for v in seen.values()}) == len(seen) == 35


def test_attention_is_the_sum_that_it_says():
    layer = RelPosAttention2d(6, 64, (2, 3))
    layer.rel_pos.relative_position_bias_table.data.normal_(generator=random())
    x = torch.randn(2, 6, 2, 3, generator=random(1))
    got = layer(x)
    qkv = F.conv2d(x, layer.qkv.weight, layer.qkv.bias).flatten(2)
    heads = []
    for h in range(2):
        q, k, v = qkv[:, 96 * h : 96 * (h + 1)].mT.split(32, -1)
        scores = q @ k.mT / 32**0.5 + layer.rel_pos()[h]
        heads.append(scores.softmax(-1) @ v)
    want = F.conv2d(torch.cat(heads, -1).mT.reshape(2, 64, 2, 3), layer.proj.weight, layer.proj.bias)
    assert torch.allclose(got, want, atol=1e-5)


def test_an_mbconv_block_is_the_chain_that_it_says():
    block = MBConv(8, 16, 2).eval()
    for m in block.modules():
        if isinstance(m, torch.nn.BatchNorm2d):
            m.running_mean.normal_(generator=random())
            m.running_var.uniform_(0.5, 2, generator=random())
    x = torch.randn(2, 8, 6, 6, generator=random(1))

    def norm(layer, h):
        return F.batch_norm(h, layer.running_mean, layer.running_var, layer.weight, layer.bias)

    h = F.gelu(norm(block.norm1, F.conv2d(norm(block.pre_norm, x), block.conv1_1x1.weight)))
    h = F.gelu(norm(block.norm2, F.conv2d(h, block.conv2_kxk.weight, stride=2, padding=1, groups=64)))
    gate = F.silu(F.conv2d(h.mean((2, 3), keepdim=True), block.se.fc1.weight, block.se.fc1.bias))
    h = h * F.conv2d(gate, block.se.fc2.weight, block.se.fc2.bias).sigmoid()
    h = F.conv2d(h, block.conv3_1x1.weight, block.conv3_1x1.bias)
    pooled = F.avg_pool2d(x, 2)
    want = h + F.conv2d(pooled, block.shortcut.expand.weight, block.shortcut.expand.bias)
    assert block.se.fc1.weight.shape[0] == 4 and torch.allclose(block(x), want, atol=1e-5)


def test_sizes_have_the_parameters_of_the_published_design():
    with torch.device("meta"):
        for size, millions in (("0", 25.04), ("1", 42.23)):  # timm's coatnet_0_224 and coatnet_1_224
            net = coatnet(size, num_classes=1000, image_size=224)
            assert sum(p.numel() for p in net.parameters()) / 1e6 == pytest.approx(millions, abs=0.005)
        ours = astroformer("0")
    assert [c.block for c in ours.configs] == ["C", "C", "C", "T"] and ours.image_size == 256
    net = hybrid("C-C-C-T", "nano")
    shapes = [tuple(f.shape[1:]) for f in net.forward_features(torch.zeros(2, 3, 32, 32))]
    assert shapes == [(24, 32, 32), (32, 32, 32), (64, 16, 16), (96, 8, 8), (192, 4, 4)]


def test_work_is_counted_layer_by_layer():
    net = small("T", 4)
    conv = 16 * (3 * 8 + 8 * 8) * 9  # the stem at 4 x 4
    attention = 4 * (8 * 96 + 32 * 32) + 2 * 32 * 4 * 4  # at 2 x 2
    rest = 4 * 8 * 32 + 4 * 2 * 32 * 128 + 32 * 32 + 32 * 3  # shortcut, the two layers a place, the head
    assert counts(net).macs == conv + attention + rest and counts(net).flops == 2 * counts(net).macs
    assert net.training


def test_names_are_timms():
    names = set(small("C-T").state_dict())
    for name in (
        "stem.conv1.weight", "stem.norm1.running_mean", "stem.conv2.weight", "stages.0.blocks.0.shortcut.expand.bias",
        "stages.0.blocks.0.pre_norm.weight", "stages.0.blocks.0.conv1_1x1.weight", "stages.0.blocks.0.norm1.weight",
        "stages.0.blocks.0.conv2_kxk.weight", "stages.0.blocks.0.norm2.bias", "stages.0.blocks.0.se.fc1.bias",
        "stages.0.blocks.0.conv3_1x1.bias", "stages.1.blocks.0.norm1.norm.weight", "stages.1.blocks.0.attn.qkv.bias",
        "stages.1.blocks.0.attn.rel_pos.relative_position_bias_table", "stages.1.blocks.0.attn.proj.weight",
        "stages.1.blocks.0.norm2.weight", "stages.1.blocks.0.mlp.fc1.weight", "stages.1.blocks.0.mlp.fc2.bias",
        "head.norm.weight", "head.pre_logits.fc.weight", "head.fc.bias",
    ):  # fmt: skip
        assert name in names
    assert len({n for n in names if n.startswith("stem")}) == 7


def test_tables_go_to_another_window():
    grid = torch.arange(5.0)[:, None] * 2 + torch.arange(5.0)  # linear: kept by interpolation
    table = grid.flatten()[:, None].repeat(1, 2)
    wide = resize_table(table, (3, 3), (5, 5)).T.unflatten(1, (9, 9))
    want = torch.linspace(0, 4, 9)[:, None] * 2 + torch.linspace(0, 4, 9)
    assert torch.allclose(wide[0, 2:-2, 2:-2], want[2:-2, 2:-2], atol=1e-5)
    assert torch.allclose(resize_table(grid[None], (3, 3), (5, 5))[0], wide[0])
    assert torch.equal(resize_table(table, (3, 3), (3, 3)), table)
    source = small(seed=1)
    state = source.state_dict() | {"stages.1.blocks.0.attn.rel_pos.relative_position_index": torch.zeros(1)}
    same = small(seed=2)
    same.load_weights(state)
    x = torch.randn(2, 3, 16, 16, generator=random())
    assert torch.equal(same.eval()(x), source.eval()(x))
    larger = small(image_size=32, seed=2)
    with pytest.raises(BadInput, match="resize_rel_pos"):
        larger.load_weights(state)
    larger.load_weights(state, resize_rel_pos=True)
    assert larger(torch.zeros(2, 3, 32, 32)).shape == (2, 3)
    with pytest.raises(BadInput, match="do not fit"):
        small("C-C").load_weights(state)


def test_checkpointing_changes_nothing_but_memory():
    x = torch.randn(6, 3, 16, 16, generator=random())
    grads, buffers = [], []
    for stages in (False, True, [1]):
        net = small(drop_path=0.3)
        net.set_checkpointing(stages)
        torch.manual_seed(0)
        net(x).square().sum().backward()
        grads.append([p.grad for p in net.parameters()])
        buffers.append([b.clone() for b in net.buffers()])
    for other in (1, 2):
        assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(grads[0], grads[other], strict=True))
        assert all(torch.equal(a, b) for a, b in zip(buffers[0], buffers[other], strict=True))
    with pytest.raises(BadInput, match="0 to 1"):
        net.set_checkpointing([2])


def test_weight_decay_spares_tables_biases_and_norms():
    for rel_pos in ("bias", "mlp"):
        net = small(rel_pos=rel_pos)
        decayed, spared = decay_groups(net, 0.1)
        names = {p: n for n, p in net.named_parameters()}
        assert not any("rel_pos" in names[p] or p.ndim < 2 for p in decayed["params"])
        assert len(decayed["params"]) + len(spared["params"]) == len(names)
        assert any("rel_pos" in names[p] for p in spared["params"]) and spared["weight_decay"] == 0


def test_drop_path_leaves_branches_out_in_training_alone():
    block = MBConv(32, 32, drop_path=0.5)
    x = torch.randn(64, 32, 4, 4, generator=random())
    torch.manual_seed(0)
    left = (block(x) == x).flatten(1).all(1)
    assert 16 < int(left.sum()) < 48
    assert not bool((block.eval()(x) == x).flatten(1).all(1).any())


def test_seeds_and_widths():
    a, b = (small(seed=s).state_dict() for s in (3, 3))
    assert all(torch.equal(a[k], b[k]) for k in a)
    assert widened("C-C-C-T", (16, 32, 64, 96), 0.5) == (8, 16, 32, 64)
    with torch.device("meta"):
        sizes = [sum(p.numel() for p in hybrid(s, "nano").parameters()) for s in STACKS]
    assert max(sizes) < 1.25 * min(sizes)  # about matched


def test_errors():
    for call in (
        lambda: astroformer("0", image_size=100),
        lambda: HybridStageConfig(1, 48, "T"),
        lambda: HybridStageConfig(1, 32, "X"),
        lambda: stack("C-C", (32,), (1,), (2,)),
        lambda: hybrid("C-C-C-T", "7"),
        lambda: HybridNet([], 8, 3, 32),
        lambda: small()(torch.zeros(1, 3, 32, 32)),
        lambda: small(rel_pos="rope"),
        lambda: resize_table(torch.zeros(9, 2), (3, 3), (4, 4)),
    ):
        with pytest.raises(BadInput, match="expected"):
            call()
