"""Images: folders by class, tables of paths, damaged files."""

import numpy as np
import pandas as pd
import pytest

from smidgen.kit.errors import BadInput
from smidgen.tasks.read import read, read_new

Image = pytest.importorskip("PIL.Image")


def picture(path, seed=0, mode="RGB", size=(9, 7)):
    path.parent.mkdir(parents=True, exist_ok=True)
    array = np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3), np.uint8)
    Image.fromarray(array).convert(mode).save(path)
    return path


@pytest.fixture
def folder(tmp_path):
    for i in range(6):
        picture(
            tmp_path / ("cat" if i % 2 else "dog") / f"{i}.png", i, mode=["RGB", "L", "RGBA"][i % 3], size=(5 + i, 8)
        )
    return tmp_path


def test_a_folder_by_class(folder):
    picture(folder / "loose.jpg", 9)
    picture(folder / "unlabelled" / "deep" / "u.png", 10)
    (folder / "dog" / "notes.txt").write_text("x")
    task = read(folder)
    assert (
        task.classes == ("cat", "dog")
        and len(task) == 6
        and task.modalities == ("image",)
        and task.target_name == "class"
    )
    assert task.unlabelled is not None and len(task.unlabelled) == 2
    assert any("1 file is no image" in f.text for f in task.findings)
    assert len(read_new(folder / "cat", task.columns, "class")) == 3
    assert len(read_new([str(folder / "cat" / "1.png")], task.columns, "class")) == 1
    assert read_new(folder / "cat" / "1.png", task.columns, "class").image[0] == str(folder / "cat" / "1.png")


def test_photos_as_phones_and_computers_leave_them(folder):
    picture(folder / "cat" / "2024" / "Summer" / "IMG_1.JPG", 20)
    picture(folder / "dog" / "b.Png", 21)
    for name in ("cat/IMG_2.HEIC", "dog/IMG_3.heic", "cat/DSC.NEF"):
        (folder / name).write_bytes(b"ftypheic")
    for name in ("Thumbs.db", ".DS_Store", "cat/desktop.ini", "cat/._IMG_1.JPG", "__MACOSX/cat/._IMG_1.JPG"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")
    task = read(folder)
    assert task.classes == ("cat", "dog") and len(task) == 8
    (told, _) = [f.text for f in task.findings]  # nothing of what systems leave behind; the other is on the classes
    assert "2 HEIC and 1 raw camera pictures (such as" in told and "JPEG" in told
    for path in folder.rglob("*.*"):
        if path.suffix.lower() in (".png", ".jpg", ".jpeg"):
            path.unlink()
    with pytest.raises(BadInput, match=r"holds no image.* 2 HEIC and 1 raw camera"):
        read(folder)
    with pytest.raises(BadInput, match=r"holds no image.* 2 HEIC and 1 raw camera"):
        read_new(folder, task.columns, "class")


def test_damaged_images_are_named_and_left_out(folder):
    whole = (folder / "cat" / "1.png").read_bytes()
    (folder / "cat" / "cut.png").write_bytes(whole[: len(whole) // 2])
    (folder / "dog" / "text.jpg").write_text("no image")
    task = read(folder)
    text = " ".join(f.text for f in task.findings)
    assert len(task) == 6 and "2 of 8 images" in text and "cut.png" in text and "text.jpg" in text
    with pytest.raises(BadInput, match=r"cut\.png cannot be read"):
        read_new(folder / "cat", task.columns, "class")


def test_equal_images_share_a_group(folder):
    (folder / "dog" / "copy.png").write_bytes((folder / "cat" / "1.png").read_bytes())
    task = read(folder)
    assert task.groups is not None and len(set(task.groups)) == 6
    assert any("contradict" in f.text for f in task.findings)


def test_folders_that_are_no_classes(tmp_path):
    with pytest.raises(BadInput, match="holds no image"):
        read(tmp_path)
    (tmp_path / "t.csv").write_text("x,y\n")
    with pytest.raises(BadInput, match=r"holds tables: give one of them"):
        read(tmp_path)
    picture(tmp_path / "train" / "cat" / "1.png")
    picture(tmp_path / "test" / "cat" / "1.png")
    with pytest.raises(BadInput, match=r"not classes: give .*train\.$"):
        read(tmp_path)
    picture(tmp_path / "flat" / "cat_1.png")
    picture(tmp_path / "flat" / "unlabelled" / "2.png")
    with pytest.raises(BadInput, match="2 images but no folder for each class"):
        read(tmp_path / "flat")
    (tmp_path / "one" / "cat").mkdir(parents=True)
    (tmp_path / "one" / "cat" / "1.png").write_bytes(b"\x89PNG")
    with pytest.raises(BadInput, match="None of the 1 images"):
        read(tmp_path / "one")


def test_a_table_with_paths(folder):
    rows = [(f"{c}/{i}.png", i * 1.5, c) for i in range(6) for c in ["cat" if i % 2 else "dog"]]
    table = folder / "t.csv"
    pd.DataFrame([*rows, ("gone.png", 3.5, "cat")], columns=["file", "x", "y"]).to_csv(table, index=False)
    task = read(table, "y")
    assert task.modalities == ("table", "image") and len(task) == 7
    assert task.frame.file[0] == str(folder / "dog" / "0.png") and task.frame.file[6] is None
    assert any("1 rows have no image" in f.text for f in task.findings)
    table.write_text(table.read_text().replace("cat/", "nowhere/").replace("dog/", "nowhere/"))
    away = read(table, "y")
    assert away.columns[0].kind == "id" and "none of which is beside the table" in away.columns[0].note
    only = folder / "only.csv"
    pd.DataFrame([*rows, ("gone.png", 3.5, "cat")], columns=["file", "x", "y"])[["file", "y"]].to_csv(only, index=False)
    assert len(read(only, "y")) == 6


def test_an_images_bytes_are_in_the_fingerprint(folder):
    before = read(folder).fingerprint
    picture(folder / "cat" / "1.png", 77)
    assert read(folder).fingerprint != before
