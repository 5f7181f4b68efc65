"""Images: files of every sort to descriptors; a real set is learnt from them."""

import struct
import zlib

import numpy as np
import pandas as pd
import pytest

from smidgen.data.views import encoders, image
from smidgen.data.views.rows import Rows
from smidgen.data.views.view import View
from smidgen.kit.errors import BadInput
from smidgen.tasks.task import Column

Image = pytest.importorskip("PIL.Image")
pytest.importorskip("skimage")
COLUMN = (Column(name="file", kind="image"),)


@pytest.fixture(scope="module")
def scans(data_folder, tmp_path_factory):
    """Real chest X-rays, written as PNG files: 120 to learn from, 100 to judge."""
    folder = tmp_path_factory.mktemp("scans")
    found = np.load(data_folder / "pneumoniamnist_balanced" / "train.npz")
    pictures, labels = (next(found[k] for k in found.files if found[k].ndim == d) for d in (3, 1))
    rows = np.random.default_rng(0).permutation(len(labels))[:220]
    for i, row in enumerate(rows):
        Image.fromarray(pictures[row]).save(folder / f"{i}.png")
    return [str(folder / f"{i}.png") for i in range(220)], labels[rows]


@pytest.mark.parametrize("name", ["pixels", "hog"])
def test_real_scans_are_told_apart(scans, name):
    from sklearn.linear_model import LogisticRegression

    files, labels = scans
    train, test = Rows(pd.DataFrame({"file": files[:120]})), Rows(pd.DataFrame({"file": files[120:]}))
    view = View(name, COLUMN).fit(train)
    X, Z = view.transform(train), view.transform(test)
    assert np.isfinite(Z).all()
    assert abs(X.var(0).sum() - 16) < 0.1
    assert LogisticRegression(C=0.1, max_iter=1000).fit(X, labels[:120]).score(Z, labels[120:]) > 0.75
    one = view.transform(Rows(pd.DataFrame({"file": files[120:121]})))
    assert np.array_equal(one[0], Z[0])


def picture(mode: str) -> "Image.Image":
    ramp = np.linspace(0, 255, 30 * 20).reshape(30, 20)
    if mode.startswith("I"):
        return Image.fromarray((ramp * 257).astype(np.uint16))
    if mode == "F":
        return Image.fromarray(ramp.astype(np.float32))
    return Image.fromarray(ramp.astype(np.uint8)).convert(mode)


@pytest.mark.parametrize(
    ("mode", "ending"),
    [
        ("L", "png"),
        ("1", "png"),
        ("P", "gif"),
        ("RGBA", "png"),
        ("LA", "png"),
        ("CMYK", "jpg"),
        ("RGB", "webp"),
        ("I;16", "png"),
        ("F", "tiff"),
    ],
)
def test_any_mode(tmp_path, mode, ending):
    path = tmp_path / f"a.{ending}"
    picture(mode).save(path)
    got = image.decode(path)
    assert got.shape == (30, 20, 3) and got.dtype == np.uint8
    assert got[-1].mean() > got[0].mean() + 100
    assert np.array_equal(got, image.decode(path.read_bytes()))
    assert np.isfinite(image.hog(path)).all()
    assert image.pixels(path).min() >= 0 and image.pixels(path).max() <= 1


def test_upright_and_first_frame(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    picture("L").save(tmp_path / "a.jpg", exif=exif)
    assert image.decode(tmp_path / "a.jpg").shape == (20, 30, 3)
    black, white = Image.new("L", (9, 9), 0), Image.new("L", (9, 9), 255)
    black.save(tmp_path / "a.gif", save_all=True, append_images=[white])
    assert image.decode(tmp_path / "a.gif").max() == 0


def test_damaged_missing_and_enormous(tmp_path):
    picture("L").save(tmp_path / "whole.png")
    (tmp_path / "half.png").write_bytes((tmp_path / "whole.png").read_bytes()[:80])
    (tmp_path / "text.png").write_text("hello")
    for name, edge in (("huge", 30_000), ("large", 11_000)):
        head = b"IHDR" + struct.pack(">IIBBBBB", edge, edge, 8, 0, 0, 0, 0)
        (tmp_path / f"{name}.png").write_bytes(
            b"\x89PNG\r\n\x1a\n"
            + struct.pack(">I", 13)
            + head
            + struct.pack(">I", zlib.crc32(head))
            + (tmp_path / "whole.png").read_bytes()[33:]
        )
    for name, says in (
        ("half", "cannot be decoded"),
        ("text", "cannot be decoded"),
        ("none", "cannot be read"),
        ("huge", "pixels"),
        ("large", "pixels"),
    ):
        with pytest.raises(BadInput, match=says) as caught:
            encoders.encode("pixels", [str(tmp_path / f"{name}.png")])
        assert f"{name}.png" in str(caught.value)
    assert encoders.encode("pixels", [None, str(tmp_path / "whole.png")])[0].max() == 0
    assert encoders.encode("hog", [None]).shape == encoders.encode("hog", [str(tmp_path / "whole.png")]).shape


def test_what_never_varied_is_left_out(scans):
    files, _ = scans
    rows = Rows(pd.DataFrame({"file": files[:20]}))
    assert View("pixels", COLUMN).fit(rows).transform(rows).shape[1] <= image.GREY**2  # grey scans: no colour columns


def test_a_picture_is_whole_undistorted_and_raw():
    """A wide one keeps its proportions; its edge goes on above and below; a grey one has three equal channels."""
    wide = np.zeros((16, 64, 3), np.uint8)
    wide[:, :32] = (200, 10, 60)
    found = image.picture(wide).reshape(32, 32, 3)
    assert (found[:, :16] == (200, 10, 60)).all() and (found[:, 16:] == 0).all()
    tall = np.arange(60, dtype=np.uint8)[:, None].repeat(30, 1)
    found = image.picture(tall).reshape(32, 32, 3)
    assert (found == found[:, :, :1]).all() and (np.diff(found[:, 16, 0]) > 0).all()
    assert (found[:, :8] == found[:, 8:9]).all()
