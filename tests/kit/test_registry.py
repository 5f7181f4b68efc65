"""The file system is the registry; another package may add to it, and cannot break it."""

import importlib.metadata
from dataclasses import FrozenInstanceError, asdict

import pytest

from smidgen.kit import methods
from smidgen.kit.errors import BadInput


@pytest.fixture
def house(tmp_path, monkeypatch):
    """A registry over a folder of our own."""
    (tmp_path / "learn").mkdir()

    def clear():
        for cached in (methods._files, methods._entry_points, methods._literal_card, methods.card):
            cached.cache_clear()

    monkeypatch.setattr(methods, "ROOT", tmp_path)
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: [])
    clear()
    yield tmp_path / "learn"
    monkeypatch.undo()
    clear()


def test_a_file_with_a_card_is_a_method_and_is_not_run(house):
    (house / "plain.py").write_text("x = 1\n")
    (house / "_hidden.py").write_text('"""Doc."""\nCARD = {"title": "H", "tldr": "h"}\n')
    (house / "good.py").write_text(
        '"""Doc."""\nCARD = {"title": "G", "tldr": "g", "tasks": ("regression",), "seconds": (1, 2)}\nraise Exit\n'
    )
    assert methods.names() == methods.names("learn") == ["learn/good"]
    card = methods.card("learn/good")
    assert (card.title, card.tasks, card.seconds, card.name, card.version) == (
        "G",
        ("regression",),
        (1.0, 2.0),
        "learn/good",
        1,
    )
    assert methods.names("lm") == []


@pytest.mark.parametrize(
    ("card", "said"),
    [
        ('{"title": "G", "tldr": "g", "task": ("regression",)}', "no setting 'task'. Did you mean 'tasks'"),
        ('{"title": "G"}', "tldr"),
    ],
)
def test_a_wrong_card_is_said(house, card, said):
    (house / "wrong.py").write_text(f'"""Doc."""\nCARD = {card}\n')
    with pytest.raises(BadInput, match=said):
        methods.card("learn/wrong")


def test_a_card_is_data_and_never_an_expression(house):
    (house / "sly.py").write_text('"""Doc."""\nCARD = dict(title=__import__("os").system("touch /tmp/never"))\n')
    with pytest.raises(ValueError, match="malformed"):
        methods.names()


def test_what_a_card_leaves_off(house):
    (house / "plain.py").write_text('"""Doc."""\nCARD = {"title": "P", "tldr": "p"}\n')
    found = asdict(methods.card("learn/plain"))
    assert {k for k, v in found.items() if v} == {
        "title", "tldr", "modalities", "tasks", "features", "seconds", "version", "name",
    }  # fmt: skip
    with pytest.raises(FrozenInstanceError):
        methods.card("learn/plain").version = 2  # type: ignore[misc]  # who asks next gets the same one
    assert (found["seconds"], found["version"], found["features"]) == ((0.01, 1.0), 1, "linear")


def test_one_of_ours_is_imported_by_its_name_and_hides_anothers(house, monkeypatch):
    (house / "logistic.py").write_text('"""Doc."""\nCARD = {"title": "P", "tldr": "p"}\n')
    points = [Point("learn/logistic", ImportError("never asked")), Point("learn/_hidden", object())]
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: points)
    with monkeypatch.context() as patch:
        patch.setattr(methods.importlib, "import_module", lambda name: name)
        assert methods.load("learn/logistic") == "smidgen.learn.logistic"
    assert methods.card("learn/logistic").title == "P"
    (house / "twice.py").write_text('"""Doc."""\nOTHER = 1\nCARD = {"title": "T", "tldr": "t"}\n')
    (house / "made.py").write_text('"""Doc."""\nif True:\n    pass\nx = """\nCARD = 1"""\n')
    methods._files.cache_clear()
    assert methods.names() == ["learn/_hidden", "learn/logistic", "learn/twice"]


def test_a_short_name_that_two_rooms_have_is_none(monkeypatch):
    monkeypatch.setattr(methods, "names", lambda room=None: ["data/one", "learn/one", "learn/two"])
    assert methods.resolve("two") == "learn/two" and methods.resolve("data/one") == "data/one"
    with pytest.raises(BadInput, match="^There is no method 'one'"):
        methods.resolve("one")


def test_names_long_and_short():
    assert methods.resolve("logistic") == methods.resolve("learn/logistic") == "learn/logistic"
    with pytest.raises(BadInput, match="Did you mean 'logistic'"):
        methods.resolve("logistics")
    for call in (methods.card, methods.load):
        with pytest.raises(BadInput, match="^There is no method 'learn/../kit/files'"):
            call("learn/../kit/files")


class Point:
    def __init__(self, name, module):
        self.name, self.module = name, module

    def load(self):
        if isinstance(self.module, Exception):
            raise self.module
        return self.module


def test_another_package_adds_a_method_and_a_broken_one_is_one_sentence(house, monkeypatch):
    module = type("M", (), {"CARD": {"title": "O", "tldr": "o"}})
    points = [
        Point("learn/other", module),
        Point("learn/bad", ImportError("no libfoo")),
        Point("learn/odd", type("N", (), {"CARD": {"titel": 1}})),
        Point("learn/bare", object()),
    ]
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: points if group == "smidgen.methods" else [])
    assert methods.names("learn") == ["learn/bad", "learn/bare", "learn/odd", "learn/other"]
    assert methods.card("learn/other").title == "O" and methods.load("learn/other") is module
    for name in ("bad", "odd", "bare"):
        with pytest.raises(BadInput, match=f"'learn/{name}' of another package cannot be used"):
            methods.card(f"learn/{name}")
