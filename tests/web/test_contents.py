"""What doubtful rows hold: who waits for whom, what is asked of a folder of images, and how an image is made small."""

import io
import threading

import numpy as np
import pytest

from smidgen.kit.errors import BadInput
from smidgen.studies.stored import Study
from smidgen.tasks.read import read
from smidgen.web import contents

image = pytest.importorskip("PIL.Image")


def study(name: str, source, fingerprint: str = "") -> Study:
    about = {"task_name": name, "asked": {}, "state": "done", "created": 1.0, "updated": 1.0}
    return Study(id=name, fingerprint=fingerprint, options={"source": str(source), "target": "class"}, **about)


@pytest.fixture
def photos(tmp_path):
    """A folder of eight images, what a study keeps of it, and one doubtful row."""
    folder = tmp_path / "photos"
    for k in range(8):
        path = folder / ("cat" if k % 2 else "dog") / f"{k}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        image.new("RGB", (60, 40), (k, 99, 10)).save(path)
    row = {"row": None, "name": "cat/1.png"}
    return folder, study(str(folder), folder, read(folder).fingerprint), {"wrong": [row], "labels": []}


def test_nobody_waits_while_another_study_is_read(tmp_path, monkeypatch):
    for name in ("known", "slow", "other"):
        (tmp_path / name).write_text("x")
    known, slow, other = (study(f"{tmp_path}/{name}", tmp_path / name) for name in ("known", "slow", "other"))
    begun, go, reads = threading.Event(), threading.Event(), []

    def reading(which, path, doubts):
        reads.append(path.name)
        if which is slow:
            begun.set()
            assert go.wait(10)
        return {}, path.name

    monkeypatch.setattr(contents, "_read", reading)
    contents.look(known, {})
    answers: list = []
    waiting = [threading.Thread(target=lambda: answers.append(contents.look(slow, {}))) for _ in range(2)]
    asking = [threading.Thread(target=contents.look, args=(one, {}), daemon=True) for one in (known, other)]
    try:
        waiting[0].start()
        assert begun.wait(10)
        waiting[1].start()
        for thread in asking:
            thread.start()
            thread.join(5)
            assert not thread.is_alive()
    finally:
        go.set()
        for thread in waiting:
            thread.join(10)
    assert answers == [({}, "slow")] * 2 and reads == ["known", "slow", "other"]  # each was read once


def test_a_link_that_leads_nowhere_does_no_harm(photos):
    folder, one, rows = photos
    (folder / "cat" / "lost.png").symlink_to(folder / "gone.png")
    found, why = contents.look(one, rows)
    assert why == "" and found is not None and found["wrong", 0].image == folder / "cat" / "1.png"


def test_an_image_is_shown_from_what_the_page_read(photos, monkeypatch):
    folder, one, rows = photos
    found, _ = contents.look_again(one, rows)  # nothing was read before: it is now
    assert found is not None
    monkeypatch.setattr(contents, "_stamp", lambda path: pytest.fail("the whole folder was asked again"))
    assert contents.look_again(one, rows)[0] is found


def test_a_changed_folder_is_read_again(photos):
    folder, one, rows = photos
    assert contents.look(one, rows)[0] is contents.look(one, rows)[0] is not None
    image.new("RGB", (9, 9)).save(folder / "cat" / "new.png")
    found, why = contents.look(one, rows)
    assert found is None and "has changed" in why


def test_an_image_is_made_small_as_models_see_it(tmp_path):
    """Upright by its camera's note, deep grey with its own range, and one sentence for what is no image."""
    camera = image.new("RGB", (600, 400), "white")
    camera.paste((0, 0, 0), (0, 0, 600, 100))  # dark above, before it is turned
    note = image.Exif()
    note[0x0112] = 6  # to be turned by 90 degrees to the right
    camera.save(tmp_path / "turned.jpg", exif=note)
    small = np.asarray(image.open(io.BytesIO(contents.thumbnail(tmp_path / "turned.jpg"))).convert("L"))
    assert small.shape == (320, 213) and small[:, -20:].max() < 60 < 200 < small[:, :100].min()
    deep = np.repeat(np.linspace(0, 65535, 64).astype(np.uint16)[None], 64, 0)
    image.fromarray(deep).save(tmp_path / "deep.png")
    grey = np.asarray(image.open(io.BytesIO(contents.thumbnail(tmp_path / "deep.png"))).convert("L"))
    assert grey.shape == (64, 64) and abs(int(grey[0, 32]) - 129) < 4
    (tmp_path / "no.png").write_bytes(b"no image")
    with pytest.raises(BadInput, match="cannot be decoded"):
        contents.thumbnail(tmp_path / "no.png")
