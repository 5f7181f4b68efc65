"""A file of lines keeps what was whole, holds off a second user, and refuses other work."""

import pytest

from smidgen.kit.errors import BadInput
from smidgen.kit.linefile import LineFile

WORDS = {"other": "the trials of another space", "same": "space", "user": "search", "line": "trial"}


def opened(path, space="a"):
    return LineFile(path, space, **WORDS)


def test_what_was_added_is_read_again_by_its_line_and_half_a_line_is_cut_off(tmp_path):
    path = tmp_path / "new" / "folder" / "rows.jsonl"
    with opened(path) as file:
        assert file.rows == {}
        file.add([{"n": 1}, {"n": 2}])
        assert path.read_text() == '{"space": "a", "schema": 1}\n{"n": 1}\n{"n": 2}\n'  # before the block ends
    whole = path.read_bytes()
    path.write_bytes(whole + '{"n": "é'.encode())
    with opened(path) as file:
        assert file.rows == {2: {"n": 1}, 3: {"n": 2}}
        assert path.read_bytes() == whole
        file.add([{"n": 3}])
    with opened(path) as file:
        assert list(file.rows) == [2, 3, 4]


def test_a_file_that_was_killed_at_its_first_line_starts_anew(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"space": "b"')
    with opened(path) as file:
        assert file.rows == {}
    assert path.read_text() == '{"space": "a", "schema": 1}\n'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"space": "a"}\n{"n": 1}\n{"n"\n{"n": 2}\n', "line 3 is not a trial"),
        ('{"space": "a"}\n7\n', "line 2 is not a trial"),
        ('{"n": 1}\n', "line 1 is not a trial"),
        ('{"space": "b"}\n', "holds the trials of another space: give another file, or the same space"),
    ],
)
def test_damage_and_other_work_are_said_and_nothing_is_changed(tmp_path, text, said):
    path = tmp_path / "rows.jsonl"
    path.write_text(text)
    for _ in range(2):  # a refused file is let go of
        with pytest.raises(BadInput, match=said), opened(path):
            pass
    assert path.read_text() == text


def test_one_user_at_a_time(tmp_path):
    path = tmp_path / "rows.jsonl"
    with opened(path), pytest.raises(BadInput, match="in use by another search"), opened(path):
        pass
    with opened(path):
        pass
