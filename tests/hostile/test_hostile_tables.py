"""Broken tables and pictures at the command line: one sentence, exit status 2, and no file anywhere but the model."""

import io
import os

import numpy as np
import pytest
from hostile_help import cli, files_in, some
from hypothesis import given
from hypothesis import strategies as st

from smidgen.data.views.encoders import encode
from smidgen.data.views.text import LONGEST
from tasks.nearly import broken, tables


def attempt(path) -> None:
    before = files_in(path.parent)
    said = cli("fit", path, "--target", "label", "--dry-run")
    if said.status:
        said.sentence()
    assert files_in(path.parent) == before


@some(60)
@given(broken())
@pytest.mark.filterwarnings("ignore")
def test_broken_files(tmp_path, monkeypatch, named):
    monkeypatch.chdir(tmp_path)
    for old in tmp_path.iterdir():
        old.unlink()
    name, data = named
    (tmp_path / name).write_bytes(data)
    attempt(tmp_path / name)


@some(40)
@given(tables(), st.sampled_from([",", ";", "\t", "|"]))
@pytest.mark.filterwarnings("ignore")
def test_odd_tables(tmp_path, monkeypatch, frame, delimiter):
    monkeypatch.chdir(tmp_path)
    frame.to_csv(tmp_path / "t.csv", index=False, errors="replace", sep=delimiter)
    attempt(tmp_path / "t.csv")


def test_what_is_no_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "loop.csv").symlink_to(tmp_path / "loop.csv")
    (tmp_path / "closed.csv").write_text("a,label\n1,2\n")
    for name in ("pipe.csv", "loop.csv", "/dev/zero", "/dev/stdin", "gone.csv", "a\0b.csv", "x" * 5000, ""):
        cli("fit", name, "--target", "label").sentence()


@pytest.fixture(scope="module")
def pictures() -> dict[str, bytes]:
    from PIL import Image

    rng = np.random.default_rng(0)
    plain = Image.fromarray(rng.integers(0, 255, (40, 40, 3), dtype=np.uint8))

    def saved(picture, kind, **more) -> bytes:
        out = io.BytesIO()
        picture.save(out, kind, **more)
        return out.getvalue()

    moving = {"save_all": True, "append_images": [plain.rotate(i) for i in range(5)]}
    return {
        "a.png": saved(plain, "PNG"),
        "a.jpg": saved(plain, "JPEG"),
        "a.gif": saved(plain, "GIF", **moving),
        "a.webp": saved(plain, "WEBP", **moving),
        "a.tif": saved(plain, "TIFF"),
        "a.bmp": saved(plain, "BMP"),
        "cmyk.jpg": saved(plain.convert("CMYK"), "JPEG"),
        "one.png": saved(plain.resize((1, 1)), "PNG"),
    }


def test_odd_pictures_are_seen(pictures):
    for name, data in pictures.items():
        made = encode("pixels", [data])
        assert made.shape == (1, 528) and np.isfinite(made).all(), name


@some(60)
@given(st.data())
def test_broken_pictures(tmp_path, pictures, data):
    """Bytes changed anywhere, or cut off: read or refused."""
    from smidgen.kit.errors import BadInput
    from smidgen.tasks.images import unreadable

    name = data.draw(st.sampled_from(sorted(pictures)))
    body = bytearray(pictures[name])
    for at, value in data.draw(st.lists(st.tuples(st.integers(0, len(body) - 1), st.integers(0, 255)), max_size=6)):
        body[at] = value
    (tmp_path / name).write_bytes(bytes(body[: data.draw(st.integers(0, len(body)))]))
    why = unreadable(tmp_path / name)
    assert isinstance(why, str)
    try:
        assert encode("pixels", [tmp_path / name]).shape == (1, 528)
    except BadInput:
        assert why or name in ("a.gif", "a.webp", "a.tif")  # animated ones may break behind what is looked at


@pytest.mark.parametrize("text", ["", " ", "\0" * 100, "x" * (2 * LONGEST), "a word " * LONGEST], ids=len)
def test_odd_texts_are_counted(text):
    """Of a very long one the first letters count."""
    for name in ("words", "chars"):
        found = encode(name, [text, text[:LONGEST]])
        assert (found[0] != found[1]).nnz == 0
