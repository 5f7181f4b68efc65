"""Seeds: the same everywhere, for ever, and another for each name."""

from hypothesis import given
from hypothesis import strategies as st

from smidgen.kit.seeds import derive_seed


def test_they_must_not_drift():
    """Other seeds would make every stored trial another one under its old key."""
    assert [derive_seed(0), derive_seed(0, "folds", 0), derive_seed(1, "folds", 0), derive_seed(0, "cv", 3)] == [
        1609362278,
        4226944695,
        2296186935,
        2859838316,
    ]


@given(
    st.integers(),
    st.lists(st.text(alphabet="ab1", max_size=3), max_size=3),
    st.lists(st.text(alphabet="ab1", max_size=3), max_size=3),
)
def test_another_name_is_another_seed(seed, a, b):
    assert 0 <= derive_seed(seed, *a) < 2**32
    assert (derive_seed(seed, *a) == derive_seed(seed, *b)) == (a == b)


def test_names_do_not_run_together():
    assert derive_seed(0, "ab", "c") != derive_seed(0, "a", "bc") != derive_seed(0, "abc")
