"""What people give by mistake, or a disk spoils between two sittings: named, refused, or left out when they say so."""

import functools
import json
import signal

import pytest

from smidgen.cli.main import main
from smidgen.kit.errors import BadInput
from smidgen.lm import shards, tokenizer
from smidgen.lm.model import LanguageModel, load, save
from smidgen.nets.decoder import Decoder, DecoderConfig
from smidgen.train.journal import Journal

TEXT = "".join(f"The {a} {b} the {c}. " for a in ("cat", "dog", "owl") for b in ("sees", "hears") for c in "abcdefgh")


def said(capsys):
    return capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("noise.txt", bytes(range(256)) * 50, "noise.txt is a binary file"),
        ("empty.txt", b"", "empty.txt: there is no text"),
        ("blank.jsonl", b'{"text": " "}\n{"text": "\\n"}\n', "blank.jsonl: there is no text"),
        ("short.txt", b"Hi there, you.", "short: The corpus has"),
        (
            "end.txt",
            b" " * 5000 + b"END",
            "end: there is no text to train on",
        ),  # all but its end, which is held out, is blank
    ],
)
def test_a_part_of_a_mix_with_nothing_in_it_is_named(name, content, says, tmp_path, capsys):
    (tmp_path / "good.txt").write_text(TEXT * 10)
    (tmp_path / name).write_bytes(content)
    stem = name.split(".")[0]
    mix = ["--mix", "good=1", "--mix", f"{stem}=1", "--size", "60k", "--out", str(tmp_path / "m")]
    assert main(["lm", "train", str(tmp_path / "good.txt"), str(tmp_path / name), *mix]) == 2
    assert says in said(capsys)


def test_documents_shorter_than_the_context_are_read_together(tmp_path):
    (tmp_path / "short.txt").write_text("<|endoftext|>".join(TEXT[i : i + 24] for i in range(0, len(TEXT), 24)))
    out = ["--size", "60k", "--context", "64", "--out", str(tmp_path / "m")]
    assert main(["lm", "train", str(tmp_path / "short.txt"), *out]) == 0


def test_a_model_with_another_tokenizer_is_refused(tmp_path, capsys):
    ours, other = (tokenizer.train([text], 280) for text in (TEXT, TEXT.upper()))
    assert ours.words == other.words == 280  # equal sizes: only the words tell
    save(LanguageModel(Decoder(DecoderConfig(280, 16, 1, 2, 2, 16, 32)), ours), tmp_path / "m")
    place = tmp_path / "m" / "tokenizer.json"
    place.write_text(json.dumps(json.loads(place.read_text()), ensure_ascii=False))  # written anew, it is the same
    assert load(tmp_path / "m").tokenizer.vocabulary == ours.vocabulary
    place.write_bytes(other.json)
    (tmp_path / "a.txt").write_text(TEXT)
    for verb in (["eval", str(tmp_path / "m"), str(tmp_path / "a.txt")], ["generate", str(tmp_path / "m"), "The"]):
        assert main(["lm", *verb]) == 2
        assert "tokenizer.json is not the tokenizer that this model was trained with" in said(capsys)
    place.write_bytes(tokenizer.train([TEXT], 270).json)
    with pytest.raises(BadInput, match="is not the tokenizer"):
        load(tmp_path / "m")


@pytest.fixture
def begun(tmp_path, monkeypatch):
    """The command of a training that was stopped after 15 updates; its tokens lie in several shards."""
    monkeypatch.setattr(shards, "write", functools.partial(shards.write, shard_tokens=400))
    (tmp_path / "animals.txt").write_text("<|endoftext|>".join([TEXT] * 8))
    command = ["lm", "train", str(tmp_path / "animals.txt"), "--out", str(tmp_path / "m")]
    write = Journal.write

    def stopping(self, step, **values):
        write(self, step, **values)
        if step == 15:
            signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patched:
        patched.setattr(Journal, "write", stopping)
        assert main([*command, "--size", "60k", "--context", "16"]) == 130
    return command


def test_going_on_with_another_tokenizer_is_refused(begun, tmp_path, capsys):
    (tmp_path / "m" / ".train" / "tokenizer.json").write_bytes(tokenizer.train([TEXT.upper()], 300).json)
    assert main([*begun, "--resume"]) == 2
    assert "was made with another tokenizer" in said(capsys)


def test_going_on_from_a_newer_version_is_refused_and_no_older_checkpoint_is_taken(begun, tmp_path, capsys):
    folder = tmp_path / "m" / ".train" / "checkpoints"
    newest = sorted(folder.glob("checkpoint-*.json"))[-1]
    later = json.loads(newest.read_text()) | {"version": 2, "sequence": 99}
    (folder / "checkpoint-00000099.json").write_text(json.dumps(later))
    assert main([*begun, "--resume"]) == 2
    line = said(capsys)
    assert "checkpoint-00000099.json was written by a newer smidgen (format 2; this one reads 1 at most)" in line
    assert newest.exists() and "update it" in line


def test_a_corrupt_shard_is_refused_by_name_and_left_out_on_request(begun, tmp_path, capsys):
    place = tmp_path / "m" / ".train" / "parts" / "animals"
    assert len(list(place.glob("*.tokens"))) > 2
    data = bytearray((place / "00001.tokens").read_bytes())
    data[100] ^= 4
    (place / "00001.tokens").write_bytes(data)
    assert main([*begun, "--resume"]) == 2
    assert "00001.tokens is corrupt" in said(capsys)
    assert main([*begun, "--resume", "--skip-corrupt"]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert any(line.startswith("Left out: ") and "00001.tokens" in line for line in lines)
    assert any(line == "going on from update 15" for line in lines)
    steps = [json.loads(line)["step"] for line in (tmp_path / "m" / "log.jsonl").read_text().splitlines()]
    assert steps == list(range(1, len(steps) + 1)) and len(steps) > 15
