"""Learning across devices: the loss, who is chosen, what meets in a batch, resuming, the comparison."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from smidgen.kit.errors import BadInput
from smidgen.learn._collossl_baselines import nt_xent
from smidgen.learn._collossl_devices import assign
from smidgen.learn._collossl_loss import contrast_weights
from smidgen.learn.collossl import (
    POLICIES,
    ColloSSL,
    ColloSSLConfig,
    EpochsConfig,
    FineTuneConfig,
    UserBatches,
    cyclic_shift,
    fine_tune,
    multi_view_contrastive_loss,
    pretrain,
    random_cycle,
    select_devices,
)
from smidgen.learn.collossl_runner import (
    POINTS,
    Arm,
    MultiTaskConfig,
    RunnerConfig,
    SimCLRConfig,
    label_curves,
    label_draw,
    leave_groups_out,
    pretrain_alone,
)
from smidgen.learn.mmd import mmd_rbf
from smidgen.nets.tpn_encoder import TPNConfig, TPNEncoder
from smidgen.tasks.device_windows import MultiDeviceWindows
from smidgen.tasks.synthetic_devices import SyntheticDevicesConfig, synthetic_devices

NET = TPNConfig(widths=(6, 8, 10), kernels=(5, 3, 3))
SHORT = EpochsConfig(epochs=3, lr=3e-3, batch=8, decay_steps=None, seed=4)
SMALL = ColloSSLConfig(net=NET, projector=(16, 8), training=SHORT)
MADE = synthetic_devices(
    SyntheticDevicesConfig(noise=(0.05, 0.3, 0.1, 0.6), users=4, windows=16, length=20, classes=3, seed=7)
)


def g(seed=0):
    return torch.Generator().manual_seed(seed)


def test_loss_is_the_equation():
    a, p, n = (
        torch.randn(5, 4, generator=g()),
        torch.randn(2, 5, 4, generator=g(1)),
        torch.randn(3, 5, 4, generator=g(2)),
    )
    w = torch.tensor([0.2, 1.0, 0.5])

    def cos(u, v):
        return (u * v).sum(-1) / u.norm(dim=-1) / v.norm(dim=-1)

    near, far = torch.exp(cos(a, p) / 0.5).sum(0), (w[:, None] * torch.exp(cos(a, n) / 0.5)).sum(0)
    got = multi_view_contrastive_loss(a, p, n, neg_weights=w, temperature=0.5)
    torch.testing.assert_close(got, -torch.log(near / (near + far)).mean())
    same = multi_view_contrastive_loss(a, p, n, neg_weights=w / 9, pos_weight=1 / 9, temperature=0.5)
    torch.testing.assert_close(same, got)  # only ratios of weights count
    sharp = multi_view_contrastive_loss(a, p, n, neg_weights=1e4 * w, temperature=0.002)
    assert torch.isfinite(sharp)


def test_identical_views_give_the_least_loss():
    """The sign: with minus the cosine they would give the largest."""
    a, n, w = torch.randn(8, 4, generator=g()), torch.randn(1, 8, 4, generator=g(1)), torch.ones(1)
    least = multi_view_contrastive_loss(a, a[None], n, neg_weights=w)
    for seed in range(20):
        moved = a + 0.3 * torch.randn(8, 4, generator=g(10 + seed))
        assert multi_view_contrastive_loss(a, moved[None], n, neg_weights=w) > least
    assert multi_view_contrastive_loss(a, -a[None], n, neg_weights=w) > 15


def test_weights_are_inverse_distances_over_the_largest_of_all():
    w, own = contrast_weights([0.5, 0.25, 4.0])
    assert w.tolist() == [0.5, 1.0, 0.0625] and own == 0.25
    w, own = contrast_weights([2.0, 4.0])  # there the positives' weight, 1, is the largest
    assert w.tolist() == [0.5, 0.25] and own == 1.0
    assert contrast_weights([0.5, 4.0], weighted=False)[0].tolist() == [1, 1]


@pytest.mark.parametrize("order_of", [random_cycle, cyclic_shift])
def test_no_window_keeps_its_place(order_of):
    seen = Counter()
    for seed in range(300):
        order = order_of(5, g(seed))
        assert sorted(order.tolist()) == list(range(5)) and not (order == torch.arange(5)).any()
        seen.update([int(order[0])])
    assert set(seen) == {1, 2, 3, 4} and min(seen.values()) > 45  # each other place about 75 times


def test_policies_by_the_nearest_devices():
    distance = {1: 0.3, 2: 0.1, 3: 0.5, 4: 0.2, 5: 0.4}  # nearest first: 2 4 1 5 3
    expected = {
        "closest_pos_all_neg": ([2], [1, 2, 3, 4, 5]),
        "hard_negative": ([2], [1, 4]),
        "harder_negative": ([5], [2, 4]),
        "closest_only": ([2], [2]),
        "closest_pos_rest_neg": ([2], [1, 3, 4, 5]),
        "closest_two": ([2], [4]),
        "closest_two_reverse": ([4], [2]),
        "mid_selection": ([1, 4], [3, 5]),
    }
    for name, (positive, negative) in expected.items():
        found = assign(distance, strategy=name)
        assert (found.positive, found.negative, found.distance) == (positive, negative, distance)
    drawn = [assign(distance, strategy="random", generator=g(s)) for s in range(60)]
    assert {d.positive[0] for d in drawn} == {d.negative[0] for d in drawn} == set(distance)
    assert set(drawn[0].distance.values()) == {1.0}
    drawn = [assign(distance, strategy="closest_pos_random_neg", generator=g(s)) for s in range(60)]
    assert {d.positive[0] for d in drawn} == {2} and {d.negative[0] for d in drawn} == set(distance)
    assert len(expected) + 2 == len(POLICIES)


def test_selection_compares_norms_of_motion_and_ranks_by_noise():
    x = torch.from_numpy(MADE.windows.stacked("user 0"))
    found = select_devices(x, 0)
    norms = x[..., :3].norm(dim=3)
    assert found.distance[3] == pytest.approx(float(mmd_rbf(norms[0], norms[3])))
    assert sorted(found.distance, key=found.distance.__getitem__) == [2, 1, 3] and found.positive == [2]
    loud = x.clone()
    loud[..., 3:] *= 7  # the gyroscope has no say
    assert select_devices(loud, 0) == found
    each = [float(mmd_rbf(x[0, ..., i], x[3, ..., i])) for i in range(3)]
    assert select_devices(x, 0, metric="per_channel").distance[3] == pytest.approx(sum(each) / 3)


def test_batches_are_of_one_user_and_every_window_comes_once_an_epoch():
    rows = {u: 100 * i + np.arange(n, dtype=np.float32) for i, (u, n) in enumerate(SIZES)}
    numbered = {d: {u: np.tile(v[:, None, None], (1, 3, 1)) for u, v in rows.items()} for d in ("a", "b")}
    batches = UserBatches(MultiDeviceWindows(X=numbered, motion=1), batch=2)
    assert batches.skipped == ["w"]
    seen = []
    for number in range(batches.per_epoch, 2 * batches.per_epoch):
        x, user = batches.at(number)
        assert torch.equal(x[0], x[1]) and 2 <= x.shape[1] <= 3  # simultaneous, and never one alone
        values = x[0, :, 0, 0].long().tolist()
        assert {v // 100 for v in values} == {[u for u, _ in SIZES].index(user)}
        seen += values
    assert sorted(seen) == sorted(100 * i + j for i, (u, n) in enumerate(SIZES) if n > 1 for j in range(n))
    first, second = batches.at(0), batches.at(batches.per_epoch)
    assert first[1] != second[1] or not torch.equal(first[0], second[0])


SIZES = (("u", 9), ("v", 2), ("w", 1), ("z", 5))


def test_the_module_contrasts_as_its_sampling_says():
    """The same loss, from embeddings put together by hand."""
    x = torch.from_numpy(MADE.windows.stacked("user 1"))
    net = ColloSSL(TPNEncoder(6, NET), SMALL).eval()
    z = torch.stack([net.projector(net.encoder(x[d])) for d in range(4)])
    chosen = select_devices(x, 1)
    order = g(5)
    w, own = contrast_weights([chosen.distance[d] for d in chosen.negative for _ in range(2)])
    for sampling in ("sync_all", "unsync_neg"):
        net.config = replace(SMALL, sampling=sampling, neg_sample_size=2)
        n = [
            z[d] if sampling == "sync_all" else z[d][random_cycle(16, order)] for d in chosen.negative for _ in range(2)
        ]
        expected = multi_view_contrastive_loss(
            z[1], z[chosen.positive], torch.stack(n), neg_weights=w, pos_weight=own, temperature=0.05
        )
        torch.testing.assert_close(net(x, 1, g(5)), expected)
    assert net.log.positive == {chosen.positive[0]: 2} and net.log.negative == dict.fromkeys(chosen.negative, 2)
    once = net.choose_once(batches := UserBatches(MADE.windows, batch=8), 1)
    each = [select_devices(batches.at(i)[0], 1).distance[3] for i in range(batches.per_epoch)]
    assert len(each) == 8 and once.distance[3] == pytest.approx(np.mean(each))


@pytest.mark.parametrize("dynamic", [True, False])
def test_a_stopped_pretraining_goes_on_to_the_same_bits(tmp_path, dynamic):
    config = replace(SMALL, dynamic_selection=dynamic)
    whole = pretrain(MADE.windows, "device 0", config)
    asked = iter([True] * 11 + [False])
    assert pretrain(MADE.windows, "device 0", config, folder=tmp_path, go_on=lambda: next(asked)) is None
    with pytest.raises(BadInput, match="set resume"):
        pretrain(MADE.windows, "device 0", config, folder=tmp_path)
    with pytest.raises(BadInput, match="other windows or settings"):
        pretrain(MADE.windows, "device 1", config, folder=tmp_path, resume=True)
    again = pretrain(MADE.windows, "device 0", config, folder=tmp_path, resume=True)
    assert whole and again and whole.found.losses == again.found.losses and whole.log == again.log
    assert len(whole.found.losses) == 3 and whole.log.positive == {2: 24}
    for a, b in zip(whole.encoder.parameters(), again.encoder.parameters(), strict=True):
        assert torch.equal(a, b)
    assert whole.found.losses[-1] < whole.found.losses[0] - 0.1


def test_fine_tuning_keeps_frozen_layers_and_the_given_encoder():
    x, y = MADE.windows.labelled("device 0")
    start = TPNEncoder(6, NET, seed=1)
    before = [p.clone() for p in start.parameters()]
    net = fine_tune(start, x, y, FineTuneConfig(hidden=32, training=replace(SHORT, epochs=30)))
    assert all(torch.equal(a, b) for a, b in zip(before, start.parameters(), strict=True))
    changed = [not torch.equal(a, b) for a, b in zip(before, net.encoder.parameters(), strict=True)]
    assert changed == [False] * 4 + [True] * 2
    assert (net.predict_proba(x).argmax(1) == y).mean() > 0.8


def test_baselines_learn_and_nt_xent_is_its_definition():
    a, b = torch.randn(3, 4, generator=g()), torch.randn(3, 4, generator=g(1))
    z = torch.nn.functional.normalize(torch.cat([a, b]), dim=1)
    s = torch.exp(z @ z.T / 0.5)
    each = [-torch.log(s[i, (i + 3) % 6] / (s[i].sum() - s[i, i])) for i in range(6)]
    torch.testing.assert_close(nt_xent(a, b, 0.5), torch.stack(each).mean())
    for config in (SimCLRConfig(net=NET, projector=(8,), training=SHORT), MultiTaskConfig(net=NET, training=SHORT)):
        said = []
        encoder = pretrain_alone(MADE.windows, "device 0", config, say=said.append)
        assert encoder is not None and float(said[-1].split()[-1]) < float(said[0].split()[-1])


def test_the_comparison_holds_users_out_and_goes_on(tmp_path):
    tuning = FineTuneConfig(hidden=16, training=replace(SHORT, epochs=1))
    arms = {"supervised": Arm(), "all": Arm(labels_of="all"), "ColloSSL": Arm(pretraining=SMALL)}
    config = RunnerConfig(arms=arms, fractions=(0.25, 1.0), net=NET, tuning=tuning)

    def run(folder=None, **other):
        return leave_groups_out(MADE.windows, 2, config, anchors=["device 0"], folder=folder, **other)

    whole, asked = run(), iter([True] * 11 + [False])
    part = run(tmp_path, go_on=lambda: next(asked, False))
    assert 0 < len(part) < len(whole) == 12 and part == whole[: len(part)]
    with (tmp_path / POINTS).open("a") as out:
        out.write('{"whose": "cut o')  # a kill in the middle of a line
    assert run(tmp_path, resume=True) == whole
    assert {(p.fraction, p.labels) for p in whole} == {(0.25, 8), (1.0, 32)}
    curves = label_curves(whole)
    assert curves["all", "device 0"][1.0] == np.mean([p.macro_f1 for p in whole if p.arm == "all" and p.fraction == 1])
    with pytest.raises(BadInput, match="other windows or settings"):
        leave_groups_out(MADE.windows, 2, replace(config, seed=1), folder=tmp_path, resume=True)
    assert set(label_draw(48, 0.25, 3)) < set(label_draw(48, 0.5, 3))


def test_arms_are_given_what_their_names_say(tmp_path):
    """All devices where all are asked for; and nothing of the users held out, not even for the scales."""
    tuning = FineTuneConfig(hidden=16, training=replace(SHORT, epochs=3))
    arms = {"supervised": Arm(), "all": Arm(labels_of="all"), "ColloSSL": Arm(pretraining=SMALL)}
    config = RunnerConfig(arms=arms, fractions=(1.0,), net=NET, tuning=tuning)

    def points(change, folder):
        X = {d: {u: change(d, u, x) for u, x in users.items()} for d, users in MADE.windows.X.items()}
        windows = replace(MADE.windows, X=X)
        found = leave_groups_out(windows, [["user 3"]], config, anchors=["device 0"], folder=tmp_path / folder)
        chosen = [p.read_text() for p in (tmp_path / folder).glob("*/devices.json")]
        return {p.arm: p.macro_f1 for p in found}, chosen

    plain, chosen = points(lambda d, u, x: x, "plain")
    copied, _ = points(lambda d, u, x: MADE.windows.X["device 0"][u], "copied")
    assert copied["supervised"] == plain["supervised"] and copied["all"] != plain["all"]
    assert len(chosen) == 1 and points(lambda d, u, x: 50 * x if u == "user 3" else x, "loud")[1] == chosen


def spoil(**change):
    X = {d: {u: x.copy() for u, x in users.items()} for d, users in MADE.windows.X.items()}
    return MultiDeviceWindows(X=change.get("X", lambda v: v)(X))


ONE = torch.zeros(1, 4, 32, 6)
VIEWS = (torch.zeros(4, 3), torch.zeros(1, 4, 3), torch.zeros(1, 4, 3))


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: spoil(X=lambda X: {"device 0": X["device 0"]}), "at least 2"),
        (lambda: spoil(X=lambda X: X | {"device 1": {u: x[1:] for u, x in X["device 1"].items()}}), "not aligned"),
        (lambda: pretrain(MADE.windows, "device 0"), "at least 46 samples"),
        (lambda: pretrain(MADE.windows, "device 9", SMALL), "anchor"),
        (lambda: leave_groups_out(MADE.windows, 2, anchors=["device 9"]), "anchor"),
        (lambda: leave_groups_out(MADE.windows, [MADE.windows.users]), "some users are held out"),
        (lambda: select_devices(ONE, 0), "at least 2 devices"),
        (lambda: select_devices(ONE.repeat(2, 1, 1, 1), 2), "anchor"),
        (lambda: select_devices(ONE.repeat(2, 1, 1, 1), 0, strategy="hard_negative"), "more"),
        (lambda: select_devices(ONE.repeat(2, 1, 1, 1), 0, strategy="nearest"), "strategy"),
        (lambda: random_cycle(1, g()), "at least 2"),
        (lambda: multi_view_contrastive_loss(*VIEWS, neg_weights=torch.zeros(1)), "above 0"),
        (lambda: multi_view_contrastive_loss(*VIEWS[:2], VIEWS[2][:, :2], neg_weights=torch.ones(1)), "negatives"),
        (lambda: ColloSSLConfig(sampling="none"), "sampling"),  # type: ignore[arg-type]
        (
            lambda: fine_tune(TPNEncoder(6, NET), np.zeros((3, 20, 6), np.float32), np.array([0, 1, 2]), classes=2),
            "0 to 1",
        ),
    ],
)
def test_bad_input(call, says):
    with pytest.raises(BadInput, match=says):
        call()
