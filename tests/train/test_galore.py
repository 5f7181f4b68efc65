"""GaLore: the exact statements of the paper, against plain loops; states, resumption, refusals."""

import copy
import io

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from smidgen.kit.errors import BadInput  # noqa: E402
from smidgen.train.galore import GaLoreAdamW, GaLoreAdamW8bit, galore_param_groups  # noqa: E402
from smidgen.train.galore_adafactor import GaLoreAdafactor  # noqa: E402
from smidgen.train.galore_any import Projected  # noqa: E402
from smidgen.train.galore_residual import limit_growth_  # noqa: E402
from smidgen.train.state_bytes import adam_bytes, galore_bytes, group_state_bytes, optimizer_state_bytes  # noqa: E402

ALL = [GaLoreAdamW, GaLoreAdamW8bit, GaLoreAdafactor, lambda g, **k: Projected(torch.optim.Adam, g, **k)]
IDS = ["adamw", "8bit", "adafactor", "projected"]
SGD = lambda g, **k: Projected(torch.optim.SGD, g, momentum=0.9, **k)  # noqa: E731


def network(seed=0, dtype=torch.float32):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(12, 20), nn.Tanh(), nn.Linear(20, 6)).to(dtype)


def groups(model, rank=4, **settings):
    return galore_param_groups(model, ("0", "2"), rank, **settings)


def train(model, optimizer, steps, start=0):
    """Steps on batches that depend on their number alone; gives the losses."""
    losses = []
    for step in range(start, start + steps):
        generator = torch.Generator().manual_seed(step)
        dtype = next(model.parameters()).dtype
        x = torch.randn(32, 12, generator=generator).to(dtype)
        loss = (model(x) - x[:, :6].sin() * 2).square().mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses


def weights(model):
    return torch.cat([p.detach().float().flatten() for p in model.parameters()])


def test_adamw_is_the_listing_written_out():
    """Algorithm 2 on one 5 x 9 weight over two subspaces, in float64, with weight decay."""
    torch.manual_seed(0)
    w = nn.Parameter(torch.randn(5, 9, dtype=torch.float64))
    lr, wd, alpha, rank, gap = 0.05, 0.1, 0.25, 3, 4
    group = {"params": [w], "rank": rank, "update_proj_gap": gap, "scale": alpha}
    optimizer = GaLoreAdamW([group], lr=lr, weight_decay=wd)
    W = w.detach().clone()
    M = V = torch.zeros(rank, 9, dtype=torch.float64)
    for t in range(10):
        G = torch.randn(5, 9, dtype=torch.float64)
        if t % gap == 0:
            P = torch.linalg.svd(G)[0][:, :rank]
        R = P.T @ G
        M, V = 0.9 * M + 0.1 * R, 0.999 * V + 0.001 * R * R
        N = M / (1 - 0.9 ** (t + 1)) / ((V / (1 - 0.999 ** (t + 1))).sqrt() + 1e-8)
        W = W - lr * alpha * P @ N
        W = W - lr * wd * W
        w.grad = G.clone()
        optimizer.step()
    assert torch.allclose(w.detach(), W, rtol=1e-9, atol=1e-12)


def test_plain_groups_are_torch_adamw():
    ours, theirs = network(), network()
    a = GaLoreAdamW(ours.parameters(), lr=1e-2)
    b = torch.optim.AdamW(theirs.parameters(), lr=1e-2, weight_decay=0.0)
    train(ours, a, 20), train(theirs, b, 20)
    assert torch.allclose(weights(ours), weights(theirs), atol=1e-5)


@pytest.mark.parametrize("proj_type", ["std", "reverse_std", "left", "right", "full"])
def test_full_rank_with_sgd_inside_is_sgd(proj_type):
    """At rank = short side nothing is lost where the short side is projected; momentum and weight decay as torch's."""
    made = []
    for project in (True, False):
        torch.manual_seed(3)
        w = nn.Parameter(torch.randn(6, 6))
        group = {"params": [w], "rank": 6, "scale": 1.0, "update_proj_gap": 100, "proj_type": proj_type}
        settings = {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01}
        optimizer = Projected(torch.optim.SGD, [group], **settings) if project else torch.optim.SGD([w], **settings)
        for _ in range(6):
            w.grad = torch.randn(6, 6)
            optimizer.step()
        made.append(w.detach())
    assert torch.allclose(*made, atol=1e-5)


def test_decoupled_decay_of_a_wrapped_adamw_acts_on_the_whole_weight():
    w = nn.Parameter(torch.ones(4, 6))
    optimizer = Projected(torch.optim.AdamW, [{"params": [w], "rank": 2}], lr=0.1, weight_decay=0.5)
    w.grad = torch.zeros(4, 6)
    optimizer.step()
    assert torch.allclose(w.detach(), torch.full((4, 6), 0.95))


def test_wrapped_adam_is_galore_adam():
    ours, theirs = network(), network()
    train(ours, GaLoreAdamW(groups(ours, update_proj_gap=5), lr=1e-2), 12)
    train(theirs, Projected(torch.optim.Adam, groups(theirs, update_proj_gap=5), lr=1e-2), 12)
    assert torch.allclose(weights(ours), weights(theirs), atol=1e-6)


@pytest.mark.parametrize("name", ["Adafactor", "Muon", "LBFGS", "SparseAdam", "ASGD"])
def test_what_is_not_element_wise_is_refused(name):
    model = network()
    with pytest.raises(BadInput, match=name):
        Projected(getattr(torch.optim, name), groups(model), lr=1e-2)


def test_plain_groups_are_torch_adafactor():
    ours, theirs = network(), network()
    a = GaLoreAdafactor(ours.parameters(), lr=1e-2, beta1=None, scale_parameter=True)
    b = torch.optim.Adafactor(theirs.parameters(), lr=1e-2)
    train(ours, a, 20), train(theirs, b, 20)
    assert torch.allclose(weights(ours), weights(theirs), atol=1e-5)
    assert optimizer_state_bytes(a)["total"] == 4 * (20 + 12 + 20 + 6 + 20 + 6)  # rows, columns, whole biases


def test_what_looks_at_the_weight_is_refused():
    class Trust(torch.optim.SGD):
        """Layer-wise trust ratio, as LARS."""

        def step(self, closure=None):
            for group in self.param_groups:
                for p in group["params"]:
                    p.data.add_(p.grad, alpha=-group["lr"] * float(p.norm() / p.grad.norm()))

    with pytest.raises(BadInput, match="Trust"):
        Projected(Trust, groups(network()), lr=1e-2)


def test_what_counts_in_its_groups_is_refused():
    """Each parameter is updated alone, from a copy of its group."""

    class Decayed(torch.optim.SGD):
        def step(self, closure=None):
            for group in self.param_groups:
                group["count"] = group.get("count", 0) + 1
                for p in group["params"]:
                    p.data.add_(p.grad, alpha=-group["lr"] / group["count"])

    with pytest.raises(BadInput, match="Decayed.*groups"):
        Projected(Decayed, groups(network()), lr=1e-2)


@pytest.mark.parametrize("name", ["SGD", "RMSprop", "Adagrad", "Adadelta", "Adamax", "NAdam", "RAdam", "Rprop"])
def test_element_wise_ones_learn(name):
    model = network()
    lr = {"Adadelta": 5.0, "SGD": 0.5, "Adamax": 2e-2, "RAdam": 2e-2, "Adagrad": 2e-2}.get(name, 3e-3)
    losses = train(
        model, Projected(getattr(torch.optim, name), groups(model, scale=1.0, update_proj_gap=10), lr=lr), 60
    )
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize("make", ALL, ids=IDS)
@pytest.mark.parametrize("proj_type", ["std", "reverse_std", "left", "right", "full"])
def test_all_sides_learn(make, proj_type):
    model = network()
    losses = train(model, make(groups(model, proj_type=proj_type, update_proj_gap=10), lr=2e-2), 60)
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])


def test_total_update_has_more_rank_than_one_subspace():
    torch.manual_seed(0)
    target, w = torch.randn(16, 16), nn.Parameter(torch.zeros(16, 16))
    optimizer = GaLoreAdamW([{"params": [w], "rank": 2, "update_proj_gap": 5, "scale": 1.0}], lr=0.05)
    for step in range(30):
        w.grad = w.detach() - target
        optimizer.step()
        if step == 4:
            assert torch.linalg.matrix_rank(w.detach(), rtol=1e-5) == 2
    assert torch.linalg.matrix_rank(w.detach(), rtol=1e-5) > 6


@pytest.mark.parametrize("make", ALL, ids=IDS)
@pytest.mark.parametrize(
    "settings",
    [{}, {"subspace": "randomized", "stagger": True}, {"residual": True}],
    ids=["svd", "randomized", "residual"],
)
def test_a_resumed_run_is_bit_equal(make, settings):
    """Through torch.save with weights_only, between two refreshes, into a model that was made anew."""
    settings = {"update_proj_gap": 4, **settings}
    if make is ALL[3] and "residual" in settings:
        with pytest.raises(BadInput, match="residual"):
            make(groups(network(), **settings), lr=1e-2)
        return
    whole = network()
    train(whole, make(groups(whole, **settings), lr=1e-2), 11)
    first = network()
    optimizer = make(groups(first, **settings), lr=1e-2)
    train(first, optimizer, 6)
    file = io.BytesIO()
    torch.save({"model": first.state_dict(), "optimizer": optimizer.state_dict()}, file)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    second = network(seed=1)
    second.load_state_dict(saved["model"])
    optimizer = make(groups(second, **settings), lr=9.0)
    optimizer.load_state_dict(saved["optimizer"])
    train(second, optimizer, 5, start=6)
    assert torch.equal(weights(whole), weights(second))


@pytest.mark.parametrize("make", ALL, ids=IDS)
def test_state_keeps_its_dtypes(make):
    model = network(dtype=torch.bfloat16)
    optimizer = make(groups(model), lr=1e-2)
    train(model, optimizer, 3)
    other = network(dtype=torch.bfloat16)
    loaded = make(groups(other), lr=1e-2)
    saved = copy.deepcopy(optimizer.state_dict())
    loaded.load_state_dict(saved)
    again = loaded.state_dict()["state"]
    for i, entry in saved["state"].items():
        assert entry.keys() == again[i].keys()
        for key, value in entry.items():
            if isinstance(value, torch.Tensor):
                assert value.dtype == again[i][key].dtype and torch.equal(value, again[i][key])
                assert value.data_ptr() != again[i][key].data_ptr()
    if make in (GaLoreAdamW, GaLoreAdamW8bit):
        assert again[0]["projector_right"].dtype == torch.bfloat16


def test_switch_keep_reset_rotate():
    """A gradient whose two axes swap at the refresh: rotate follows them, keep confuses them, reset forgets."""
    swapped = {}
    for on_switch in ("keep", "reset", "rotate"):
        w = nn.Parameter(torch.zeros(2, 3))
        group = {"params": [w], "rank": 2, "update_proj_gap": 3, "scale": 1.0, "on_switch": on_switch}
        optimizer = GaLoreAdamW([group], lr=0.0)
        for step in range(4):
            big, small = (2.0, 1.0) if step < 3 else (1.0, 2.0)
            w.grad = torch.diag(torch.tensor([big, small])) @ torch.eye(2, 3)
            optimizer.step()
        state = optimizer.state[w]
        swapped[on_switch] = {k: (state["projector_left"].abs() @ state[k].abs()) for k in ("exp_avg", "exp_avg_sq")}
    first = 1 - 0.9**3
    kept = 0.9 * first * torch.tensor([2.0, 1.0]) + 0.1 * torch.tensor([1.0, 2.0])
    assert torch.allclose(swapped["rotate"]["exp_avg"].diagonal(), kept, atol=1e-5)
    assert torch.allclose(swapped["reset"]["exp_avg"].diagonal(), 0.1 * torch.tensor([1.0, 2.0]), atol=1e-5)
    assert not torch.allclose(swapped["keep"]["exp_avg"].diagonal(), kept, atol=1e-2)
    second = 0.999 * (1 - 0.999**3) * torch.tensor([4.0, 1.0]) + 0.001 * torch.tensor([1.0, 4.0])
    assert torch.allclose(swapped["rotate"]["exp_avg_sq"].diagonal(), second, atol=1e-6)


def test_after_a_reset_the_first_step_is_a_first_step():
    """Adam's first step moves each axis by the rate; without new bias correction it would be 3.2 times that."""
    w = nn.Parameter(torch.zeros(2, 3))
    group = {"params": [w], "rank": 2, "update_proj_gap": 3, "scale": 1.0, "on_switch": "reset"}
    optimizer = GaLoreAdamW([group], lr=0.1)
    for _ in range(4):
        before = w.detach().clone()
        w.grad = torch.diag(torch.tensor([2.0, 1.0])) @ torch.eye(2, 3)
        optimizer.step()
    assert torch.allclose(torch.linalg.svdvals(before - w.detach()), torch.tensor([0.1, 0.1]), atol=1e-5)


@pytest.mark.parametrize("make", [*ALL, SGD], ids=[*IDS, "sgd"])
def test_without_a_refresh_the_moments_stay(make):
    found = []
    for on_switch in ("keep", "reset", "rotate")[: 3 if make in ALL[:3] else 2]:
        model = network()
        train(model, make(groups(model, update_proj_gap=100, on_switch=on_switch), lr=1e-2), 6)
        found.append(weights(model))
    assert all(torch.equal(found[0], other) for other in found[1:])


ZERO_AT = 6  # there a subspace is due, but a gradient of zeros has none: the one before stays, with its moments


def switches(optimizer, w, seen):
    """What `seen` gives after each of ten steps with a subspace due at 0, 3, 6 and 9."""
    out = []
    for step in range(10):
        w.grad = torch.zeros(4, 6) if step == ZERO_AT else torch.randn(4, 6)
        optimizer.step()
        out.append(seen())
    return out


@pytest.mark.parametrize("make", ALL[:3], ids=IDS[:3])
def test_rotated_at_refreshes_alone(make):
    at = []

    class Watched(make):
        def switch(self, state, group, old, new):
            at.append(state["step"])
            assert not torch.equal(old.left_MR, new.left_MR)
            super().switch(state, group, old, new)

    w = nn.Parameter(torch.zeros(4, 6))
    optimizer = Watched([{"params": [w], "rank": 2, "update_proj_gap": 3, "on_switch": "rotate"}], lr=1e-2)
    switches(optimizer, w, lambda: None)
    assert at == [3, 9]


@pytest.mark.parametrize("make", ALL, ids=IDS)
def test_reset_at_refreshes_alone(make):
    w = nn.Parameter(torch.zeros(4, 6))
    optimizer = make([{"params": [w], "rank": 2, "update_proj_gap": 3, "on_switch": "reset"}], lr=1e-2)

    def age():
        """Steps that the moments have seen."""
        if make is ALL[3]:
            return int(optimizer.inner.state[w]["step"])
        return optimizer.state[w]["step"] - optimizer.state[w].get("moments_since", 0)

    assert switches(optimizer, w, age) == [1, 2, 3, 1, 2, 3, 4, 5, 6, 1]


@pytest.mark.parametrize("make", ALL[:3], ids=IDS[:3])
@pytest.mark.parametrize("on_switch", ["keep", "reset", "rotate"])
def test_no_step_explodes_at_a_switch(make, on_switch):
    model = network()
    optimizer = make(groups(model, update_proj_gap=5, on_switch=on_switch, scale=1.0), lr=1e-3)
    for step in range(30):
        before = weights(model)
        train(model, optimizer, 1, start=step)
        assert (weights(model) - before).abs().max() < 8e-3, step


@pytest.mark.parametrize("shape", [(5, 9), (9, 5)])
def test_residual_is_the_formula(shape):
    """Outside the subspace each column (row) goes as far as Adam scaled its projection."""
    torch.manual_seed(0)
    w, axis = nn.Parameter(torch.zeros(shape)), 0 if shape[0] < shape[1] else 1
    optimizer = GaLoreAdamW([{"params": [w], "rank": 2, "scale": 0.5, "residual": True}], lr=0.1)
    G = torch.randn(shape)
    w.grad = G.clone()
    optimizer.step()
    U, S, V = torch.linalg.svd(G, full_matrices=False)
    inside = U[:, :2] * S[:2] @ V[:2]
    low = U[:, :2].T @ G if axis == 0 else G @ V[:2].T
    ratio = low.sign().norm(dim=axis, keepdim=True) / low.norm(dim=axis, keepdim=True)  # Adam's first step is the sign
    adam = U[:, :2] @ low.sign() if axis == 0 else low.sign() @ V[:2]
    outside = (G - inside) * ratio
    assert torch.allclose(w.detach(), -0.05 * (adam + outside), atol=1e-5)
    assert optimizer.state[w]["residual_norm"] == pytest.approx(float(outside.norm()), rel=1e-5)
    assert optimizer_state_bytes(optimizer)["total"] == 4 * (5 * 2 + 2 * 9 * 2)


def test_a_reset_forgets_moments_and_no_limit_of_the_residual():
    """Gradients jump at the refresh, as does Adam's first step: without the limit the outside would be 2.7 times."""
    torch.manual_seed(0)
    w = nn.Parameter(torch.zeros(4, 6))
    group = {"params": [w], "rank": 2, "update_proj_gap": 3, "residual": True, "on_switch": "reset"}
    optimizer = GaLoreAdamW([group], lr=1e-2)
    norms = []
    for step in range(4):
        w.grad = torch.randn(4, 6) * (1 if step < 3 else 50)
        optimizer.step()
        norms.append(optimizer.state[w]["residual_norm"])
    assert norms[3] == pytest.approx(1.01 * norms[2])


def test_residual_grows_by_one_percent_a_step():
    state, norms = {}, []
    for size, inside in ((1.0, 1.0), (9.0, 1.0), (9.0, 1.0), (0.5, 1.0), (0.0, 1.0), (9.0, 1.0), (9.0, 50.0)):
        norms.append(float(limit_growth_(torch.full((4,), size), inside, state).norm()))
    assert norms == pytest.approx([2, 2 * 1.01, 2 * 1.01**2, 1, 0, 0.1, 5])  # after nothing, a tenth of the inside
    assert state == {"residual_norm": 5.0}


def test_a_first_gradient_without_residual_does_not_hold_back_the_next():
    torch.manual_seed(0)
    w = nn.Parameter(torch.zeros(5, 9))
    optimizer = GaLoreAdamW([{"params": [w], "rank": 2, "residual": True}], lr=0.1)
    for grad in (torch.ones(5, 9), torch.randn(5, 9)):
        w.grad = grad
        optimizer.step()
    assert optimizer.state[w]["residual_norm"] > 0.1  # rounding alone in the first step


def test_residual_at_full_rank_changes_nothing():
    a, b = network(), network()
    (
        train(a, GaLoreAdamW(groups(a, rank=6), lr=1e-2), 8),
        train(b, GaLoreAdamW(groups(b, rank=6, residual=True), lr=1e-2), 8),
    )
    apart = (a[2].weight - b[2].weight).abs().max()  # 20 x 6: nothing lies outside
    assert apart < 0.1 * (a[0].weight - b[0].weight).abs().max()


def test_staggered_refreshes_fall_apart(monkeypatch):
    from smidgen.train import subspace

    found, real = [], subspace.find_basis
    monkeypatch.setattr(subspace, "find_basis", lambda *a: found.append(a[-1]) or real(*a))
    model = network()
    optimizer = GaLoreAdamW(groups(model, update_proj_gap=6, stagger=True), lr=1e-3)
    by_step = []
    for step in range(13):
        found.clear()
        train(model, optimizer, 1, start=step)
        by_step.append(sorted(found))
    assert by_step[0] == ["0.weight", "2.weight"]
    assert {s: names for s, names in enumerate(by_step) if names and s} == {
        **dict.fromkeys((6, 12), ["0.weight"]),
        **dict.fromkeys((9,), ["2.weight"]),
    }


def test_bytes_are_the_formula():
    """(MR + 2 NR) x itemsize of the projected group, exactly; in 8 bits a byte a moment and a scale a block."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 200, bias=False), nn.Linear(200, 64, bias=True))
    shapes = [p.shape for p in model.parameters() if p.ndim == 2]
    for make, eight_bit in ((GaLoreAdamW, False), (GaLoreAdamW8bit, True)):
        optimizer = make(groups_of(model, 32), lr=1e-3)
        model(torch.randn(8, 64)).square().mean().backward()
        optimizer.step()
        projected, plain = group_state_bytes(optimizer)
        assert projected["total"] == sum(galore_bytes(s, 32, eight_bit=eight_bit) for s in shapes)
        assert projected["projectors"] == 2 * 64 * 32 * 4
        assert plain["total"] == adam_bytes((64,), eight_bit=eight_bit) == 2 * 64 * 4
        assert optimizer_state_bytes(optimizer)["total"] == projected["total"] + plain["total"]
        if not eight_bit:
            assert projected["total"] == 2 * (64 * 32 + 2 * 200 * 32) * 4
    adam = torch.optim.Adam(model.parameters())
    adam.step()
    counted = optimizer_state_bytes(adam)
    assert counted["moments"] == sum(adam_bytes(p.shape) for p in model.parameters()) and counted["counters"] == 12


def groups_of(model, rank):
    return galore_param_groups(model, ("0", "1"), rank)


def test_groups_by_name():
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed_tokens = nn.Embedding(30, 8)
            self.self_attn = nn.ModuleDict({"q_proj": nn.Linear(8, 8, bias=True)})
            self.norm = nn.LayerNorm(8)
            self.lm_head = nn.Linear(8, 30, bias=False)
            self.lm_head.weight = self.embed_tokens.weight

    projected, plain = galore_param_groups(Block(), rank=4)
    assert [n for n, _ in projected["params"]] == ["self_attn.q_proj.weight"] and projected["rank"] == 4
    assert [n for n, _ in plain["params"]] == [
        "embed_tokens.weight",
        "self_attn.q_proj.bias",
        "norm.weight",
        "norm.bias",
    ]
    projected, _ = galore_param_groups(Block(), ("attn", "embed_tokens", "lm_head"), rank=4)
    assert [n for n, _ in projected["params"]] == ["embed_tokens.weight", "self_attn.q_proj.weight"]
    with pytest.raises(BadInput, match="target_modules"):
        galore_param_groups(Block(), ("mlp",), rank=4)


def test_convolutions_are_matrices():
    conv = nn.Conv2d(3, 8, 3, bias=False)
    optimizer = GaLoreAdamW(galore_param_groups(nn.ModuleDict({"c": conv}), ("c",), rank=4), lr=0.1)
    before = conv.weight.detach().clone()
    conv(torch.randn(2, 3, 6, 6)).square().mean().backward()
    optimizer.step()
    change = (conv.weight.detach() - before).reshape(8, 27)
    assert torch.linalg.matrix_rank(change, rtol=1e-4) == 4


def test_refusals():
    w, v = nn.Parameter(torch.zeros(4, 6)), nn.Parameter(torch.zeros(5))
    for wrong in ({"rank": 0}, {"rank": 5}, {"rank": 2, "update_proj_gap": 0}, {"rank": 2, "proj_type": "up"}):
        with pytest.raises(ValueError, match="rank|gap|proj_type"):
            GaLoreAdamW([{"params": [w], **wrong}])
    GaLoreAdamW([{"params": [w], "rank": 4}])
    with pytest.raises(ValueError, match="matrix"):
        GaLoreAdamW([{"params": [v], "rank": 2}])
    with pytest.raises(ValueError, match="rotate"):
        Projected(torch.optim.SGD, [{"params": [w], "rank": 2, "on_switch": "rotate"}], lr=0.1)
    embedding = nn.Embedding(10, 4, sparse=True)
    optimizer = GaLoreAdamW(galore_param_groups(nn.ModuleDict({"mlp": embedding}), rank=2))
    embedding(torch.tensor([1])).sum().backward()
    with pytest.raises(RuntimeError, match="mlp.weight.*sparse"):
        optimizer.step()


@pytest.mark.parametrize("make", ALL, ids=IDS)
def test_a_gradient_that_is_not_finite_changes_nothing_and_names_the_weight(make):
    model = network()
    optimizer = make(groups(model, update_proj_gap=3), lr=1e-2)
    train(model, optimizer, 3)
    before, state = weights(model), copy.deepcopy(optimizer.state_dict()["state"])
    for p in model.parameters():
        p.grad = torch.ones_like(p)
    model[2].weight.grad[0, 0] = torch.nan
    with pytest.raises(FloatingPointError, match="2.weight"):
        optimizer.step()
    assert torch.equal(weights(model), before)
    assert str(state) == str(optimizer.state_dict()["state"])


@pytest.mark.parametrize("make", ALL, ids=IDS)
def test_zero_gradients_keep_the_subspace(make):
    w = nn.Parameter(torch.ones(4, 6))
    optimizer = make([{"params": [w], "rank": 2, "update_proj_gap": 2}], lr=1e-2)
    for step in range(4):
        w.grad = torch.zeros(4, 6) if step % 2 == 0 else torch.full((4, 6), 0.5)
        optimizer.step()
        assert torch.isfinite(w).all()
        assert bool((w == 1).all()) == (step == 0)
