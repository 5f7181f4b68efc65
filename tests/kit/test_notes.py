"""Notes reach who listens, once each, and a warning where nobody does."""

import pytest

from smidgen.kit.notes import listening, note


def test_notes_go_to_the_innermost_listener_once_and_else_are_warnings():
    with listening() as outer:
        note("a")
        with listening() as inner:
            note("b")
            note("b")
        note("c")
    assert (outer, inner) == (["a", "c"], ["b"])
    with pytest.raises(ZeroDivisionError), listening():
        raise ZeroDivisionError
    for _ in range(2):
        with pytest.warns(UserWarning, match="^d$"):
            note("d")
