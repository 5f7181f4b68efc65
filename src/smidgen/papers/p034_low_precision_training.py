"""Claim 034: mechanics that decide whether training in few bits works (a survey: Hao et al., 2025).

Where this differs from the plan of the re-test, and why; all was fixed on seeds from 1000 on.

- Digits (mnist10k, 14 x 14) in place of Fashion-MNIST for the parts on a ConvNet.
- Arithmetic is emulated: numbers are rounded to their format and multiplied in float32.
- Moments and kept weights: a byte model that was trained in float32 goes on in each of the ways, weights at the rate
  that the plan names, 1e-4. From its first weights on the model would hardly learn at all at that rate; and when it
  leaves its first plateau depends on so little (weights changed by a thousandth: 2 % of the loss, in development) that
  no comparison of moments to 1 % could be made. A training from such changed weights is measured beside it.
- A mechanic that has two conditions is judged on the one that is met by less: "slack" is by how much, in the unit of
  the part. Its lower bound may be a little below 0.
- Moments of the embedding stay in float32 in both 8-bit arms, as those who made block-wise moments have it (Dettmers et
  al., 2022, arXiv 2110.02861, section 2.3): with bytes as rows, a block mixes frequent and rare ones. What it costs to
  round them too is measured beside it, and was a lot in development.
- Second moments in 8 linear bits do not become 0 either: what is compared are the levels.
- "Gradients before weights" went the other way in development: one scale a tensor suits weights badly too, and the
  weights are still in 4 bits when digits are scored. It is judged as planned.
"""

from typing import Any

from smidgen.papers.claim import Claim, Part, Published, Scale

DIGITS, BOOKS, EDGE = "mnist10k", "books_lm", 14
WIDTHS, BATCH, STEPS = (16, 32), 64, 300  # of the digits
RATE = 0.05  # of SGD with momentum 0.9
SHRUNK = 2.0**-12  # what the loss is multiplied with
HIDDEN, LAYERS, ROWS, BYTE_STEPS, MORE_STEPS = 64, 2, 16, 300, 200
BYTE_RATE, MOMENTS_RATE, KEPT_RATE = 3e-3, 1e-3, 1e-4
FOUR = "int4/tensor"

CLAIM = Claim(
    title="Map of low-precision training",
    year=2025,
    gives="State for weights, activations, gradients and optimizer memory which number format each uses, train that "
    "way, and see which published methods the choice resembles. For fitting training into too little GPU memory.",
    room="train",
    implements=(
        "train.low_precision.policy",
        "train.low_precision.number",
        "train.low_precision.layers",
        "train.low_precision.optimizer",
        "train.low_precision.communicate",
        "train.low_precision.memory",
        "compress.taxonomy",
        "studies.precision_map",
        "studies.format_table",
    ),
    keywords="mixed precision, FP8, INT8, BF16, FP16, 4-bit optimizer, out of memory, GPU memory saving, quantized "
    "training, stochastic rounding, loss scaling, gradient compression, communication, survey, taxonomy",
    says="What decides whether training in few bits works are scaling of the loss, rounding by chance, levels of "
    "moments by decades, error feedback, and that gradients bear fewer bits worse than weights.",
    experiment=f"""
        A ConvNet of widths 16, 32 on digits (mnist10k, {EDGE} x {EDGE}), SGD, {STEPS} updates of {BATCH}; a decoder of
        bytes (width {HIDDEN}, {LAYERS} layers) on books, AdamW, {BYTE_STEPS} updates of {ROWS} x 64, then
        {MORE_STEPS} more in each way. Loss scaling: the loss is multiplied by 2^-12 (and the rate by 2^12), all in
        FP16, with and without a dynamic loss scale. Kept weights: in bfloat16 without a float32 copy, rounded to the
        nearest or by chance, at {KEPT_RATE}. Moments, at {MOMENTS_RATE}: in 8 bits, by decades in blocks of 256, or
        linear with one scale a tensor; those of the embedding in float32. Messages: two workers send signs and a mean
        magnitude a tensor, with and without error feedback. Order: gradients, or weights, in {FOUR}, to the nearest.
        Memory: foretold bytes of four policies against those of the packed tensors, the largest relative difference. At
        least four of the five mechanics must hold, and memory.
        """,
    published=(
        Published(
            value="fixed-point and integer, floating-point, and customized formats; quantization-aware training beside",
            metric="division of the published methods",
            data="120 methods in the list that goes with the survey",
            where="arXiv 2505.01043, abstract; Hao840/Awesome-Low-Precision-Training, README at 2597ffb",
        ),
    ),
    parts=(
        Part(
            name="loss scaling",
            says="FP16 without loss scaling loses more than 5 points, and with it at most half a point.",
            gain=("slack: loss scaling", 0.0),
            null=-1.0,
            unit="points",
            group="mechanics",
        ),
        Part(
            name="rounding by chance",
            says="Kept bfloat16 weights regain by it at least 70 % of what the nearest loses against float32.",
            gain=("kept: regained", 0.7),
            null=-0.3,
            unit="share",
            group="mechanics",
        ),
        Part(
            name="moments in 8 bits",
            says="By decades in blocks they cost at most 1 % of the loss, linear ones more than three times as much.",
            gain=("slack: moments", 0.0),
            null=-0.5,
            unit="% of loss",
            group="mechanics",
        ),
        Part(
            name="error feedback",
            says="Signs cost at most half a point with error feedback, and more than a point without.",
            gain=("slack: error feedback", 0.0),
            null=-1.0,
            unit="points",
            group="mechanics",
        ),
        Part(
            name="gradients before weights",
            says="At 4 bits to the nearest, lowering gradients costs more than lowering weights.",
            gain=("digits: weights in 4 bits", "digits: gradients in 4 bits"),
            unit="points",
            group="mechanics",
        ),
        Part(
            name="memory",
            says="Foretold bytes are within 5 % of those of the packed tensors.",
            gain=(0.05, "memory: off by"),
            unit="share",
        ),
    ),
    needs={"mechanics": 4},
    seeds=4,
    minutes=8,
    resampled=0.25,
    data=(DIGITS, BOOKS),
    added="2026-11-29",
)


def run(scale: Scale, seed: int) -> dict[str, float]:
    """Accuracies in points, losses in nats a byte, and how far each condition is met."""
    import warnings

    import torch

    from smidgen.nets.products import full_speed

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with full_speed(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that a policy is unwise is what is shown
            full = scale == Scale.FULL
            return _digits(seed, full) | _bytes(seed, full) | _memory(seed)
    finally:
        torch.set_num_threads(threads)


def _digits(seed: int, full: bool) -> dict[str, float]:
    from smidgen.train.low_precision.policy import LossScale, PrecisionPolicy

    halves = dict.fromkeys(("weights", "activations", "weight_grads", "act_grads"), "float16")
    signs = "int1/tensor/float32"
    arms: dict[str, tuple[PrecisionPolicy, float, int]] = {  # policy, what the loss is multiplied with, workers
        "float32": (PrecisionPolicy(), SHRUNK, 1),
        "float16 without": (PrecisionPolicy(**halves), SHRUNK, 1),
        "float16 scaled": (PrecisionPolicy(**halves, loss_scale=LossScale()), SHRUNK, 1),
        "two workers": (PrecisionPolicy(), 1.0, 2),
        "signs with feedback": (PrecisionPolicy(comm=signs), 1.0, 2),
        "signs without": (PrecisionPolicy(comm=signs, error_feedback=False), 1.0, 2),
        "weights in 4 bits": (PrecisionPolicy(weights=FOUR), 1.0, 1),
        "gradients in 4 bits": (PrecisionPolicy(act_grads=FOUR, weight_grads=FOUR), 1.0, 1),
    }
    data = _pictures(full, seed)
    found = {f"digits: {name}": _accuracy(*arm, data, seed, full) for name, arm in arms.items()}
    lost = {name: found["digits: float32"] - found[f"digits: {name}"] for name in ("float16 without", "float16 scaled")}
    found["slack: loss scaling"] = min(lost["float16 without"] - 5, 0.5 - lost["float16 scaled"])
    with_it, without = (
        found["digits: two workers"] - found[f"digits: signs {n}"] for n in ("with feedback", "without")
    )
    found["slack: error feedback"] = min(0.5 - with_it, without - 1)
    return found


def _accuracy(policy: Any, factor: float, workers: int, data: Any, seed: int, full: bool) -> float:
    """In points, of the same ConvNet on the same batches."""
    import torch
    import torch.nn.functional as F

    from smidgen.kit.seeds import derive_seed
    from smidgen.nets.small_convnet import ConvNet, with_head
    from smidgen.studies.precision_map import train_under
    from smidgen.train.schedules import Cosine

    x, y, test_x, test_y = data
    widths, steps = (WIDTHS, STEPS) if full else ((4, 8), 4)
    net = with_head(ConvNet(widths, seed=derive_seed(seed, "net")), widths[-1], 10, seed=derive_seed(seed, "head"))

    def batch(number: int) -> tuple[Any, Any]:
        g = torch.Generator().manual_seed(derive_seed(seed, "pictures", number))
        at = torch.randint(len(x), (BATCH,), generator=g)
        return x[at], y[at]

    def loss(model: Any, x: Any, y: Any) -> tuple[Any, int]:
        return F.cross_entropy(model(x), y) * factor, 1

    optimizer = torch.optim.SGD(net.parameters(), lr=RATE / factor, momentum=0.9)
    schedule = Cosine(steps=steps, warmup=steps // 10)
    train_under(policy, net, optimizer, batch, loss, steps=steps, schedule=schedule, workers=workers, seed=seed)
    net.eval()
    with torch.no_grad():
        return 100 * float((net(test_x).argmax(1) == test_y).float().mean())


def _bytes(seed: int, full: bool) -> dict[str, float]:
    import copy

    import torch

    from smidgen.kit.seeds import derive_seed
    from smidgen.nets.decoder import Decoder
    from smidgen.papers.byte_models import config
    from smidgen.train.low_precision.layers import raise_again
    from smidgen.train.low_precision.policy import PrecisionPolicy

    net = Decoder(config(HIDDEN, LAYERS) if full else config(16, 1), derive_seed(seed, "decoder"))
    first, then = (BYTE_STEPS, MORE_STEPS) if full else (3, 3)
    found = {"bytes: first": _loss(net, PrecisionPolicy(), BYTE_RATE, first, seed, full)}
    raise_again(net)

    def goes_on(policy: PrecisionPolicy, rate: float, start: Any = net) -> float:
        return _loss(copy.deepcopy(start), policy, rate, then, derive_seed(seed, "more"), full)

    decades, linear, embedding = ("dynamic8/256",) * 2, ("linear8/tensor",) * 2, ("embed_tokens",)
    moments: dict[str, dict[str, Any]] = {
        "float32": {},
        "decades": {"optimizer_states": decades, "skip": embedding},
        "linear": {"optimizer_states": linear, "skip": embedding},
        "decades, embedding too": {"optimizer_states": decades},
    }
    found |= {f"moments: {n}": goes_on(PrecisionPolicy(**made), MOMENTS_RATE) for n, made in moments.items()}
    changed, g = copy.deepcopy(net), torch.Generator().manual_seed(derive_seed(seed, "changed"))
    with torch.no_grad():
        for p in changed.parameters():
            p.mul_(1 + 1e-3 * torch.randn(p.shape, generator=g))
    found["moments: float32, changed weights"] = goes_on(PrecisionPolicy(), MOMENTS_RATE, changed)
    whole = found["moments: float32"]
    costs = {n: 100 * (found[f"moments: {n}"] / whole - 1) for n in (*moments, "float32, changed weights")}
    found |= {f"moments: {n} cost": cost for n, cost in costs.items() if n != "float32"}
    found["slack: moments"] = min(1 - costs["decades"], costs["linear"] - 3 * max(costs["decades"], 0.0))
    kept = {
        "float32": PrecisionPolicy(),
        "nearest": PrecisionPolicy(weights="bfloat16", master=False),
        "by chance": PrecisionPolicy(weights="bfloat16", master=False, rounding="stochastic"),
    }
    found |= {f"kept: {name}": goes_on(policy, KEPT_RATE) for name, policy in kept.items()}
    gap = found["kept: nearest"] - found["kept: float32"]
    found["kept: regained"] = (found["kept: nearest"] - found["kept: by chance"]) / gap if gap > 0 else 0.0
    return found


def _loss(net: Any, policy: Any, rate: float, steps: int, seed: int, full: bool) -> float:
    """Nats a byte on held-out books after so many updates; 20, where it broke down."""
    import math

    import torch

    from smidgen.papers import byte_models as bm
    from smidgen.studies.precision_map import train_under
    from smidgen.train.schedules import Cosine

    text_N, held_RT = bm._texts(not full)
    optimizer = torch.optim.AdamW(net.parameters(), lr=rate, betas=(0.9, 0.95), weight_decay=0.0)
    schedule = Cosine(steps=steps, warmup=max(1, steps // 20))
    train_under(
        policy,
        net,
        optimizer,
        lambda n: bm._batch(text_N, ROWS, seed, n),
        bm._loss,
        steps=steps,
        schedule=schedule,
        clip=1.0,
        smallest=1024,
        seed=seed,
    )
    total = 0.0
    with torch.no_grad():
        for part_RT in held_RT.split(256):
            total += float(bm._loss(net, *bm._split(part_RT))[0])
    loss = total / (held_RT.shape[0] * bm.LENGTH)
    return min(loss, 20.0) if math.isfinite(loss) else 20.0


def _memory(seed: int) -> dict[str, float]:
    """The largest relative difference between bytes foretold and counted, over parts of policies."""
    import torch

    from smidgen.nets.decoder import Decoder
    from smidgen.papers.byte_models import config
    from smidgen.train.low_precision import PrecisionPolicy, apply_policy, measured_bytes, memory_estimate

    policies = (
        PrecisionPolicy(),
        PrecisionPolicy(
            weights="bfloat16", master=False, rounding="stochastic", optimizer_states=("bfloat16", "bfloat16")
        ),
        PrecisionPolicy(
            weights="e4m3fn/tensor", act_grads="e5m2ieee/tensor", optimizer_states=("dynamic8", "dynamic8")
        ),
        PrecisionPolicy(weights="int4/64", weight_grads="int8/64", optimizer_states=("int8/128", "uint8/128")),
    )
    off = 0.0
    for policy in policies:
        net = Decoder(config(HIDDEN, 1), seed)
        _, optimizer = apply_policy(net, torch.optim.AdamW(net.parameters()), policy)
        ids = torch.arange(32).reshape(2, 16)
        net(ids, targets_BT=ids).backward()
        optimizer.step()
        told, counted = memory_estimate(net, policy), measured_bytes(net, optimizer)
        off = max(off, *(abs(told[part] / size - 1) for part, size in counted.items() if size))
    return {"memory: off by": off}


def _pictures(full: bool, seed: int) -> Any:
    """Pictures `[N, 1, EDGE, EDGE]` in 0 to 1 and classes, of training and test; at smoke scale a few made-up ones."""
    import numpy as np
    import torch
    import torch.nn.functional as F

    from smidgen.tasks import known

    if not full:
        y = torch.arange(80) % 10
        x = torch.rand(80, 1, 8, 8, generator=torch.Generator().manual_seed(seed)) + y[:, None, None, None] / 10
        return x[:64], y[:64], x[64:], y[64:]
    out = []
    for part in ("train", "test"):
        with np.load(known.place(DIGITS) / f"{part}.npz") as file:
            out.append(F.avg_pool2d(torch.from_numpy(file["images"]).reshape(-1, 1, 28, 28).float() / 255, 2))
            out.append(torch.from_numpy(file["labels"].astype(np.int64)))
    return out
