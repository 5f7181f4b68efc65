"""Files are whole or absent, and no bytes of a stranger get further than one sentence."""

import json
import os
import stat
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smidgen.kit import files
from smidgen.kit.errors import BadInput
from smidgen.kit.files import (
    digest,
    new_folder,
    parse_tensors,
    read_json,
    read_tensors,
    tensor_bytes,
    write_bytes,
    write_json,
)

ARRAYS = {
    "b": np.arange(6.0).reshape(2, 3),
    "a": np.array([True, False]),
    "e": np.zeros((0, 4), np.int32),
    "s": np.array(2.5, np.float32),
}
BODY = tensor_bytes(ARRAYS)


def tensors(header, body: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + body


def entry(dtype="F64", shape=(1,), offsets=(0, 8)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


def test_tensors_come_back_and_their_bytes_do_not_depend_on_order():
    out = parse_tensors(BODY)
    assert out.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert (
            out[name].dtype == array.dtype and out[name].shape == array.shape and out[name].tobytes() == array.tobytes()
        )
        out[name][...] = 0  # it is ours, and may be written
    assert tensor_bytes(dict(reversed(ARRAYS.items()))) == BODY
    assert tensor_bytes({"x": np.arange(12).reshape(3, 4).T}) == tensor_bytes(
        {"x": np.arange(12).reshape(3, 4).T.copy()}
    )


def test_the_format_is_the_common_one(tmp_path):
    from safetensors.numpy import load_file, save_file

    path = tmp_path / "t.safetensors"
    save_file(ARRAYS, path, {"made": "elsewhere"})
    assert read_tensors(path)["b"].tolist() == ARRAYS["b"].tolist()
    path.write_bytes(BODY)
    assert load_file(path)["b"].tolist() == ARRAYS["b"].tolist()


HOSTILE = {
    "empty": b"",
    "seven bytes": b"\0" * 7,
    "a header longer than the file": (100).to_bytes(8, "little") + b"{}",
    "a header of exabytes": (2**63).to_bytes(8, "little") + b"{}",
    "not JSON": tensors(b"\x80\x04\x95"),
    "not UTF-8": tensors(b'{"\xff": 1}'),
    "a list": tensors([1]),
    "a number": tensors(3),
    "deep": tensors(b"[" * 100_000),
    "an entry that is no table": tensors({"a": 1}),
    "an entry without a type": tensors({"a": {"shape": [1], "data_offsets": [0, 8]}}, b"\0" * 8),
    "a type of another kind": tensors({"a": entry(["F64"])}, b"\0" * 8),
    "objects": tensors({"a": entry("O")}, b"\0" * 8),
    "too short a body": tensors({"a": entry()}, b"\0" * 7),
    "bytes that nobody owns": tensors({"a": entry()}, b"\0" * 9),
    "a hole": tensors({"a": entry(), "b": entry(offsets=(16, 24))}, b"\0" * 24),
    "an overlap": tensors({"a": entry(), "b": entry(offsets=(0, 8))}, b"\0" * 8),
    "offsets backwards": tensors({"a": entry(shape=(-1,), offsets=(8, 0))}, b"\0" * 8),
    "a shape of exabytes": tensors({"a": entry(shape=(2**60,))}, b"\0" * 8),
    "an empty shape of exabytes": tensors({"a": entry(shape=(0, 2**70), offsets=(0, 0))}),
    "a hundred axes": tensors({"a": entry(shape=[1] * 100)}, b"\0" * 8),
    "a shape of truths": tensors({"a": entry(shape=(True,))}, b"\0" * 8),
    "a shape in words": tensors({"a": {**entry(), "shape": "1"}}, b"\0" * 8),
    "offsets with a point": tensors({"a": entry(offsets=(0.0, 8.0))}, b"\0" * 8),
    "offsets in words": tensors({"a": entry(offsets=("0", "8"))}, b"\0" * 8),
    "three offsets": tensors({"a": entry(offsets=(0, 4, 8))}, b"\0" * 8),
    "mixed offsets": tensors({"a": entry(), "b": entry(offsets=(None, 8))}, b"\0" * 8),
    "no number": tensors(b'{"a": {"dtype": "F64", "shape": [1], "data_offsets": [NaN, 8]}}', b"\0" * 8),
    "a pickle": __import__("pickle").dumps({"a": 1}),
    "a numpy file": b"\x93NUMPY\x01\x00" + b"\0" * 100,
    "a zip": b"PK\x03\x04" + b"\0" * 100,
}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_table_is_one_sentence(data):
    with pytest.raises(
        BadInput, match=r"^here is not a whole safetensors file \(.*\): the file is damaged or was edited\.$"
    ):
        parse_tensors(data, "here")


def test_a_header_longer_than_any_of_ours(monkeypatch):
    monkeypatch.setattr(files, "MAX_HEADER", 30)
    with pytest.raises(BadInput, match="longer than allowed"):
        parse_tensors(BODY)


def test_too_many_tensors(monkeypatch):
    monkeypatch.setattr(files, "MAX_TENSORS", 3)
    with pytest.raises(BadInput, match="not a table of tensors"):
        parse_tensors(BODY)


@given(st.binary(max_size=60) | st.tuples(st.integers(0, len(BODY)), st.integers(0, 40), st.binary(max_size=40)))
@settings(max_examples=400)
def test_any_edit_is_refused_or_harmless(edit):
    """Whatever is cut out and put in: arrays that lie within the file, or BadInput."""
    data = edit if isinstance(edit, bytes) else BODY[: edit[0]] + edit[2] + BODY[edit[0] + edit[1] :]
    try:
        out = parse_tensors(data)
    except BadInput:
        return
    assert sum(a.nbytes for a in out.values()) <= len(data)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 2**70) | st.floats() | st.sampled_from(["F64", "U8", "dtype"]),
    lambda s: st.lists(s, max_size=3) | st.dictionaries(st.sampled_from(["dtype", "shape", "data_offsets", "a"]), s),
    max_leaves=8,
)
near = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from(["F64", "U8", "BOOL"]) | json_values,
        "shape": st.lists(st.integers(-1, 5), max_size=3) | json_values,
        "data_offsets": st.tuples(st.integers(-1, 20), st.integers(-1, 20)) | json_values,
    }
)


@given(st.dictionaries(st.text(max_size=3), near | json_values, max_size=3), st.binary(max_size=20))
@settings(max_examples=400)
def test_any_table_is_refused_or_true(header, body):
    try:
        out = parse_tensors(tensors(header, body))
    except BadInput:
        return
    assert sum(a.nbytes for a in out.values()) == len(body)


# -- whole or absent --

STEPS = ["tempfile.mkstemp", "os.fdopen", "os.fsync", "os.chmod", "os.replace"]


class Full(OSError):
    pass


def fails(monkeypatch, step: str, nth: int = 1):
    module, name = step.split(".")
    real, count = getattr(getattr(files, module), name), [0]

    def sometimes(*args, **kwargs):
        count[0] += 1
        if count[0] == nth:
            raise Full(28, "No space left on device")
        return real(*args, **kwargs)

    monkeypatch.setattr(getattr(files, module), name, sometimes)


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("old", [None, b"what was there"])
def test_a_write_that_fails_at_any_step_leaves_what_was_there(tmp_path, monkeypatch, step, old):
    path = tmp_path / "f.json"
    if old is not None:
        path.write_bytes(old)
    with monkeypatch.context() as patch:
        fails(patch, step)
        with pytest.raises(Full):
            write_bytes(path, b"new")
    assert [p.name for p in tmp_path.iterdir()] == (["f.json"] if old else [])
    assert old is None or path.read_bytes() == old
    write_bytes(path, b"new")
    assert path.read_bytes() == b"new" and stat.S_IMODE(path.stat().st_mode) == 0o644


def test_a_write_that_is_stopped_while_it_writes(tmp_path, monkeypatch):
    path = tmp_path / "f"
    path.write_bytes(b"old")
    monkeypatch.setattr(files.os, "fsync", lambda fd: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        write_bytes(path, b"x" * 100_000)
    assert path.read_bytes() == b"old" and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    ("step", "nth"),
    [("tempfile.mkdtemp", 1), ("tempfile.mkdtemp", 2), ("os.chmod", 1), ("os.replace", 1), ("os.replace", 2)],
)
def test_a_folder_that_fails_at_any_step_leaves_the_old_one(tmp_path, monkeypatch, step, nth):
    target = tmp_path / "m"
    target.mkdir()
    (target / "old").write_text("o")
    with monkeypatch.context() as patch:
        patch.setattr(files, "_exchange", lambda one, other: False)  # as on systems that cannot
        fails(patch, step, nth)
        with pytest.raises(Full), new_folder(target) as new:
            (new / "new").write_text("n")
    assert [p.name for p in tmp_path.iterdir()] == ["m"] and [p.name for p in target.iterdir()] == ["old"]
    with new_folder(target) as new:
        (new / "new").write_text("n")
        assert [p.name for p in target.iterdir()] == ["old"]  # until it is whole
    assert [p.name for p in tmp_path.iterdir()] == ["m"] and [p.name for p in target.iterdir()] == ["new"]


def test_what_a_killed_process_left_goes_and_what_is_in_use_stays(tmp_path):
    for stray in ("f.unfinished-1", "m.unfinished-1", "[m].unfinished-1", "m.mine", "f.mine"):
        (tmp_path / f".{stray}").mkdir() if "m" in stray[:2] else (tmp_path / f".{stray}").write_text("half")
    with new_folder(tmp_path / "m") as outer, new_folder(tmp_path / "m") as inner:
        write_bytes(outer / "a", b"1")
        assert outer.is_dir() and inner.is_dir() and outer != inner
        write_bytes(tmp_path / "f", b"1")
    left = {"f", "m", ".[m].unfinished-1", ".m.mine", ".f.mine"}
    assert {p.name for p in tmp_path.iterdir()} == left and [p.name for p in (tmp_path / "m").iterdir()] == ["a"]


def test_a_folder_whose_making_fails_never_appears(tmp_path):
    with pytest.raises(ZeroDivisionError), new_folder(tmp_path / "deep" / "m") as new:
        (new / str(1 / 0)).write_text("h")
    assert list((tmp_path / "deep").iterdir()) == []


# -- reading --


def test_json_round_trip(tmp_path):
    value = {"ä": [1, 2.5, None, True, "\u2028"], "b": {}}
    write_json(tmp_path / "v.json", value)
    assert read_json(tmp_path / "v.json") == value
    write_json(tmp_path / "v.json", {"ä": [1]})
    assert (tmp_path / "v.json").read_text(encoding="utf-8") == '{\n "ä": [\n  1\n ]\n}\n'


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "\udcff", '{"a": 1} x'])
def test_what_is_not_json_is_one_sentence(tmp_path, text):
    (tmp_path / "v.json").write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(BadInput, match="not valid JSON"):
        read_json(tmp_path / "v.json")


def test_only_regular_files_of_a_decent_size(tmp_path):
    (tmp_path / "big.json").write_text("[1, 2, 3]")
    (tmp_path / "link.json").symlink_to(tmp_path / "big.json")
    os.mkfifo(tmp_path / "pipe.json")
    for name, said in (
        ("link.json", "found a link"),
        ("pipe.json", "found none"),
        ("gone.json", "found none"),
        (".", "found none"),
    ):
        with pytest.raises(BadInput, match=said):
            read_json(tmp_path / name)
    with pytest.raises(BadInput, match="9 bytes, more than the 8 allowed"):
        read_json(tmp_path / "big.json", limit=8)


def test_what_is_just_within_a_limit_is_read(tmp_path, monkeypatch):
    path = tmp_path / "v.json"
    path.write_text("[1,2,3]")
    monkeypatch.setattr(files, "MAX_VALUES", 3)
    assert read_json(path, limit=7) == [1, 2, 3]
    for text in ("[1,2,3,4]", "[[[[]]]]", '[{"a":[{}]}]'):
        path.write_text(text)
        with pytest.raises(BadInput, match="more than 3 values"):
            read_json(path)
    monkeypatch.setattr(files, "MAX_HEADER", int.from_bytes(BODY[:8], "little"))
    monkeypatch.setattr(files, "MAX_TENSORS", len(ARRAYS))
    monkeypatch.setattr(files, "MAX_AXES", 2)
    path.write_bytes(BODY)
    assert read_tensors(path, limit=len(BODY)).keys() == ARRAYS.keys()
    with pytest.raises(BadInput, match=f"more than the {len(BODY) - 1} allowed"):
        read_tensors(path, limit=len(BODY) - 1)
    monkeypatch.setattr(files, "MAX_AXES", 1)
    with pytest.raises(BadInput, match="does not match"):
        read_tensors(path)
    with pytest.raises(BadInput, match="header is not JSON"):
        parse_tensors(bytes(8))
    assert parse_tensors(tensors({})) == {} and parse_tensors(tensors({"__metadata__": {"a": "b"}})) == {}


def test_a_failure_names_the_file_that_a_person_knows(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError) as error:
        write_bytes(tmp_path / "no" / "f", b"")
    assert error.value.filename.startswith(str(tmp_path / "no"))
    with monkeypatch.context() as patch:
        patch.setattr(files.os, "replace", lambda a, b: (_ for _ in ()).throw(OSError(5, "Broken", a, None, b)))
        with pytest.raises(OSError, match="Broken") as error:
            write_bytes(tmp_path / "f", b"")
    assert (error.value.filename, error.value.filename2) == (str(tmp_path / "f"), None)
    with pytest.raises(OSError, match="gone") as error, new_folder(tmp_path / "m") as new:
        (new / "part" / "gone").read_text()
    assert error.value.filename == str(tmp_path / "m" / "part" / "gone")
    with pytest.raises(OSError, match="elsewhere") as error, new_folder(tmp_path / "m"):
        (tmp_path / "elsewhere").read_text()
    assert error.value.filename == str(tmp_path / "elsewhere") and list(tmp_path.iterdir()) == []


def test_a_file_of_another_library_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    (tmp_path / "made").write_bytes(b"x")
    synced = []
    monkeypatch.setattr(files.os, "fsync", lambda fd: synced.append((os.fstat(fd).st_ino, (tmp_path / "f").exists())))
    files.settle(tmp_path / "made", tmp_path / "f")
    assert synced == [((tmp_path / "f").stat().st_ino, False)] and [p.name for p in tmp_path.iterdir()] == ["f"]


def test_a_librarys_own_error_of_the_disk_is_one_of_the_system(tmp_path):
    from safetensors.numpy import save_file

    with pytest.raises(FileNotFoundError) as error, new_folder(tmp_path / "m") as new:
        save_file({"a": np.zeros(2)}, new / "absent" / "a.safetensors")
    assert error.value.filename == str(tmp_path / "m") and not list(tmp_path.iterdir())


def test_a_new_folder_can_be_entered_by_others_and_holds_nothing_open(tmp_path):
    def handles() -> int:
        return sum(1 for _ in Path("/proc/self/fd").iterdir()) if Path("/proc/self/fd").exists() else 0

    before = handles()
    for text in ("first", "second"):
        with new_folder(tmp_path / "m") as new:
            (new / "t").write_text(text)
        write_bytes(tmp_path / "f", text.encode())
        assert stat.S_IMODE((tmp_path / "m").stat().st_mode) == 0o755 and (tmp_path / "m/t").read_text() == text
    assert {p.name for p in tmp_path.iterdir()} == {"m", "f"}
    assert handles() == before


@pytest.mark.parametrize("quicker", [False, True])
def test_no_sweeper_takes_what_is_being_written(tmp_path, monkeypatch, quicker):
    """Another process sweeps at the last moment, where the lock holds it off, or before there is a lock."""
    real, lock = files.os.replace, files._lock

    def swept(a, b):
        files._sweep(tmp_path / "f")
        files._sweep(tmp_path / "m")
        real(a, b)

    def late(fd, wait=True):
        monkeypatch.setattr(files, "_lock", lock)
        for path in tmp_path.glob(".*unfinished-*"):
            path.rmdir() if path.is_dir() else path.unlink()
        return lock(fd, wait)

    monkeypatch.setattr(files.os, "replace", swept)
    monkeypatch.setattr(files, "_lock", late if quicker else lock)
    write_bytes(tmp_path / "f", b"whole")
    assert (tmp_path / "f").read_bytes() == b"whole"
    monkeypatch.setattr(files, "_lock", late if quicker else lock)
    with new_folder(tmp_path / "m") as new:
        files._sweep(tmp_path / "m")  # by who writes the same folder
        (new / "whole").touch()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["f", "m"] and (tmp_path / "m" / "whole").exists()


def test_two_names_are_exchanged_or_nothing_is_done(tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    done = files._exchange(tmp_path / "a", tmp_path / "b")
    assert [p.name for p in (tmp_path / "a").iterdir()] == ["b" if done else "a"]
    assert [p.name for p in (tmp_path / "b").iterdir()] == ["a" if done else "b"]
    assert not files._exchange(tmp_path / "a", tmp_path / "absent")
    files.remove_tree(tmp_path / "absent")


def test_a_digest_knows_where_parts_end():
    assert digest("ab", "c") != digest("a", "bc") != digest("abc")
    assert digest("ä") == digest("ä".encode()) and len(digest()) == 32


def test_a_file_is_digested_once_until_it_changes(tmp_path, monkeypatch):
    path = tmp_path / "x"
    path.write_bytes(b"one")
    first = files.file_digest(path)
    assert first == files.digest(b"one")
    monkeypatch.setattr(files, "digest", lambda *_: "read again")
    assert files.file_digest(path) == first
    path.write_bytes(b"three")
    assert files.file_digest(str(path)) == "read again"
