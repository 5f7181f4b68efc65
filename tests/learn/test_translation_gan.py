"""Few-shot learning by image translation: what each phase moves, which rows it sees, what is chosen, and the head."""

import json
from functools import partial

import numpy as np
import pytest
import torch

from smidgen.kit.errors import BadInput
from smidgen.kit.state import pack, unpack
from smidgen.learn._translation_rows import hold_back
from smidgen.learn._translation_settings import SparseSettings
from smidgen.learn._translation_training import Networks, Trainer
from smidgen.learn.translation_gan import SPARSE, TranslationClassifier
from smidgen.learn.vote_ensemble import TemporalEnsemble
from smidgen.nets.translation import AttentionUNet, PatchDiscriminator, PictureClassifier

SMALL = {"mu": 2, "batch": 8, "rate": 2e-3}


class Watched(AttentionUNet):
    """Keeps what it was asked to redraw."""

    def __init__(self, *args):
        super().__init__(*args)
        self.asked = []

    def forward(self, x, cond=None, mode="translate"):
        if mode == "translate":
            self.asked.append(x.detach().clone())
        return super().forward(x, cond, mode)


def networks(classes=2, channels=1, edge=16):
    return (
        Watched(classes, channels, (4, 4)),
        PatchDiscriminator(edge, channels, classes, width=4, n_strided=2),
        PictureClassifier(classes, channels, (4, 8), dropout=0.3),
    )


def bright(count, seed=0):
    """Pictures `[N, 1, 16, 16]` that are bright on the left (class 0) or on the right (class 1)."""
    rng = np.random.default_rng(seed)
    y = np.arange(count) % 2
    x = rng.uniform(-1, 0, (count, 1, 16, 16))
    x[y == 0, :, :, :8] += 0.9
    x[y == 1, :, :, 8:] += 0.9
    return x.astype(np.float32), y


def weights(net):
    return torch.cat([p.detach().flatten().clone() for p in net.parameters()])


@pytest.mark.parametrize(
    ("phase", "moved"),
    [("_judge", 1), ("_redraw", 0), ("_synthetic", 2), ("_plain", (1, 2)), ("_supervised", (0, 1, 2))],
)
def test_each_phase_moves_its_own_networks(phase, moved):
    nets = Networks(*networks())
    trainer = Trainer(nets, 2, SparseSettings(rate=1e-3))
    x, y = (torch.from_numpy(part) for part in bright(4))
    before = [weights(net) for net in nets.children()]
    rows = {"x": x, "labels_B": y}
    if phase == "_supervised":
        trainer._train(lambda _: (x, y, 0.7, torch.tensor([1, 0, 3, 2])), trainer._supervised, 1)
    else:
        rows |= {} if phase == "_plain" else {"target_B": 1 - y, "random": torch.Generator().manual_seed(0)}
        trainer._train(lambda _: (), partial(getattr(trainer, phase), **rows), 1)
    changed = [not torch.equal(a, weights(net)) for a, net in zip(before, nets.children(), strict=True)]
    assert changed == [i in np.atleast_1d(moved) for i in range(3)]
    assert all(p.requires_grad for p in nets.parameters()) and nets.classifier.training


def test_only_confident_rows_are_used_and_only_in_due_epochs():
    x, y = bright(8)
    pool = bright(32, seed=1)[0]
    nets = networks()
    model = SPARSE(*nets, 2, start=1, batch=16, mu=2, rate=2e-3, validation=0).fit((x, y), pool, epochs=5)
    assert ["generator" in row for row in model.history_] == [False, False, True, False, True]
    assert model.history_[2]["kept"] == 0.25  # two batches of 16, of each the best quarter
    asked, known = nets[0].asked, {row.tobytes() for row in pool}
    assert [len(part) for part in asked] == [4] * 16  # to judge, to redraw and back, to teach; 2 batches, 2 epochs
    for judged, redrawn, _, taught in (asked[i : i + 4] for i in range(0, 16, 4)):
        assert torch.equal(judged, redrawn) and torch.equal(judged, taught)
        assert all(row.numpy().tobytes() in known for row in judged)
    again = networks()
    SPARSE(*again, 2, start=1, batch=16, mu=2, rate=2e-3, validation=0).fit((x, y), pool, epochs=5)
    assert torch.equal(weights(nets[0]), weights(again[0]))  # dropout too is the seed's


def test_votes_are_remembered_over_epochs():
    nets = Networks(*networks())
    trainer = Trainer(nets, 2, SparseSettings())
    memory = TemporalEnsemble(4, 2, mix=1.0)  # the answer is memory alone
    x = torch.from_numpy(bright(4)[0])
    order = torch.tensor([2, 0, 3, 1])
    first, _ = trainer.pseudo_labels(torch.arange(4), x, memory)
    now, _ = trainer.pseudo_labels(order, -x[order], memory)  # other pictures: what was voted for counts
    assert torch.equal(now, first[order]) and memory.visits_N.tolist() == [2] * 4
    assert nets.classifier.training  # the vote is without dropout, the training after it with


def test_checkpoints_are_chosen_on_rows_that_training_does_not_see():
    x, y = bright(12)
    seen = []
    nets = networks()
    nets[1].register_forward_pre_hook(lambda net, args: seen.append(args[0].detach().clone()) if net.training else None)
    model = SPARSE(*nets, 2, validation=0.3, seed=3, **SMALL).fit((x, y), bright(9, seed=1)[0], epochs=6)
    held = hold_back(y, 0.3, 3)
    assert held.sum() == 4 and np.bincount(y[held]).tolist() == [2, 2]
    shown = {row.numpy().tobytes() for part in seen for row in part}
    assert [row.tobytes() in shown for row in x] == (~held).tolist()
    for how, name in (("classifier", "held classifier"), ("discriminator", "held discriminator")):
        accuracy = (model.predict_proba(x[held], how).argmax(1) == y[held]).mean()
        series = [row[name] for row in model.history_]
        assert accuracy == max(series) == series[model.chosen_[how] - 1]
    assert model.chosen_["generator"] >= 2  # not before it has learned to redraw
    both = (model.predict_proba(x, "classifier") + model.predict_proba(x, "discriminator")) / 2
    np.testing.assert_allclose(model.predict_proba(x), both, atol=1e-6)
    assert model.translate(x, 1).shape == x.shape


def test_the_realism_filter_asks_for_score_and_class():
    nets = Networks(*networks())
    trainer = Trainer(nets, 2, SparseSettings(realism=0.5))
    fake, real = (torch.from_numpy(bright(8, seed=s)[0]) for s in (0, 1))
    target = torch.tensor([0, 1] * 4)
    score, logits = nets.discriminator(fake)
    least = nets.discriminator(real)[0].mean((1, 2, 3)).median()  # of 8: the lower middle one
    passed = trainer.realistic(fake, target, real)
    assert not (passed & (logits.argmax(1) != target)).any() and not (passed & (score.mean((1, 2, 3)) < least)).any()
    assert Trainer(nets, 2, SparseSettings()).realistic(fake, target, real).all()
    before = weights(nets.classifier)
    nets.discriminator.classes.bias.data[:] = torch.tensor([1e3, 0.0])  # nothing passes for class 1
    rows = {"x": real, "labels_B": target, "target_B": torch.ones(8, dtype=torch.int64), "random": torch.Generator()}
    trainer._train(lambda _: (), partial(trainer._synthetic, **rows), 1)
    assert torch.equal(before, weights(nets.classifier))


def test_a_loader_needs_places():
    x, y = bright(8)

    class Places(torch.utils.data.Dataset):
        def __len__(self):
            return 6

        def __getitem__(self, i):
            return i, torch.from_numpy(x[i])

    model = SPARSE(*networks(), 2, mu=1, rate=1e-3).fit((x, y), torch.utils.data.DataLoader(Places(), 3), 1)
    assert "kept" in model.history_[0]
    bare = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.from_numpy(x)), 3)
    for source in (bare, iter([x])):
        with pytest.raises(BadInput, match="place in the data set"):
            SPARSE(*networks(), 2, mu=1).fit((x, y), source, 1)


def test_bad_rows_are_refused():
    x, y = bright(8)
    with pytest.raises(BadInput, match="Class 2 has no labelled picture"):
        SPARSE(*networks(3), 3).fit((x, y))
    with pytest.raises(BadInput, match="repeat_channels"):
        SPARSE(*networks(channels=3), 2).fit((x, y))
    with pytest.raises(BadInput, match="from -1 to 1"):
        SPARSE(*networks(), 2).fit((x * 255, y))
    with pytest.raises(BadInput, match="divisible by 2"):
        SPARSE(*networks(), 2).fit((x[:, :, :15], y))
    with pytest.raises(BadInput, match="Did you mean 'percentile'"):
        SPARSE(*networks(), 2, percentil=0.5)
    repeated = SPARSE(*networks(channels=3), 2, repeat_channels=True, mu=1, rate=1e-3).fit((x, y), x, 1)
    assert repeated.predict_proba(x).shape == (8, 2)


def test_the_peer_learns_from_the_same_rows_and_redraws_nothing():
    x, y = bright(8)
    nets = networks()
    model = SPARSE(*nets, 2, use="pseudo-labels", validation=0, **SMALL).fit((x, y), bright(16, seed=1)[0], epochs=4)
    assert not nets[0].asked and model.history_[3]["kept"] == 0.25
    assert model.history_[3]["pseudo-labelled"] < model.history_[1]["pseudo-labelled"]


def test_the_head_learns_from_pixels_and_saves_itself():
    x, y = bright(30)
    grey = np.repeat((x[:, 0, :, :, None] + 1) * 127.5, 3, 3).reshape(30, -1)
    names = np.array(["left", "right"], object)[y]
    names[12:] = None
    made = TranslationClassifier(width=2, epochs=5, most=16, rate=1e-2)
    head = made.fit(grey, names)
    assert head.grey_ and head.labelled_ == 12 and head.classes_.tolist() == ["left", "right"]
    assert "kept" in head.history_[2] and (head.predict(grey) == np.array(["left", "right"])[y]).mean() > 0.8
    arrays = {}
    state = json.loads(json.dumps(pack(head.get_state(), arrays)))
    loaded = TranslationClassifier.from_state(unpack(state, arrays))
    assert np.array_equal(head.predict_proba(grey), loaded.predict_proba(grey))


def test_the_head_without_unlabelled_rows_and_in_colour():
    x, y = bright(10)
    colour = np.zeros((10, 16, 16, 3))
    colour[..., 2] = (x[:, 0] + 1) * 127.5
    head = TranslationClassifier(width=2, epochs=1).fit(colour.reshape(10, -1), y)
    assert not head.grey_ and "kept" not in head.history_[0] and head.predict_proba(colour.reshape(10, -1)).min() > 0
    with pytest.raises(BadInput, match="square pictures"):
        TranslationClassifier().fit(np.zeros((4, 50)), [0, 1, 0, 1])
