"""Views of texts, images and mixed tables: real data, saved state, rows that stand alone."""

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from smidgen.data.views import encoders
from smidgen.data.views.rows import Rows
from smidgen.data.views.view import View, choices, encoders_of
from smidgen.kit.errors import BadInput
from smidgen.kit.files import parse_tensors, tensor_bytes
from smidgen.kit.state import pack, unpack
from smidgen.tasks.task import Column, Task

TEXT = (Column(name="text", kind="text"),)


def dense(X):
    return X.toarray() if sparse.issparse(X) else X


def saved(view: View) -> View:
    arrays: dict[str, np.ndarray] = {}
    plain = pack(view.get_state(), arrays)
    return View.from_state(unpack(plain, parse_tensors(tensor_bytes(arrays))), view.columns)


@pytest.fixture(scope="module")
def trec(data_folder):
    return pd.read_json(data_folder / "trec" / "train.jsonl.gz", lines=True)[["text", "label"]].head(300)


@pytest.mark.parametrize("name", ["tfidf", "tfidf_svd"])
def test_texts_saved_and_alone(trec, name):
    train, new = Rows(trec[:200].reset_index(drop=True)), Rows(trec[200:].reset_index(drop=True))
    view = View(name, TEXT).fit(train)
    X = view.transform(new)
    assert sparse.issparse(X) == (name == "tfidf")
    assert np.array_equal(dense(X), dense(saved(view).transform(new)))
    alone = np.vstack([dense(view.transform(Rows(new.frame.iloc[[i]].reset_index(drop=True)))) for i in range(5)])
    assert np.allclose(dense(X)[:5], alone, atol=1e-12)
    assert abs(dense(view.transform(train)).var(0).sum() - 16) < 0.5


def test_tfidf_is_tfidf(trec):
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.metrics.pairwise import linear_kernel

    rows = Rows(trec.head(100))
    X = View("tfidf", TEXT).fit(rows).transform(rows)
    parts = [
        TfidfVectorizer(
            sublinear_tf=True, analyzer=a, ngram_range=r, token_pattern=r"(?u)\b\w+\b" if a == "word" else None
        )
        for a, r in (("word", (1, 2)), ("char_wb", (3, 5)))
    ]
    kernel = sum(linear_kernel(p.fit_transform(rows.frame.text)) for p in parts)
    mine = (X @ X.T).toarray()
    assert np.corrcoef(mine.ravel(), kernel.ravel())[0, 1] > 0.9999
    assert np.allclose(mine / mine[0, 0], kernel / kernel[0, 0], atol=0.02)  # but for the few n-grams that share a hash


def test_unseen_empty_and_missing_texts_are_finite():
    view = View("tfidf_svd", TEXT).fit(Rows(pd.DataFrame({"text": ["one two", "two three", None]})))
    assert np.isfinite(view.transform(Rows(pd.DataFrame({"text": ["", None, "zzz", "two"]})))).all()
    only = View("tfidf", TEXT).fit(Rows(pd.DataFrame({"text": ["", None]})))
    assert only.transform(Rows(pd.DataFrame({"text": ["new"]}))).shape[0] == 1


def test_a_state_holds_no_word_of_the_texts(trec):
    arrays: dict[str, np.ndarray] = {}
    plain = repr(pack(View("tfidf", TEXT).fit(Rows(trec)).get_state(), arrays))
    assert not [w for w in ("football", "invented", "president") if w in plain]


def mixed(data_folder, n: int = 120) -> pd.DataFrame:
    """A real table (German credit) whose rows also have a real text (a banking question)."""
    table = pd.read_csv(data_folder / "tab_german_credit" / "data.csv.gz").drop(columns="fold").head(n)
    texts = pd.read_json(data_folder / "banking77" / "train.jsonl.gz", lines=True).text.head(n)
    return table.assign(question=texts)


def kinds(frame: pd.DataFrame) -> tuple[Column, ...]:
    return tuple(
        Column(
            name=c,
            kind="text" if c == "question" else "number" if pd.api.types.is_numeric_dtype(frame[c]) else "category",
        )
        for c in frame.columns
    )


@pytest.mark.parametrize("name", ["linear+tfidf", "tree+tfidf_svd", "linear+minilm"])
def test_a_mixed_table(data_folder, name):
    if "minilm" in name and not encoders.available("minilm"):
        pytest.skip("needs the sentence encoder")
    frame = mixed(data_folder)
    columns = kinds(frame)
    train, new = Rows(frame[:80].reset_index(drop=True)), Rows(frame[80:].reset_index(drop=True))
    view = View(name, columns).fit(train)
    X, table = dense(view.transform(new)), View(name.split("+")[0], columns).fit(train).transform(new)
    assert np.isfinite(X).all()
    assert np.array_equal(X[:, : table.shape[1]], table)
    assert abs(dense(view.transform(train))[:, table.shape[1] :].var(0).sum() - 16) < 0.5
    assert np.array_equal(X, dense(saved(view).transform(new)))
    task = Task(
        frame=frame,
        target=np.zeros(len(frame), np.int64),
        kind="classification",
        columns=columns,
        metric="log_loss",
        classes=("a", "b"),
    )
    assert name.split("+")[0] + "+tfidf" in choices(task, for_features=name.split("+")[0], sparse=True)


def test_choices_for_texts(monkeypatch):
    def task(text: str) -> Task:
        return Task(
            frame=pd.DataFrame({"text": [text] * 9}),
            target=np.zeros(9, np.int64),
            kind="classification",
            columns=TEXT,
            metric="log_loss",
            classes=("a", "b"),
        )

    from smidgen.data.views import view

    monkeypatch.setattr(view, "available", lambda name: True)
    assert choices(task("short"), for_features="linear", sparse=True) == ["minilm", "tfidf"]
    assert choices(task("word " * 300), for_features="tree", sparse=False) == ["minilm", "minilm_short"]
    monkeypatch.setattr(view, "available", lambda name: False)
    assert choices(task("short"), for_features="linear", sparse=True) == ["tfidf"]
    assert choices(task("short"), for_features="tree", sparse=False) == ["tfidf_svd"]
    assert encoders_of("linear+minilm+hog") == ("minilm", "hog")
    assert encoders_of("tree") == ()
    with pytest.raises(BadInput, match="can be learnt from"):
        choices(
            Task(
                frame=pd.DataFrame({"x": [1]}),
                target=np.zeros(1),
                kind="regression",
                columns=(Column(name="x", kind="id"),),
                metric="rmse",
            ),
            for_features="linear",
            sparse=False,
        )


def test_raw_views_stand_alone_and_keep_values():
    """Word pieces come as they are, and only to a task of a single text."""
    if not encoders.available("tokens"):
        pytest.skip("needs the sentence encoder")
    from smidgen.nets import minilm

    texts = ["a short one", "", "word " * 300]
    frame = pd.DataFrame({"review": texts, "price": [1.0, 2.0, 3.0]})
    text, number = Column(name="review", kind="text"), Column(name="price", kind="number")
    X = View("tokens", (text,)).fit(Rows(frame[:2])).transform(Rows(frame))
    wanted = minilm.load().token_ids(texts, encoders.TOKENS)
    assert X.shape == (3, encoders.TOKENS)
    assert [row[row > 0].astype(int).tolist() for row in X] == wanted
    about = {"target": np.zeros(3, np.int64), "kind": "classification", "metric": "log_loss", "classes": ("a", "b")}
    alone, mixed = (Task(frame=frame, columns=c, **about) for c in ((text,), (text, number)))
    assert choices(alone, for_features="tokens", sparse=False) == ["tokens"]
    assert choices(mixed, for_features="tokens", sparse=False) == []
    assert choices(alone, for_features="picture", sparse=False) == []
