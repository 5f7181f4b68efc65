"""Products with packed weights: every way gives what the unpacked weight gives; the compiled one is built safely."""

import os
import platform
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from smidgen.formats import native, product
from smidgen.formats.format import Format
from smidgen.kit.errors import BadInput

COMPILER = next(filter(shutil.which, native.COMPILERS), None)
NAMES = ["int2/64", "int2+offset/48/bfloat16", "int3/64", "int3+offset/40", "int4/64", "int4+offset/32/double",
         "int4/tensor", "int4/10", "int5/64", "int6+offset/24/float32", "int7/channel", "int8/64", "int8+offset/4",
         "uint8/64", "nf4/64/double", "fp4/32", "e2m1/32/e8m0", "e2m1/16/e4m3fn", "e3m2/64", "e4m3fn/64", "int1/64",
         "ternary/channel", "ternary/tensor", "uint4+offset/channel"]  # fmt: skip
SHAPES = [(67, 384), (3, 5), (1, 129), (9, 1000), (4, 2048)]


def random(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def check(name):
    """All numbers of inputs that take ways of their own, against a product in float64."""
    fmt = Format.parse(name)
    for rows, columns in SHAPES:
        made = fmt.quantize(random(rows, columns), search="absmax")
        parts, weight = made.pack(), made.dequantize()
        for n in (1, 2, 3, 7, 40):
            x = random(n, columns, seed=1)
            y = product.product(x, parts, fmt, (rows, columns))
            scale = (x.abs() @ weight.abs().T).clamp(min=1e-30)
            exact = x.double() @ weight.double().T
            assert y.shape == (n, rows) and float(((y - exact).abs() / scale).max()) < 1e-6, (rows, columns, n)
        pieces = torch.cat([piece.clone() for _, piece in product.pieces(parts, fmt, (rows, columns))])
        assert torch.equal(pieces, weight), (rows, columns)  # to the bit


def test_the_kernel_for_gpus_gives_the_same(tmp_path):
    """In Triton's interpreter, which a process has from its start."""
    pytest.importorskip("triton")
    environment = dict(os.environ) | {"TRITON_INTERPRET": "1", "TRITON_CACHE_DIR": str(tmp_path)}
    subprocess.run([sys.executable, Path(__file__).with_name("gpu_products.py")], check=True, env=environment)


@pytest.mark.parametrize("way", ["compiled", "torch"])
@pytest.mark.parametrize("name", NAMES)
def test_equals_the_unpacked_product(name, way, monkeypatch):
    if way == "torch":
        monkeypatch.setenv("SMIDGEN_KERNELS", "off")
        assert native.library() is None and "off" in native.why_not()
    elif native.library() is None:
        pytest.skip(native.why_not())
    check(name)


OTHERS = {
    "plain": ("-mno-avx512f", "-mno-avx2", "-mno-avx"),
    "avx2": ("-mno-avx512f",),
    "avx512 without vbmi": ("-mno-avx512vbmi",),
}


@pytest.mark.skipif(platform.machine() != "x86_64" or COMPILER is None, reason="other processors have one way")
@pytest.mark.parametrize("kind", OTHERS)
def test_so_do_the_ways_of_other_processors(kind, tmp_path, monkeypatch):
    options = [o for o in native.OPTIONS if not o.startswith("-O")]
    command = [COMPILER, "-O0", *options, "-march=native", *OTHERS[kind], "-o", tmp_path / "other.so", native.SOURCE]
    subprocess.run(command, check=True)
    made = native.load(tmp_path / "other.so")
    monkeypatch.setattr(native, "_built", lambda: (made, ""))
    for name in NAMES:
        check(name)


def test_threads_change_nothing():
    fmt = Format.parse("int4+offset/64")
    parts = fmt.quantize(random(700, 512), search="absmax").pack()
    x, before = random(5, 512), torch.get_num_threads()
    one = product.product(x, parts, fmt, (700, 512))
    try:
        torch.set_num_threads(2)
        assert torch.equal(product.product(x, parts, fmt, (700, 512)), one)
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("n", [2, 50])
def test_gradients_reach_the_inputs(n):
    fmt, x = Format.parse("nf4/64/double"), random(n, 300).requires_grad_()
    made = fmt.quantize(random(40, 300))
    up = random(n, 40, seed=2)
    product.product(x, made.pack(), fmt, (40, 300)).backward(up)
    assert x.grad is not None and torch.allclose(x.grad, up @ made.dequantize(), atol=1e-4)


def test_other_types_and_odd_inputs():
    fmt = Format.parse("int4/64")
    made = fmt.quantize(random(30, 128))
    parts, weight = made.pack(), made.dequantize()
    x = random(4, 256)[:, ::2]  # not contiguous
    assert torch.allclose(product.product(x, parts, fmt, (30, 128)), x @ weight.T, atol=1e-4)
    double = product.product(x.double(), parts, fmt, (30, 128))
    assert double.dtype == torch.float64 and torch.allclose(double, x.double() @ weight.double().T, rtol=1e-12)
    assert product.product(x[:0], parts, fmt, (30, 128)).shape == (0, 30)
    wide = {k: torch.stack([v, v], -1)[..., 0] if v.dim() > 1 else v for k, v in parts.items()}
    assert not wide["codes"].is_contiguous()
    assert torch.allclose(product.product(x, wide, fmt, (30, 128)), x @ weight.T, atol=1e-4)
    x[1, 3] = float("nan")
    assert product.product(x, parts, fmt, (30, 128)).isnan().any(1).tolist() == [False, True, False, False]


def test_a_weight_that_changes_in_place_is_read_anew():
    fmt = Format.parse("int4/64")
    first, second = (fmt.quantize(random(8, 64, seed=s)) for s in (0, 1))
    parts, x = first.pack(), random(1, 64)
    product.product(x, parts, fmt, (8, 64))
    for name, tensor in second.pack().items():
        parts[name].copy_(tensor)
    assert torch.allclose(product.product(x, parts, fmt, (8, 64)), x @ second.dequantize().T, atol=1e-5)


@pytest.mark.parametrize("name", ["int4+offset/64", "nf4/64/double", "e2m1/16/e4m3fn", "int4/64/bfloat16"])
def test_a_network_that_was_cast_still_multiplies(name):
    fmt = Format.parse(name)
    made, x = fmt.quantize(random(8, 128)), random(3, 128)
    parts = {k: v.half().double() if v.is_floating_point() else v for k, v in made.pack().items()}
    assert torch.allclose(product.product(x, parts, fmt, (8, 128)), x @ made.dequantize().T, atol=0.1)


def test_what_does_not_fit_is_refused_before_anything_is_read():
    fmt = Format.parse("int4+offset/64/double")
    parts = fmt.quantize(random(8, 128)).pack()
    with pytest.raises(BadInput, match="inputs"):
        product.product(random(1, 127), parts, fmt, (8, 128))
    wrong = {
        "codes": parts["codes"][:, :-1],
        "scales.codes": parts["scales.codes"].int(),
        "offsets.of": parts["offsets.of"][:0],
        "scales.mean": parts["scales.mean"].int(),
    }
    for name, tensor in wrong.items():
        with pytest.raises(BadInput, match=name.partition(".")[0]):
            product.product(random(1, 128), {**parts, name: tensor}, fmt, (8, 128))
        with pytest.raises(BadInput):
            product.product(random(1, 128), {k: v for k, v in parts.items() if k != name}, fmt, (8, 128))


SMALL = 'extern "C" { void smidgen_packed_product() {} void smidgen_packed_rows() {} }'


@pytest.fixture
def small(tmp_path, monkeypatch):
    """A source that compiles at once, and a cache folder of its own."""
    source = tmp_path / "small.cpp"
    source.write_text(SMALL)
    monkeypatch.setattr(native, "SOURCE", source)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return source


@pytest.mark.skipif(COMPILER is None, reason="no compiler")
def test_it_is_built_once_for_its_source_in_a_folder_of_the_users(small, monkeypatch):
    folder = native.cache_folder()
    path = native.build(folder)
    assert path.parent == folder and stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(path.stat().st_mode) == 0o700 and [p.name for p in folder.iterdir()] == [path.name]
    assert native.load(path) is not None
    stamp = path.stat().st_mtime_ns
    assert native.build(folder) == path and path.stat().st_mtime_ns == stamp
    small.write_text(SMALL + "\n")
    assert native.build(folder) != path
    path.chmod(0o777)
    with pytest.raises(PermissionError):
        native.load(path)
    folder.chmod(0o777)
    with pytest.raises(PermissionError):
        native.build(folder)


def test_without_a_compiler_there_is_torch(small, tmp_path, monkeypatch):
    false = tmp_path / "false"
    false.write_text("#!/bin/sh\necho no >&2\nexit 1\n")
    false.chmod(0o700)
    for cxx, path, why in ((str(false), None, "failed: no"), ("", str(tmp_path / "nowhere"), "no C++ compiler")):
        monkeypatch.setenv("CXX", cxx)
        if path:
            monkeypatch.setenv("PATH", path)
        native._built.cache_clear()
        try:
            assert native.library() is None
            assert why in native.why_not()
            check("int4/64")
        finally:
            native._built.cache_clear()
    assert not list(native.cache_folder().glob("*"))
