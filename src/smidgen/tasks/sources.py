"""What a person hands over, opened: a path, a folder, a DataFrame of any library, arrays, lists of rows or texts."""

import difflib
import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from smidgen.kit.errors import BadInput
from smidgen.tasks.files import Loaded, from_frame, load_file
from smidgen.tasks.images import IMAGE_SUFFIXES, foreign, images_in, read_folder
from smidgen.tasks.task import Column, Finding


def open_source(
    source: Any, target: Any, group: Any, wanted: tuple[str, ...]
) -> tuple[Loaded, str, pd.Series, pd.Series | None]:
    """The table, the target's name and raw cells, and the raw group cells."""
    if isinstance(source, tuple) and len(source) == 2 and target is None:
        source, target = source
    if isinstance(source, str | Path) and str(source) != "-" and _is_folder(source):
        paths, labels, findings = read_folder(Path(source))
        loaded = Loaded(
            pd.DataFrame({"image": pd.Series(paths, dtype=object)}), str(source), Path(source), True, findings=findings
        )
        if isinstance(group, str):
            raise BadInput(
                f"group: a folder of images has no column '{group}'. Give a table with a column of image paths instead."
            )
        return loaded, str(target or "class"), pd.Series(labels, dtype=object), _given(group, "group", len(paths))
    loaded = load_file(source, wanted) if isinstance(source, str | Path) else from_frame(source) or _from_array(source)
    frame: Any = loaded.frame
    if isinstance(target, str):
        _must_have(loaded, target, "target")
        name, values = target, frame[target]
    elif target is None:
        likely = [c for c in frame.columns if str(c).lower() in ("target", "label", "class", "y", "labels", "category")]
        raise BadInput(
            f"Which column of {loaded.where} is to be predicted? Give "
            f"target='{likely[0] if likely else frame.columns[-1]}' (--target), say. It has {listed(frame.columns)}.",
            see="target",
        )
    else:
        given = _given(target, "target", len(frame))
        assert given is not None
        name, values = "target", given
    if isinstance(group, str):
        _must_have(loaded, group, "group")
        if group == name:
            raise BadInput(
                f"group: '{group}' is the target. The group is another column, such as the person or the "
                "place that rows come from."
            )
        return loaded, name, values, frame[group]
    return loaded, name, values, _given(group, "group", len(frame))


def _is_folder(source: str | Path) -> bool:
    try:
        return Path(source).is_dir()
    except (OSError, ValueError):
        return False


def _given(values: Any, what: str, n: int) -> pd.Series | None:
    """Targets or groups that were passed as values rather than as a column's name."""
    if values is None:
        return None
    if hasattr(values, "to_numpy"):
        values = values.to_numpy()
    try:
        values = values if isinstance(values, np.ndarray) else list(values)
    except TypeError:
        got = type(values).__name__
        raise BadInput(f"{what}: expected the name of a column or one value a row, got {got}.") from None
    if getattr(values, "ndim", 1) == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if getattr(values, "ndim", 1) != 1 or len(values) != n:
        raise BadInput(f"{what}: expected {n} values, one a row, got {getattr(values, 'shape', len(values))}.")
    return pd.Series(values if isinstance(values, np.ndarray) else pd.Series(values, dtype=object))


def _must_have(loaded: Loaded, name: str, what: str) -> None:
    have = list(loaded.frame.columns)
    if name in have:
        if any(
            f.level == "warning" and f.text.startswith(f"Column name '{name}' occurs more than once")
            for f in loaded.findings
        ):
            raise BadInput(
                f"{loaded.where} has more than one column '{name}': which is the {what}? Rename or remove the others."
            )
        return
    lower = {c.lower(): c for c in have}
    near = [lower[name.lower()]] if name.lower() in lower else difflib.get_close_matches(name, have, n=1, cutoff=0.6)
    hint = f" Did you mean '{near[0]}'?" if near else ""
    bare = ""
    if all(_looks_numeric(c) for c in have):
        bare = " Its first line looks like data: add a line with column names."
    raise BadInput(
        f"{loaded.where} has no column '{name}' to be the {what}.{hint} It has {listed(have)}.{bare}", see="target"
    )


def _looks_numeric(text: str) -> bool:
    try:
        float(text)
        return True
    except ValueError:
        return False


def listed(names: Any, most: int = 8) -> str:
    names = [f"'{n}'" for n in names]
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def by_name(findings: Iterable[Finding], *sources: Any) -> tuple[Finding, ...]:
    """The findings, with files called by their names alone: they go into model and report, which are passed on, and
    where a file lies tells whose it is."""
    out = tuple(findings)
    for path in (Path(source) for source in sources if isinstance(source, str | Path)):
        name = path.absolute().name
        for spelt in (str(path.absolute()), str(path)):
            if name and os.sep in spelt:
                out = tuple(replace(f, text=f.text.replace(spelt, name)) for f in out)
    return out


def _from_array(X: Any, names: Sequence[str] | None = None) -> Loaded:
    """Arrays as a table: numbers get the columns x0.., texts one column "text"."""
    try:
        values = (
            X
            if isinstance(X, np.ndarray)
            else np.asarray(X.toarray() if hasattr(X, "toarray") else X, dtype=None if _flat(X) else object)
        )
    except (ValueError, TypeError, OverflowError):
        got = type(X).__name__
        raise BadInput(f"X: expected a table, an array or a list of texts, got {got} that is none.") from None
    if (
        values.ndim == 1
        and values.dtype.kind in "UOT"
        and all(v is None or isinstance(v, str) or v != v for v in values.tolist())
    ):
        frame = pd.DataFrame({names[0] if names else "text": pd.Series(values.tolist(), dtype=object)})
    elif values.ndim == 1 and values.dtype.kind in "fiub" and len(values):
        frame = pd.DataFrame({names[0] if names else "x0": values})
    elif values.ndim == 2 and values.shape[1]:
        # column by column: of a whole array of objects pandas guesses the types, and fails on odd text
        held = object if values.dtype.kind in "OUT" else values.dtype
        frame = pd.DataFrame({j: pd.Series(values[:, j], dtype=held) for j in range(values.shape[1])})
        frame.columns = pd.Index(names or [f"x{j}" for j in range(values.shape[1])], dtype=object)
    elif values.ndim > 2:
        raise BadInput(
            f"X: expected rows and columns, got an array of shape {values.shape}. Images: give a folder of "
            "files by class, or a table with a column of paths."
        )
    else:
        raise BadInput(
            f"X: expected a path, a DataFrame, an array [rows, columns] or a list of texts, got "
            f"{type(X).__name__} of shape {values.shape}."
        )
    if not len(frame):
        raise BadInput("X has no rows: expected at least 2 with a target.")
    return Loaded(frame, "X", Path.cwd())


def _flat(X: Any) -> bool:
    """Whether numpy may choose the type: not for lists that mix words and numbers, which it would turn into words."""
    return not (isinstance(X, list | tuple) and len(X) > 0 and isinstance(X[0], list | tuple | str))


def open_new(
    source: Any, columns: tuple[Column, ...], used: list[Column], *, of_pool: bool = False, group: str | None = None
) -> Loaded:
    """Further rows with the task's columns: to predict, or (`of_pool`) without labels, for a task that is being read;
    that decides only what errors speak of. group: a further column that is kept as written, if it is there."""
    only = used[0] if len(used) == 1 else None
    if isinstance(source, str | Path):
        image = only.name if only is not None and only.kind == "image" else None
        if str(source) != "-" and _is_folder(source):
            if image is None:
                who = "the rows with labels are" if of_pool else "the model needs"
                raise BadInput(f"{source} is a folder, but {who} a table with {listed(c.name for c in used)}.")
            paths, others = images_in(Path(source).absolute())
            if not paths:
                raise BadInput(f"{source} holds no image. {foreign(others)}".rstrip(), see="photos")
            return Loaded(pd.DataFrame({image: [str(p) for p in paths]}), str(source), Path(source))
        if image is not None and str(source).lower().endswith(IMAGE_SUFFIXES):
            return Loaded(pd.DataFrame({image: [str(source)]}), str(source), Path.cwd())
        # categories and texts are read as written: "01" must not become 1 here when it was text at the fit
        # and 1.234 is what the form of the fit says, whatever a file of such cells alone would look like
        written = ("category", "text", "image")
        as_text = tuple(c.name for c in used if c.kind in written or (c.kind == "number" and c.form))
        return load_file(source, as_text if group is None else (*as_text, group), gaps=not of_pool)
    found = from_frame(source)
    if found is not None:
        return found
    if isinstance(source, dict):
        return _rows_given(
            pd.DataFrame(
                {k: v if isinstance(v, list | tuple | np.ndarray | pd.Series) else [v] for k, v in source.items()}
            )
        )
    if isinstance(source, list | tuple) and source and all(isinstance(r, dict) for r in source):
        return _rows_given(pd.DataFrame(list(source)))
    if only is not None and isinstance(source, list | tuple) and source and all(isinstance(p, Path) for p in source):
        source = [str(p) for p in source]
    array = _from_array(source)
    width = len(array.frame.columns)
    names = [c.name for c in columns] if width == len(columns) else [c.name for c in used]
    if width != len(names):
        who = "the rows with labels have" if of_pool else "the model was fitted on"
        raise BadInput(f"X has {width} columns, but {who} {len(names)} ({listed(names)}).")
    array.frame.columns = pd.Index(names, dtype=object)
    return array


def _rows_given(frame: pd.DataFrame) -> Loaded:
    loaded = from_frame(frame)
    assert loaded is not None
    return replace(loaded, where="the rows given")
