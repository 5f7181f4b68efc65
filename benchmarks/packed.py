"""How fast layers with packed weights multiply one input, and what memory they take.

    python benchmarks/packed.py run [--peers PYTHON]     # some minutes; writes results/packed.json
    python benchmarks/packed.py show

Layers of 2048 x 2048 and 4096 x 4096, groups of 64, one core. Each way has so many layers with weights of their own
that no cache holds them (`HELD`), as in a network that writes a word at a time; a pass goes through all of them. The
median of the processor time of a pass over its layers (a busy machine stretches the other), ways in a new random order
each turn. "int4 in torch" is the operation that torchao 0.18 calls on a CPU for four bits, alone, with its inputs in
bfloat16 (it has a slow way only for others). The peers' own layers are measured alike in their environment
(`peers/quantizers.txt`). Memory: what a program of its own grows by when it loads layers and uses them, over the bytes
of the packed weights.
"""

import argparse
import copy
import json
import math
import random
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path
from typing import Any

from smidgen.kit.machine import cores, machine, resident_bytes, versions

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results" / "packed.json"
PEERS = HERE / ".quantizers" / "bin" / "python"
SIZES, ROUNDS = (2048, 4096), 30
HELD = 100e6  # bytes of a way's weights: three times the largest cache of the machine that this was written on
FORMATS = {
    "int2": "int2/64",
    "int3": "int3/64",
    "int4": "int4/64",
    "int4 with offsets": "int4+offset/64",
    "int4 with offsets, 8-bit scales": "int4+offset/64/double",
    "nf4, 8-bit scales": "nf4/64/double",
    "int5": "int5/64",
    "int6": "int6/64",
    "int8": "int8/64",
    "fp8 (e4m3)": "e4m3fn/64",
}
TORCH = "int4 in torch, bfloat16"
FASTER, MEMORY = 1.5, 1.15  # asked: times as fast as float32 at four bits; resident over packed
LAYERS, WIDTH, INPUTS = 16, 4096, (1, 64)  # of the memory's model


def packed_layer(weight: Any, name: str) -> Any:
    from smidgen.formats.format import Format
    from smidgen.nets.packed import PackedLinear, PackedWeight

    return PackedLinear(PackedWeight.of(Format.parse(name).quantize(weight, search="absmax")))


def torch_layer(size: int) -> Any:
    """No more than the operation that torchao's layer ends in."""
    import torch

    class Layer(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            codes = torch.randint(0, 16, (size, size), dtype=torch.int32)
            self.register_buffer("codes", torch.ops.aten._convert_weight_to_int4pack_for_cpu(codes, 1))
            self.register_buffer("scales", torch.randn(size // 64, size, 2).bfloat16())

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.ops.aten._weight_int4pack_mm_for_cpu(x, self.codes, 64, self.scales)

    return Layer()


def copies(layer: Any, size: int) -> list[Any]:
    return [copy.deepcopy(layer) for _ in range(math.ceil(HELD / size))]


def speed(size: int, threads: int) -> dict[str, dict[str, float]]:
    """Milliseconds of each way: median and least."""
    import torch

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    w, x = torch.randn(size, size), torch.randn(1, size)
    plain = torch.nn.Linear(size, size, bias=False)
    plain.weight.data = w
    ways: dict[str, list[Any]] = {"float32": copies(plain, w.nbytes)}
    for title, name in FORMATS.items():
        layer = packed_layer(w, name)
        ways[title] = copies(layer, layer.weight.bytes())
    half = x.bfloat16()
    ways[TORCH] = [lambda _, one=one: one(half) for one in copies(torch_layer(size), size * size // 2)]
    clock = time.process_time if threads == 1 else time.perf_counter
    spent: dict[str, list[float]] = {name: [] for name in ways}
    order = random.Random(0)
    with torch.inference_mode():
        for turn in range(ROUNDS + 2):
            for name in order.sample(list(ways), len(ways)):
                layers = ways[name]
                start = clock()
                for layer in layers:
                    layer(x)
                if turn > 1:
                    spent[name].append(1e3 * (clock() - start) / len(layers))
    return {name: {"median": statistics.median(s), "least": min(s)} for name, s in spent.items()}


def memory(folder: Path, name: str) -> dict[str, float]:
    """In this process: what loading and using the layers adds to it."""
    import torch
    from safetensors.torch import load_file

    from smidgen.formats.format import Format
    from smidgen.nets.packed import PackedLinear, PackedWeight

    def made(width: int, layers: int) -> Any:
        weights = [PackedWeight(Format.parse(name), (width, width)) for _ in range(layers)]
        return torch.nn.Sequential(*[PackedLinear(weight) for weight in weights])

    @torch.inference_mode()
    def use(net: Any, width: int) -> None:
        for n in INPUTS:
            net(torch.randn(n, width))

    torch.set_num_threads(1)
    small = torch.nn.Sequential(packed_layer(torch.randn(512, 512), name))
    use(small, 512)  # libraries load, buffers are made
    before = resident_bytes()
    net = made(WIDTH, LAYERS)
    net.load_state_dict(load_file(folder / "model.safetensors"))
    use(net, WIDTH)
    packed = sum(layer.weight.bytes() for layer in net)
    return {
        "packed": packed,
        "resident": resident_bytes() - before,
        "peak": resident_bytes(peak=True) - before,
        "float32": 4 * LAYERS * WIDTH**2,
    }


def memories() -> dict[str, dict[str, float]]:
    import torch
    from safetensors.torch import save_file

    out = {}
    for name in ("int4/64", "int2/64", "nf4/64/double"):
        with tempfile.TemporaryDirectory() as folder:
            layer = packed_layer(torch.randn(WIDTH, WIDTH), name)
            state = {f"{i}.{k}": v.clone() for i in range(LAYERS) for k, v in layer.state_dict().items()}
            save_file(state, Path(folder) / "model.safetensors")
            del state
            out[name] = apart(sys.executable, __file__, "memory", "--folder", folder, "--format", name)
    return out


def apart(*command: str) -> Any:
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def run(peers: Path) -> None:
    from smidgen.formats import native

    if native.library() is None:
        raise SystemExit(f"There are no compiled kernels to measure: {native.why_not()}.")
    found: dict[str, Any] = {"ms": {str(size): speed(size, 1) for size in SIZES}}
    if cores() > 1:
        found["ms_all_cores"] = {str(size): speed(size, cores()) for size in SIZES}
    found["memory"] = memories()
    if peers.exists():
        found["peers"] = apart(str(peers), str(HERE / "peers" / "run_quantizer.py"), "speed", *map(str, SIZES))
    asked = {"faster": FASTER, "memory": MEMORY, "torch": TORCH}
    here = {"date": date.today().isoformat(), "machine": machine(), "versions": versions()}
    RESULTS.write_text(json.dumps({"found": found, "asked": asked, "cores": cores(), **here}, indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("run", "show", "memory"))
    parser.add_argument("--peers", type=Path, default=PEERS)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--format", default="int4/64")
    args = parser.parse_args()
    if args.what == "memory":
        print(json.dumps(memory(args.folder, args.format)))
        return
    if args.what == "run":
        run(args.peers)
    from show_packed import packed_table

    print(packed_table(json.loads(RESULTS.read_text()) if RESULTS.exists() else {}))


if __name__ == "__main__":
    main()
