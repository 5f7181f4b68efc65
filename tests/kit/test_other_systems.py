"""Systems that are not Linux: no locks, no exchange of names, and a /proc that says nothing."""

import ctypes
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from smidgen.kit import files, machine
from smidgen.kit.errors import BadInput
from smidgen.kit.files import new_folder, write_bytes
from smidgen.kit.linefile import LineFile
from smidgen.kit.lock import FolderLock


class System:
    """`os` with something else in places."""

    def __init__(self, **other: Any) -> None:
        self.__dict__.update(other)

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)


@pytest.fixture
def windows(monkeypatch):
    monkeypatch.setitem(sys.modules, "fcntl", None)
    monkeypatch.setattr(files, "os", System(name="nt"))


def test_files_and_folders_are_whole_without_locks(tmp_path, windows):
    for text in ("first", "second"):
        write_bytes(tmp_path / "a", text.encode())
        with new_folder(tmp_path / "b") as made:
            (made / "c").write_text(text)
        assert (tmp_path / "a").read_text() == (tmp_path / "b" / "c").read_text() == text
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "b"]


def test_two_users_of_a_file_are_not_told_apart_without_locks(tmp_path, windows):
    with FolderLock(tmp_path, "taken"), FolderLock(tmp_path, "taken"):
        assert not list(tmp_path.iterdir())
    words = {"other": "others", "same": "same", "user": "user", "line": "line"}
    with LineFile(tmp_path / "lines", "s", **words) as one, LineFile(tmp_path / "lines", "s", **words):
        one.add([{"number": 1}])


@pytest.mark.parametrize("error", [OSError, AttributeError, TypeError])
def test_an_older_folder_stays_until_the_new_one_has_its_name(tmp_path, monkeypatch, error):
    def library(name: None) -> None:
        raise error

    monkeypatch.setattr(ctypes, "CDLL", library)
    with new_folder(tmp_path / "b") as made:
        (made / "c").write_text("first")
    moved: list[str] = []

    def replace(old: Any, new: Any) -> None:
        moved.append(Path(new).name)
        if moved == ["old", "b"]:
            raise OSError(28, "No space left on device", str(old))
        Path(old).replace(new)

    monkeypatch.setattr(files, "os", System(replace=replace))
    with pytest.raises(OSError, match="No space left"), new_folder(tmp_path / "b") as made:
        (made / "c").write_text("second")
    assert (tmp_path / "b" / "c").read_text() == "first" and moved == ["old", "b", "b"]
    with new_folder(tmp_path / "b") as made:
        (made / "c").write_text("third")
    assert (tmp_path / "b" / "c").read_text() == "third"
    assert [p.name for p in tmp_path.iterdir()] == ["b"]


def test_links_inside_a_folder_are_left_as_they_are(tmp_path):
    (tmp_path / "far").write_text("far")
    with new_folder(tmp_path / "b") as made:
        (made / "inner").mkdir()
        (made / "link").symlink_to(tmp_path / "far")
    assert (tmp_path / "b" / "link").is_symlink() and (tmp_path / "far").read_text() == "far"


def test_a_folder_that_is_swept_away_at_its_first_moment_is_made_again(tmp_path, monkeypatch):
    swept: list[Path] = []

    def open_(path: Any, flags: int) -> int:
        if not swept:
            swept.append(Path(path))
            swept[0].rmdir()
        return os.open(path, flags)

    monkeypatch.setattr(files, "os", System(open=open_))
    with new_folder(tmp_path / "b") as made:
        assert made != swept[0] and made.is_dir()
    assert [p.name for p in tmp_path.iterdir()] == ["b"]


def test_a_folder_that_cannot_be_opened_is_not_left(tmp_path, monkeypatch):
    def open_(path: Any, flags: int) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(files, "os", System(open=open_))
    with pytest.raises(PermissionError), new_folder(tmp_path / "b"):
        pass
    assert not list(tmp_path.iterdir())


def test_a_machine_that_says_little(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "Path", lambda path: tmp_path / str(path).lstrip("/"))
    monkeypatch.setattr(machine, "os", System(sysconf_names={}))
    monkeypatch.setattr(machine, "cores", lambda: 1)
    said = machine.machine()
    assert said["memory_gb"] is None and said["processor"] == machine.platform.machine()
    for name, text in (("0000:01", "Model: \t NVIDIA H200\n"), ("0000:02", "IRQ: 3\n"), ("0000:03", None)):
        place = tmp_path / "proc/driver/nvidia/gpus" / name / "information"
        place.mkdir(parents=True) if text is None else place.parent.mkdir(parents=True)
        if text is not None:
            place.write_text(text)
    assert machine.gpus() == ["NVIDIA H200", "NVIDIA GPU"]


def test_a_setting_of_several_kinds():
    from dataclasses import dataclass

    from smidgen.kit.config import from_mapping

    @dataclass
    class Config:
        either: int | float = 0
        any: object = None

    assert from_mapping(Config, {"either": "2.5", "any": [1]}) == Config(2.5, [1])
    with pytest.raises(BadInput, match="Config.either: expected a value, got None"):
        from_mapping(Config, {"either": None})
