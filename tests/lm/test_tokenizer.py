"""Any text comes back unchanged; parts are tokenized as the whole; transformers reads the same ids."""

import gzip

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from smidgen.kit.errors import BadInput
from smidgen.lm import tokenizer
from smidgen.lm.tokenizer import cut, load, parse, train

TEXT = "the cat sat on the mat; the rat, the bat... 's 12 123\n\n  the end\tüber die Brücke\u2003 \u3000x\n" * 30
SMALL = train([TEXT], 400)


@example(TEXT[:90])
@given(st.text() | st.text(alphabet="the 's\n\t\r\x1c\u2003.12é"))
def test_any_text_comes_back_and_parts_are_as_the_whole(text):
    ids = SMALL.encode(text)
    assert SMALL.decode(ids) == text
    assert SMALL.end not in ids
    for length in (1, 3):
        assert [i for part in cut(text, length) for i in SMALL.encode(part)] == ids


def test_documents_begin_with_the_end_token_which_text_cannot_hold():
    ids = SMALL.encode_document("the <|endoftext|> cat")
    assert ids[0] == SMALL.end and (ids == SMALL.end).sum() == 1
    assert SMALL.decode(ids) == "the <|endoftext|> cat"
    assert SMALL.encode_document("").tolist() == [SMALL.end]


def test_training_is_repeatable_and_stops_where_pairs_end(data_folder):
    with gzip.open(data_folder / "tiny_shakespeare" / "test.txt.gz", "rt") as file:
        text = file.read()
    made = train([text], 512)
    assert made.words == 512 and made.json == train([text], 512).json and made.identity != SMALL.identity
    assert 257 < train(["ab ab ab"], 1000).words < 300
    assert len(made.encode(text)) < 0.55 * len(text)


def test_transformers_reads_it(tmp_path):
    transformers = pytest.importorskip("transformers")
    SMALL.write(tmp_path, 64)
    theirs = transformers.PreTrainedTokenizerFast.from_pretrained(tmp_path)
    assert theirs(TEXT)["input_ids"] == SMALL.encode_document(TEXT).tolist()
    assert theirs.decode(SMALL.encode(TEXT)) == TEXT
    assert (theirs.eos_token_id, theirs.bos_token_id, theirs.model_max_length) == (SMALL.end, SMALL.end, 64)
    assert load(tmp_path).json == SMALL.json


def test_what_is_no_tokenizer_is_named(tmp_path):
    with pytest.raises(BadInput, match="no text"):
        train([" ", ""], 300)
    with pytest.raises(BadInput, match="257 to"):
        train([TEXT], 256)
    with pytest.raises(BadInput, match=r"tokenizer\.json"):
        load(tmp_path)
    (tmp_path / tokenizer.FILE).write_text('{"model": 1}')
    with pytest.raises(BadInput, match="not a tokenizer"):
        load(tmp_path)
    with pytest.raises(BadInput, match="no <|endoftext|> token"):
        parse(SMALL.json.replace(b"<|endoftext|>", b"<|stop|>"))
