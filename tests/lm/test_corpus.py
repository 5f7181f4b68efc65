"""What is read as text, how it falls into documents, and what is refused by name."""

import gzip
import json

import pytest

from smidgen.kit.errors import BadInput
from smidgen.lm import corpus
from smidgen.lm.corpus import open_corpus


def texts(*sources, column="text"):
    return [d.text for d in open_corpus(sources, column)]


def test_all_kinds_are_read_in_the_order_of_names(tmp_path):
    inside = tmp_path / "more" / "deep"
    inside.mkdir(parents=True)
    (inside / "a.txt").write_bytes("one\r\n\r\nand é".encode())
    (inside / "b.jsonl.gz").write_bytes(
        gzip.compress(b'{"text": "two"}\n\n{"text": " ", "n": 1}\n{"text": "3 \\ud800"}')
    )
    (inside / "c.csv").write_text('id,text\n1,"four\nlines, really"\n2,\n3,007\n')
    (inside / "d.md.gz").write_bytes(gzip.compress(b"\xef\xbb\xbffive") + gzip.compress(b" and on"))
    (inside / "e.txt").write_bytes("sex".encode("utf-16"))
    (inside / "f.txt").write_bytes("naïve".encode("cp1252"))
    (inside / "picture.png").write_bytes(b"\x89PNG")
    (inside / ".hidden.txt").write_text("no")
    found = open_corpus([tmp_path / "more"])
    assert [d.text for d in found] == [
        "one\r\n\r\nand é", "two", "3 ?", "four\nlines, really", "007", "five and on", "sex", "naïve",
    ]  # fmt: skip
    assert [p.name for p in found.skipped] == ["picture.png"]
    assert [d.where.rpartition("/")[2] for d in found][1:4] == [
        "b.jsonl.gz, line 1",
        "b.jsonl.gz, line 4",
        "c.csv, row 1",
    ]
    assert texts(inside / "c.csv", column="id") == ["1", "2", "3"]


def test_marks_divide_a_text_wherever_blocks_end(tmp_path, monkeypatch):
    path = tmp_path / "a"  # no ending: read as plain text
    path.write_text("eins é<|endoftext|>zwei<|end<|endoftext|>\n<|endoftext|>drei")
    for size in (1, 2, 3, 7, 1000):
        monkeypatch.setattr(corpus, "_BLOCK", size)
        assert texts(path) == ["eins é", "zwei<|end", "drei"]


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("a.txt", b" \n\t", "a.txt: there is no text"),
        ("a.txt", b"", "a.txt: there is no text"),
        ("a.txt", b"abc\0def", "a.txt is a binary file"),
        ("a.txt", b"x" * (1 << 20) + b"\0", "a.txt is a binary file"),
        ("a.txt", bytes(range(256)) * 9, "a.txt is a binary file"),
        ("a.txt", b"%PDF-1.4 ...", "a.txt is a picture, document"),
        ("a.txt", b"x" * (1 << 20) + b"\xff", "a.txt is not UTF-8 text .byte 1,048,576"),
        ("a.txt", b"abc \xe2\x82", "ends inside a character"),
        ("a.txt.gz", gzip.compress(b"much text" * 99, mtime=0)[:-9], "damaged gzip"),
        ("a.jsonl", b'{"text": "a"}\n{"text": ', "a.jsonl, line 2: not valid JSON"),
        ("a.jsonl", b'{"body": "a"}', 'a.jsonl, line 1: expected an object with "text", got body'),
        ("a.jsonl", b'{"text": 5}', 'line 1, "text": expected a text, got 5'),
        ("a.csv", b"body,n\na,1\n", "a column 'text', got body, n"),
    ],
)
def test_what_is_no_text_is_named(name, data, says, tmp_path):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(BadInput, match=says):
        texts(tmp_path / name)


def test_nothing_to_read_is_said_at_once(tmp_path):
    for sources, says in (([tmp_path / "no"], "no such file"), ([tmp_path], "files that end in"), ([], "no corpus")):
        with pytest.raises(BadInput, match=says):
            open_corpus(sources)


def test_real_books(data_folder):
    documents = list(open_corpus([data_folder / "books_lm" / "val.jsonl.gz"]))
    with gzip.open(data_folder / "books_lm" / "val.jsonl.gz", "rt") as lines:
        assert [d.text for d in documents] == [json.loads(line)["text"] for line in lines]
