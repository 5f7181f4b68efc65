"""Galaxy pictures: the schema is checked, the split is a rule, made-up ones can be told apart."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from smidgen.data.galaxies import CLASSES, Galaxies, checked, load_galaxy10, made_galaxies, split
from smidgen.kit.errors import BadInput, SmidgenError


def test_made_ones_follow_the_schema_and_their_seed():
    many, few = made_galaxies(30, 32, seed=1), made_galaxies(20, 32, seed=1)
    assert checked(many) is many and np.array_equal(many.images[:20], few.images)
    assert many.labels.tolist() == list(range(10)) * 3
    assert not np.array_equal(many.images[0], many.images[10])
    assert not np.array_equal(made_galaxies(1, 32, seed=2).images, few.images[:1])


def test_made_classes_differ():
    known, asked = made_galaxies(200, 24, seed=0), made_galaxies(100, 24, seed=1)
    edge_on = np.isin(known.labels, [2, 8]), np.isin(asked.labels, [2, 8])  # round, and seen from the side
    x, z = ((g.images[m].reshape(m.sum(), -1) / 255) for g, m in zip((known, asked), edge_on, strict=True))
    model = LogisticRegression(max_iter=500).fit(np.sort(x, 1), known.labels[edge_on[0]])
    assert model.score(np.sort(z, 1), asked.labels[edge_on[1]]) > 0.9


def test_the_split_takes_the_same_share_of_each_class():
    labels = np.repeat(np.arange(10), np.arange(10, 110, 10))
    train, test = split(labels)
    assert np.array_equal(np.sort(np.concatenate([train, test])), np.arange(len(labels)))
    assert np.bincount(labels[test]).tolist() == [2 * i for i in range(1, 11)]
    assert np.array_equal(split(labels)[1], test) and not np.array_equal(split(labels, seed=1)[1], test)


def test_files_are_read_or_refused(tmp_path):
    galaxies = made_galaxies(10, 16)
    np.savez(tmp_path / "a.npz", images=galaxies.images, ans=galaxies.labels.astype(np.uint8))
    read = load_galaxy10(tmp_path / "a.npz")
    assert np.array_equal(read.images, galaxies.images) and read.labels.tolist() == list(range(len(CLASSES)))
    np.savez(tmp_path / "b.npz", images=galaxies.images)
    (tmp_path / "c.h5").write_bytes(b"no")
    for name in ("b.npz", "none.npz"):
        with pytest.raises(BadInput):
            load_galaxy10(tmp_path / name)
    with pytest.raises((SmidgenError, OSError)):  # without h5py, or with it
        load_galaxy10(tmp_path / "c.h5")
    for wrong in (
        Galaxies(galaxies.images.astype(np.float32), galaxies.labels),
        Galaxies(galaxies.images, galaxies.labels[:5]),
        Galaxies(galaxies.images, galaxies.labels + 1),
    ):
        with pytest.raises(BadInput, match="expected"):
            checked(wrong)
