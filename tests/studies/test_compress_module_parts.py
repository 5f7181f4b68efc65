"""A network of torch to be compressed: its batches, its judge, and the folder that fills another one."""

import copy
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import nn

import smidgen
from smidgen.compress import options
from smidgen.kit.errors import BadInput
from smidgen.studies import compress_module
from smidgen.studies.compress_module import load_packed, subject_of


@pytest.fixture(scope="module", autouse=True)
def _few_options() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(options, "WIDTHS", (4, 8))
        patch.setattr(options, "GROUPS", (32,))
        yield


def net(dtype: torch.dtype = torch.float32) -> nn.Module:
    torch.manual_seed(0)
    made = nn.Sequential(nn.Linear(40, 12), nn.Dropout(0.5), nn.BatchNorm1d(12), nn.Linear(12, 3))
    made.register_buffer("nothing", torch.zeros(0))
    return made.to(dtype)


def batches(n: int, dtype: torch.dtype = torch.float32) -> list[torch.Tensor]:
    return [torch.randn(4, 40, generator=torch.Generator().manual_seed(i)).to(dtype) for i in range(n)]


def test_so_many_batches_are_used_and_the_network_is_a_copy_for_use() -> None:
    made, data = net(), [torch.full((1, 40), float(i)) for i in range(800)]
    subject = subject_of(made, data, None)
    assert [len(p) for p in (subject.learn, subject.choose, subject.check)] == [256, 64, 128]
    assert subject.unit == "relative error" and subject.loss(subject.model, subject.check) == 0.0
    assert made.training and not subject.model.training and subject.model is not made
    judge = compress_module._Judge(copy.deepcopy(made).eval(), data[:1])
    assert not judge.wanted[0].requires_grad and judge(subject.model, data[:1]) == 0.0
    other = subject_of(made, data, None, 1)
    firsts = [int(s.learn[0][0, 0]) for s in (subject, subject_of(made, data, None, 0))]
    assert firsts[0] == firsts[1] and [len(b) for b in subject.learn] == [1] * 256
    assert [float(b[0, 0]) for b in other.learn] != [float(b[0, 0]) for b in subject.learn]
    own = subject_of(made, data[:3], lambda model, given: 0.25)
    assert own.unit == "the loss given" and own.loss(made, []) == 0.25
    assert [len(p) for p in (own.learn, own.choose, own.check)] == [0, 1, 2]
    for none in (None, []):
        bare = subject_of(made, none, None)
        assert bare.learn == bare.choose == bare.check == [] and math.isnan(bare.loss(bare.model, []))
    with pytest.raises(BadInput, match="at least 3 batches"):
        subject_of(made, data[:1], None)


def test_sixteen_bits_become_thirty_two_with_their_batches() -> None:
    for dtype in (torch.float16, torch.bfloat16):
        subject = subject_of(net(dtype), batches(6, dtype), None)
        assert {p.dtype for p in subject.model.parameters()} == {torch.float32}
        assert {b.dtype for part in (subject.learn, subject.choose, subject.check) for b in part} == {torch.float32}
    double = subject_of(net(torch.float64), batches(6, torch.float64), None)
    assert {p.dtype for p in double.model.parameters()} == {torch.float64}

    class Pair(NamedTuple):
        x: torch.Tensor

    half = torch.ones(2, dtype=torch.float16)
    wide: Any = compress_module._wide([half, (half, half.double()), {"a": half}, "a", Pair(half)])
    assert type(wide) is list and type(wide[1]) is tuple and wide[3] == "a"
    assert [wide[0].dtype, wide[1][0].dtype, wide[1][1].dtype, wide[2]["a"].dtype] == [
        torch.float32, torch.float32, torch.float64, torch.float32,
    ]  # fmt: skip
    assert wide[4].x.dtype == torch.float16  # nobody knows how to make another one


def test_answers_are_a_row_each() -> None:
    for shape, rows in (((5,), (5, 1)), ((5, 2), (5, 2)), ((5, 2, 3), (5, 6))):
        assert compress_module._answer(nn.Identity(), torch.zeros(shape)).shape == rows


def packed_at(place: Path, made: nn.Module) -> dict[str, Any]:
    return smidgen.compress(made, bits=9, calibration=batches(6), steps=0, out=place)  # type: ignore[operator]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    place = tmp_path_factory.mktemp("module") / "m"
    return place, packed_at(place, net())


def test_a_folder_fills_a_network_of_the_same_form_alone(written: Any, tmp_path: Path) -> None:
    place, found = written
    assert sorted(f.name for f in place.iterdir()) == ["model.safetensors", "packed.json"]
    assert found["bytes"] == sum(f.stat().st_size for f in place.iterdir())
    torch.manual_seed(9)
    other = net()
    with torch.no_grad():
        for p in other.parameters():
            p.add_(1.0)
    before = [p.clone() for p in other.parameters()]
    again, x = load_packed(other, str(place)), batches(1)[0]
    assert not again.training and other.training
    assert all(torch.equal(a, b) for a, b in zip(before, other.parameters(), strict=True))  # a copy is filled
    torch.testing.assert_close(again(x), found["module"](x), rtol=1e-3, atol=1e-3)
    with pytest.raises(BadInput) as missing:
        load_packed(other, tmp_path)
    assert (
        str(missing.value) == f"{tmp_path} holds no packed.json: it was not written by smidgen.compress of a network."
    )


def test_what_is_lacking_or_too_much_is_named(written: Any) -> None:
    place, _ = written
    longer = net()
    longer.append(nn.Linear(3, 3))  # type: ignore[operator]
    with pytest.raises(BadInput, match=r"or is damaged \(it lacks or adds 4\.bias\): give the architecture"):
        load_packed(longer, place)
    bare = net()
    bare[2] = nn.Identity()  # type: ignore[index]
    with pytest.raises(BadInput, match=r"it lacks or adds 2\.bias"):
        load_packed(bare, place)
    wider = net()
    wider[3] = nn.Linear(12, 4)  # type: ignore[index]
    with pytest.raises(BadInput, match="give the architecture that was compressed"):
        load_packed(wider, place)


def test_a_weight_that_two_names_share_need_not_be_there_twice(tmp_path: Path) -> None:
    torch.manual_seed(0)
    body = nn.Linear(32, 32)
    made = nn.Sequential(body, nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), body, nn.LayerNorm(32)).eval()
    data = [torch.randn(8, 32) for _ in range(6)]
    found = smidgen.compress(made, bits=9, calibration=data, steps=0, out=tmp_path / "m")  # type: ignore[operator]
    again = load_packed(made, tmp_path / "m")
    torch.testing.assert_close(again(data[0]), found["module"](data[0]), rtol=1e-3, atol=1e-3)
    assert found["bytes_before"] == 4 * (2 * (32 * 32 + 32) + 64)  # what is shared is counted once
