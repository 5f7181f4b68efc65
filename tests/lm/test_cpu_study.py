"""What a study of a processor counts, and that it leaves the process as it was."""

import os

import pytest
import torch

from smidgen.kit.errors import BadInput
from smidgen.kit.machine import cores
from smidgen.lm.cpu_study import CpuStudy, in_dtype, pinned, weight_bytes
from smidgen.nets.decoder import Decoder, DecoderConfig, parameters

CONFIG = DecoderConfig(97, 32, 2, 4, 1, 48, 80, tie_embeddings=False)


def test_rows_count_bytes_and_agree_with_themselves():
    model = Decoder(CONFIG)
    before = torch.get_num_threads(), os.sched_getaffinity(0)
    rows = CpuStudy(prompt_lens=(4, 70), new_tokens=10, threads=(1,), dtypes=("fp32", "bf16"), rounds=1).run(model)
    assert [(r.dtype, r.prompt) for r in rows] == [("fp32", 4), ("fp32", 70), ("bf16", 4), ("bf16", 70)]
    read = parameters(CONFIG) - 97 * 32  # an embedding apart from the output is looked up
    for row in rows:
        size = 4 if row.dtype == "fp32" else 2
        assert row.weight_bytes == size * read
        assert row.cache_bytes == 2 * 2 * 1 * (row.prompt + 10) * 8 * size
        assert row.weight_bytes_per_second == pytest.approx(row.weight_bytes * row.tokens_per_second)
        assert row.first_token_seconds > 0 and row.resident_bytes > 50e6
    assert (torch.get_num_threads(), os.sched_getaffinity(0)) == before
    assert model.model.embed_tokens.weight.dtype == torch.float32


def test_another_format_is_a_copy_and_the_same_one_is_not():
    model = Decoder(CONFIG)
    same, half = in_dtype(model, torch.float32), in_dtype(model, torch.bfloat16)
    assert same.output_weight_VD.data_ptr() == model.output_weight_VD.data_ptr()
    assert half.output_weight_VD.dtype == torch.bfloat16 and weight_bytes(half) * 2 == weight_bytes(model)
    tied = Decoder(DecoderConfig(97, 32, 2, 4, 1, 48, 80))
    assert weight_bytes(tied) == 4 * parameters(tied.config)
    assert weight_bytes(in_dtype(tied, torch.float32)) == weight_bytes(tied)


def test_threads_and_cores_come_back_also_after_a_failure():
    threads, own, inside = torch.get_num_threads(), os.sched_getaffinity(0), []

    def fail() -> None:
        with pinned(1):
            inside.append((torch.get_num_threads(), len(os.sched_getaffinity(0))))
            raise ZeroDivisionError

    torch.set_num_threads(2)
    try:
        with pytest.raises(ZeroDivisionError):
            fail()
        assert inside == [(1, 1)] and (torch.get_num_threads(), os.sched_getaffinity(0)) == (2, own)
    finally:
        torch.set_num_threads(threads)


def test_bad_input_is_named():
    for wrong, says in (
        ({"new_tokens": 1}, "at least 2"),
        ({"rounds": 0}, "at least 1"),
        ({"dtypes": ("int4",)}, "fp32 or bf16, got int4"),
        ({"threads": (cores() + 1,)}, "cores of this process"),
    ):
        with pytest.raises(BadInput, match=says):
            CpuStudy(**wrong)
    with pytest.raises(BadInput, match="at most 80 tokens, got 96"):
        CpuStudy(prompt_lens=(64,)).run(Decoder(CONFIG))
