"""Runs other quantizers on given weights, in their own environment, on the CPU.

    python run_quantizer.py weights JOB.json     # quantize and write what comes back of it
    python run_quantizer.py speed SIZE...        # time of a product with one input, JSON

JOB holds {"weights": a safetensors file or a folder with such files, "names": which of its tensors (absent: all of two
dimensions and more whose name ends in "weight"), "transposed": those whose outputs come second, "runs": [{"peer",
"bits", "group", "out"}]}. `out` becomes a safetensors file of the dequantized tensors, float32 in their own shape, and
`out`.json what it took: "bytes" (codes in as many bits as they have, with scales and zeros as they are kept; float16
where the tool leaves that open), "stored" (as the tool really stores codes), for each layer and as a whole; "kept":
layers that the peer refuses, left in float16 and counted so, with its words; or "error" where nothing worked.
Peers: nf4, nf4_double, fp4 and int8 (bitsandbytes), hqq, quanto, quanto_hqq, torchao, torchao_hqq, rounding,
rounding_offset.
"""

import json
import math
import random
import statistics
import sys
import time
import warnings
from importlib.metadata import version
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import save_file

warnings.filterwarnings("ignore")
ROUNDS = 7
HELD = 100e6  # bytes of the weights of a way


def half(x):
    """As it is kept in two bytes."""
    return x.float().half().float()


def result(back, codes, bits, scales, stored=None):
    """The dequantized matrix with its bytes: `codes` numbers of `bits`, `scales` bytes beside them."""
    ideal = -(-codes * bits // 8) + scales
    return back.float(), {"bytes": ideal, "stored": ideal if stored is None else stored + scales}


def bitsandbytes_four(w, bits, group, kind, double):
    import bitsandbytes.functional as bnb

    only(bits, 4)
    packed, state = bnb.quantize_4bit(w, blocksize=group, quant_type=kind, compress_statistics=double)
    scales = state.absmax.numel() * state.absmax.element_size()
    if double:
        scales += 4 * state.state2.absmax.numel() + 4  # and the offset; the code book is the same for all
    return result(bnb.dequantize_4bit(packed, state), w.numel(), 4, scales)


def bitsandbytes_int8(w, bits, group):
    """One scale a row, whatever the group."""
    import bitsandbytes.functional as bnb

    only(bits, 8)
    codes, scales, _ = bnb.int8_vectorwise_quant(w.half())
    return result(bnb.int8_vectorwise_dequant(codes, scales), w.numel(), 8, 4 * scales.numel())


def hqq(w, bits, group):
    from hqq.core.quantize import Quantizer

    # `round_zero` at four bits, axis 1 and the optimizer on: what its BaseQuantizeConfig gives
    codes, meta = Quantizer.quantize(
        w, nbits=bits, group_size=group, axis=1, round_zero=bits == 4, device="cpu", compute_dtype=torch.float32
    )
    meta |= {"compute_dtype": torch.float32, "scale": half(meta["scale"]), "zero": half(meta["zero"])}
    kept = 2 * (meta["scale"].numel() + meta["zero"].numel())
    return result(Quantizer.dequantize(codes, meta), w.numel(), bits, kept, codes.numel() * codes.element_size())


def quanto(w, bits, group, search):
    from optimum.quanto import AbsmaxOptimizer, HqqOptimizer, MaxOptimizer, qint2, qint4, qint8, quantize_weight

    if bits == 8:
        scale = half(AbsmaxOptimizer()(w, qtype=qint8, axis=0))
        made = quantize_weight(w, qtype=qint8, axis=0, scale=scale, optimized=False)
        return result(made.dequantize(), w.numel(), 8, 2 * scale.numel())
    only(bits, 2, 4)
    kind = {2: qint2, 4: qint4}[bits]
    scale, shift = {"max": MaxOptimizer, "hqq": HqqOptimizer}[search]()(w, qtype=kind, axis=0, group_size=group)
    scale, shift = half(scale), half(shift)
    made = quantize_weight(w, qtype=kind, axis=0, scale=scale, shift=shift, group_size=group, optimized=False)
    return result(made.dequantize(), w.numel(), bits, 2 * (scale.numel() + shift.numel()))


def torchao(w, bits, group, search):
    """int8: one scale a row. int4: the CPU format of its prototype. Others: integers with a byte each."""
    from torchao.quantization import Int8WeightOnlyConfig, IntxWeightOnlyConfig
    from torchao.quantization.granularity import PerGroup

    if bits == 8:
        only(search, "plain")
        made = through(w, Int8WeightOnlyConfig())
        return result(made.dequantize(), w.numel(), 8, 4 * made.scale.numel())
    if bits == 4:
        made = through(w, int4(group, search))
        made.scale_and_zero = half(made.scale_and_zero)
        back = F.linear(torch.eye(w.shape[1]), made).T  # it has no other way back
        return result(back, w.numel(), 4, 2 * made.scale_and_zero.numel())
    only(search, "plain")
    kind = getattr(torch, f"int{bits}")
    made = through(w, IntxWeightOnlyConfig(weight_dtype=kind, granularity=PerGroup(group), scale_dtype=torch.float16))
    return result(made.dequantize(), w.numel(), bits, 2 * made.scale.numel(), w.numel())


def int4(group, search="plain"):
    from torchao.prototype.quantization.int4 import PrototypeInt4WeightOnlyConfig
    from torchao.quantization.quantize_.workflows import Int4ChooseQParamsAlgorithm as Choose

    choose = {"plain": Choose.TINYGEMM, "hqq": Choose.HQQ}[search]
    return PrototypeInt4WeightOnlyConfig(group_size=group, int4_choose_qparams_algorithm=choose)


def through(w, config):
    from torchao.quantization import quantize_

    return quantize_linear(w, lambda net: quantize_(net, config)).weight


def quantize_linear(w, change):
    """A linear layer with this weight, changed by the function that its network is given to."""
    net = torch.nn.Sequential(torch.nn.Linear(w.shape[1], w.shape[0], bias=False, dtype=w.dtype))
    net[0].weight.data = w.clone()
    change(net)
    return net[0]


def rounding(w, bits, group, offset):
    """To the nearest, scales from the largest number (or both ends) of each group, kept in float16."""
    x = w.reshape(-1, group)
    if offset:
        low = half(x.amin(1, keepdim=True))
        scale = half((x.amax(1, keepdim=True) - low) / (2**bits - 1)).clamp(min=6e-8)
        return result((((x - low) / scale).round().clamp(0, 2**bits - 1) * scale + low).reshape(w.shape),
                      w.numel(), bits, 4 * len(x))  # fmt: skip
    most = 2 ** (bits - 1) - 1
    scale = half(x.abs().amax(1, keepdim=True) / max(most, 1)).clamp(min=6e-8)
    return result(((x / scale).round().clamp(-most - 1, most) * scale).reshape(w.shape), w.numel(), bits, 2 * len(x))


PEERS = {
    "nf4": lambda *a: bitsandbytes_four(*a, "nf4", False),
    "nf4_double": lambda *a: bitsandbytes_four(*a, "nf4", True),
    "fp4": lambda *a: bitsandbytes_four(*a, "fp4", False),
    "int8": bitsandbytes_int8,
    "hqq": hqq,
    "quanto": lambda *a: quanto(*a, "max"),
    "quanto_hqq": lambda *a: quanto(*a, "hqq"),
    "torchao": lambda *a: torchao(*a, "plain"),
    "torchao_hqq": lambda *a: torchao(*a, "hqq"),
    "rounding": lambda *a: rounding(*a, False),
    "rounding_offset": lambda *a: rounding(*a, True),
}
ACROSS = ("nf4", "nf4_double", "fp4")  # their groups do not end where rows do


def only(value, *known):
    if value not in known:
        raise NotImplementedError(f"{value} is not what it offers, but {', '.join(map(str, known))}")


def one(run, weights, transposed):
    """One peer at one width: what comes back, and what it took."""
    start, out, layers, kept = time.perf_counter(), {}, {}, {}
    for name, tensor in weights.items():
        w = tensor.transpose(0, 1) if name in transposed else tensor
        matrix = w.reshape(len(w), -1).contiguous()
        whole = run["peer"] in ACROSS or matrix.shape[1] % run["group"] == 0
        group = run["group"] if whole else matrix.shape[1]
        try:
            back, took = PEERS[run["peer"]](matrix.clone(), run["bits"], group)
            if not bool(torch.isfinite(back).all()):
                raise ArithmeticError("numbers that are not finite came back")
        except Exception as error:
            kept[name] = f"{type(error).__name__}: {str(error)[:200]}"
            back, took = matrix.half().float(), {"bytes": 2 * w.numel(), "stored": 2 * w.numel()}
        back = back.reshape(w.shape)
        out[name] = (back.transpose(0, 1) if name in transposed else back).contiguous()
        layers[name] = {**took, "numbers": w.numel(), "group": group}
    meta = {"peer": run["peer"], "bits": run["bits"], "group": run["group"], "layers": layers, "kept": kept}
    if len(kept) == len(weights):
        return None, {**meta, "error": next(iter(kept.values()), "no weights")}
    totals = {k: sum(row[k] for row in layers.values()) for k in ("bytes", "stored", "numbers")}
    return out, {**meta, **totals, "seconds": time.perf_counter() - start}


def read(job):
    given = Path(job["weights"])
    weights = {}
    for file in sorted(given.glob("*.safetensors")) if given.is_dir() else [given]:
        with safe_open(file, "pt") as source:
            for name in source.keys():  # noqa: SIM118
                wanted = name in job["names"] if job.get("names") else name.endswith("weight")
                tensor = source.get_tensor(name) if wanted else None
                if tensor is not None and tensor.dim() > 1 and tensor.is_floating_point():
                    weights[name] = tensor.float()
    return weights


def run_job(path):
    job = json.loads(Path(path).read_text())
    weights, transposed = read(job), set(job.get("transposed", ()))
    packages = ("torch", "torchao", "hqq", "optimum-quanto", "bitsandbytes")
    versions = {name: version(name) for name in packages}
    for run in job["runs"]:
        out, meta = one(run, weights, transposed)
        if out is not None:
            save_file(out, run["out"])
        Path(f"{run['out']}.json").write_text(json.dumps({**meta, "versions": versions}))
        print(run["peer"], run["bits"], meta.get("bytes", meta.get("error")), flush=True)


def layers_for_speed(w):
    """What multiplies by this weight, each with the type of its inputs; those that fail with their words."""
    import bitsandbytes as bnb
    from torchao.quantization import Int8WeightOnlyConfig, quantize_

    def torchao_layer(dtype, config):
        return lambda: quantize_linear(w.to(dtype), lambda net: quantize_(net, config))

    def nf4():
        layer = bnb.nn.Linear4bit(w.shape[1], w.shape[0], bias=False, quant_type="nf4", compute_dtype=torch.float32)
        layer.weight = bnb.nn.Params4bit(w.clone(), quant_type="nf4", requires_grad=False)
        return layer.to("cpu")

    floats, halves = torch.float32, torch.bfloat16
    makers = {  # with the bytes of a number: together they are more than a cache holds
        "fp32": (floats, 4, lambda: quantize_linear(w, lambda net: None)),
        "torchao int4": (floats, 0.5, torchao_layer(floats, int4(64))),
        "torchao int4, bfloat16": (halves, 0.5, torchao_layer(halves, int4(64))),
        "torchao int8": (floats, 1, torchao_layer(floats, Int8WeightOnlyConfig())),
        "bitsandbytes nf4": (floats, 0.5, nf4),
    }
    made, failed = {}, {}
    for name, (dtype, size, maker) in makers.items():
        try:
            layers = [maker() for _ in range(math.ceil(HELD / (size * w.numel())))]
            layers[0](torch.randn(1, w.shape[1], dtype=dtype))
            made[name] = (dtype, layers)
        except Exception as error:
            failed[name] = f"{type(error).__name__}: {str(error)[:200]}"
    return made, failed


@torch.inference_mode()
def speed(sizes):
    torch.manual_seed(0)
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter  # others stretch the latter
    order = random.Random(0)
    out = {
        "threads": torch.get_num_threads(),
        "versions": {n: version(n) for n in ("torch", "torchao", "bitsandbytes")},
    }
    for size in sizes:
        x, (layers, failed) = torch.randn(1, size), layers_for_speed(torch.randn(size, size))
        spent = {name: [] for name in layers}
        for turn in range(ROUNDS + 2):
            for name in order.sample(list(layers), len(layers)):
                dtype, copies = layers[name]
                given = x.to(dtype)
                start = clock()
                for layer in copies:
                    layer(given)
                spent[name] += [1e3 * (clock() - start) / len(copies)] if turn > 1 else []
        found = {name: {"median": statistics.median(s), "least": min(s)} for name, s in spent.items()}
        out[str(size)] = {"ms": found, "failed": failed}
    print(json.dumps(out))


if __name__ == "__main__":
    if sys.argv[1] == "weights":
        run_job(sys.argv[2])
    else:
        speed([int(a) for a in sys.argv[2:]])
