"""Claim 107: what tuned recipes for three deployed formats keep, and which format is fastest ("Give Me BF16 or Give Me
Death?", 2024).

Where this differs from the plan of the re-test, and why; all was fixed on seeds from 1000 on, with other sentences.

- Four seeds, not five; no two share a sentence. A seed has calibration, probe and test sentences of its own.
- The probe is trained on the float encoder's vectors and stays: what is compressed is the encoder under it.
- SmoothQuant with alpha 0.5 is part of the tuned INT8 recipe: in development it brought vectors nearer (mean cosine
  0.9991, 0.9974 without).
- "At least 99.5 %" and the other shares of recovery are asked of the mean; the lower bound may be a point lower, since
  600 test sentences a seed tell no smaller differences.
- The byte model's bits a byte and greedy texts are measured and not judged: the plan asks nothing of them.
- Rates are calibrated at batches of 1, 8, 64 and 256 and judged at 2, 4, 16, 32 and 128 too, timed anew. Where one way
  is the fastest everywhere, the rule is easy; how far predicted times are off is measured beside it. FP8 is simulated:
  its accuracy is measured, not its speed.
"""

from typing import Any

from smidgen.papers.claim import Claim, Part, Published, Scale

TASKS, HANDS, JUDGED = ("sst2", "trec"), 6, 4
PROBE, CALIBRATE, TEST = 200, 64, 300  # sentences a task
SMOOTH = 0.5
BATCHES, FITTED = (1, 2, 4, 8, 16, 32, 64, 128, 256), (1, 8, 64, 256)

CLAIM = Claim(
    title="BF16 or death: which format to deploy",
    year=2024,
    gives="Recipes for three formats people deploy (8-bit floats, 8-bit integers, 4-bit weights), the accuracy each "
    "one keeps over repeated runs, and advice on which suits your traffic and device. Read it before you serve a "
    "model.",
    room="compress",
    implements=(
        "compress.recipes",
        "compress.gptq",
        "compress.smoothquant",
        "nets.packed_activations",
        "nets.rounded_inputs",
        "studies.recovery",
        "studies.grid",
        "studies.text_similarity",
        "studies.product_times",
        "budget.serving",
        "budget.serving_queue",
        "budget.serving_choice",
    ),
    keywords="model deployment, FP8, INT8, INT4, W8A8, W4A16, quantization recipe, accuracy recovery, GPTQ, "
    "SmoothQuant, serving cost, queries per dollar, batch size, latency, GPU choice, format choice, LLM inference, "
    "error bars",
    says="8-bit floats lose nothing, tuned 8-bit integers 1 to 3 %, and tuned 4-bit weights about as little; which is "
    "cheapest to serve follows from batch size and device.",
    experiment=f"""
        all-MiniLM-L6-v2, all 36 linear layers, on SST-2 and TREC (6 classes): {PROBE} sentences train a logistic probe
        on the float encoder's vectors, {CALIBRATE} others of each task calibrate, {TEST} others of each are judged.
        Recipes: W8A8-FP (E4M3, a scale a row and a token, rounded to nearest), W8A8-INT (GPTQ, a scale a row and a
        token, SmoothQuant), W4A16-INT (GPTQ, groups of 128, scales searched). Untuned twins: INT8 with one scale for
        all inputs of a layer and weights rounded to nearest; INT4 rounded to nearest, by GPTQ without the search, by
        AWQ. Recovery: percent of the float accuracy, the mean over both tasks.

        Layer error: share of the output's mean square that rounding spoils, on the calibration sentences. Serving: one
        product of 1024 x 1024, float32, int8 (inputs rounded each time) and packed int4, at batches 1 to 256; rooflines
        fitted at four of them; "right": the choice for a batch is the way that was fastest, or one at most 5 % slower.
        Beside it a byte model (width 128, 2 layers): bits a byte, and greedy texts against the float model's.
        """,
    published=(
        Published(
            value="W8A8-FP lossless at all sizes; W8A8-INT 1 to 3 % per task; W4A16-INT rivals 8 bits",
            metric="accuracy recovery",
            data="Llama-3.1 8B to 405B, Open LLM Leaderboard V1 and V2 and others",
            where="arXiv 2411.02355, abstract",
        ),
    ),
    parts=(
        Part(
            name="8-bit floats",
            says="W8A8-FP keeps at least 99.5 % of the accuracy; surely 98.5 %.",
            gain=("recovery w8a8-fp", 99.5),
            null=-1.0,
            unit="% of the accuracy",
        ),
        Part(
            name="tuned 8-bit integers",
            says="Tuned W8A8-INT keeps at least 97 %.",
            gain=("recovery w8a8-int", 97.0),
            unit="% of the accuracy",
        ),
        Part(
            name="tuning 8 bits",
            says="It keeps more than untuned W8A8-INT.",
            gain=("recovery w8a8-int", "recovery w8a8-int untuned"),
            unit="% of the accuracy",
        ),
        Part(
            name="searched scales",
            says="The search makes the output error of GPTQ at 4 bits smaller in at least 80 % of the layers.",
            gain=("percent of layers better for the search", 80.0),
            unit="% of the layers",
        ),
        Part(
            name="4 bits like 8",
            says="Tuned W4A16-INT is within a point of tuned W8A8-INT; surely within two.",
            gain=("recovery w4a16-int", "recovery w8a8-int"),
            margin=-1.0,
            null=-2.0,
            unit="% of the accuracy",
        ),
        Part(
            name="serving rule",
            says="Calibrated rooflines choose the fastest way in at least 80 % of batch sizes.",
            gain=("percent of batches chosen right", 80.0),
            null=-20.0,
            unit="% of the batch sizes",
        ),
    ),
    seeds=JUDGED,
    minutes=9,
    data=("sst2", "trec", "books_lm"),
    added="2026-11-29",
)


def run(scale: Scale, seed: int) -> dict[str, float]:
    """One draw of sentences, all recipes. At smoke scale a made-up network and task."""
    import torch

    full = scale == Scale.FULL
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return _accuracy(seed, full) | _texts(seed, full) | _serving(full)
    finally:
        torch.set_num_threads(threads)


def _accuracy(seed: int, full: bool) -> dict[str, float]:
    """Recovery of every recipe, and how many layers the search of scales betters."""
    import numpy as np
    from sklearn.linear_model import LogisticRegression

    from smidgen.compress.inputs import layer_error
    from smidgen.compress.layers import find
    from smidgen.compress.recipes import RECIPES, prepared, recipe
    from smidgen.compress.walk import walk
    from smidgen.studies.recovery import recovery

    model, read, data, calibration = _encoder(seed) if full else _made(seed)
    layers = [a for a in find(model) if a.kind == "linear"]
    seen = walk(model, calibration.batches, calibration.run, layers=layers, mask=calibration.mask)
    probes = {}
    for task, (train, y, _, _) in data.items():
        probes[task] = LogisticRegression(C=10.0, max_iter=1000).fit(read(model, train), y)
    whole = {t: probes[t].score(read(model, test), y) for t, (_, _, test, y) in data.items()}
    errors, values = {}, {f"accuracy float, {t}": float(v) for t, v in whole.items()}
    for name in RECIPES:
        one = recipe(name, **{"smooth": SMOOTH} if name == "w8a8-int" else {})
        made = prepared(one, model, seen=seen)
        own = {t: probes[t].score(read(made.model, test), y) for t, (_, _, test, y) in data.items()}
        values |= {f"accuracy {name}, {t}": float(v) for t, v in own.items()}
        values[f"recovery {name}"] = float(np.mean([recovery(own[t], whole[t]) for t in data]))
        errors[name] = [layer_error(made.before[a], made.weights[a], seen[a].hessian) for a in layers]  # type: ignore
        values[f"layer error {name}"] = float(np.mean(errors[name]))
    better = np.array(errors["w4a16-int"]) < np.array(errors["w4a16-int absmax"])
    return values | {"percent of layers better for the search": 100 * float(better.mean())}


def _encoder(seed: int) -> tuple[Any, Any, Any, Any]:
    """The sentence encoder, how vectors are read, (train texts, y, test texts, y) of each task, calibration data."""
    import numpy as np
    import torch
    from transformers import AutoModel
    from transformers.utils import logging

    from smidgen.compress.recipes import Calibration
    from smidgen.nets import minilm
    from smidgen.tasks import known

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    tokens = minilm.load()
    model = AutoModel.from_pretrained(str(minilm.folder()), add_pooling_layer=False).eval()
    hand = seed if seed < JUDGED else JUDGED + seed % (HANDS - JUDGED)
    data, calibrate = {}, []
    for task in TASKS:
        texts, labels = known.texts(task)
        _, first = np.unique(texts, return_index=True)  # each sentence once
        at = first[np.random.default_rng(107).permutation(len(first))][hand::HANDS]
        assert len(at) >= PROBE + CALIBRATE + TEST
        train, own, test = np.split(at[: PROBE + CALIBRATE + TEST], [PROBE, PROBE + CALIBRATE])
        data[task] = ([texts[i] for i in train], labels[train], [texts[i] for i in test], labels[test])
        calibrate += [texts[i] for i in own]

    def batches(texts: list[str]) -> list[tuple[Any, dict[str, Any]]]:
        """(places, what the model reads), texts of like length together."""
        ids = tokens.token_ids(texts)
        order, out = sorted(range(len(ids)), key=lambda i: len(ids[i])), []
        for start in range(0, len(ids), 32):
            rows = order[start : start + 32]
            x = torch.zeros((2, len(rows), max(len(ids[i]) for i in rows)), dtype=torch.long)
            for r, i in enumerate(rows):
                x[0, r, : len(ids[i])], x[1, r, : len(ids[i])] = torch.tensor(ids[i]), 1
            out.append((rows, {"input_ids": x[0], "attention_mask": x[1]}))
        return out

    @torch.no_grad()
    def read(one: Any, texts: list[str]) -> np.ndarray:
        out = np.zeros((len(texts), minilm.WIDTH), np.float32)
        for rows, batch in batches(texts):
            h, seen = one(**batch).last_hidden_state, batch["attention_mask"][..., None]
            out[rows] = torch.nn.functional.normalize((h * seen).sum(1) / seen.sum(1), dim=1).numpy()
        return out

    given = [batch for _, batch in batches(calibrate)]
    return model, read, data, Calibration(given, lambda m, b: m(**b), lambda b: b["attention_mask"].bool())


def _made(seed: int) -> tuple[Any, Any, Any, Any]:
    """A made-up network and task, to show that it runs."""
    import numpy as np
    import torch

    from smidgen.compress.recipes import Calibration

    torch.manual_seed(seed)
    model = torch.nn.Sequential(torch.nn.Linear(16, 32), torch.nn.GELU(), torch.nn.Linear(32, 16)).eval()
    x = np.random.default_rng(seed).standard_normal((120, 16)).astype(np.float32)
    y = (x[:, 0] > 0).astype(int)

    @torch.no_grad()
    def read(one: Any, rows: Any) -> np.ndarray:
        return one(torch.from_numpy(rows)).numpy()

    return model, read, {"made": (x[:40], y[:40], x[40:], y[40:])}, Calibration([torch.from_numpy(x[:40])])


def _texts(seed: int, full: bool) -> dict[str, float]:
    """A byte model: what the recipes cost in bits a byte, and how alike greedy texts are."""
    import math

    import torch

    from smidgen.compress.recipes import RECIPES, Calibration
    from smidgen.kit.seeds import derive_seed
    from smidgen.lm.paired import sample_rows
    from smidgen.nets.decoder import Decoder
    from smidgen.nets.products import full_speed
    from smidgen.papers import byte_models
    from smidgen.studies.decoding_measures import losses, same_start
    from smidgen.studies.text_similarity import rouge_1, rouge_l

    length = 128
    model = Decoder(byte_models.config(*(128, 2) if full else (16, 1), length), derive_seed(seed, "weights"))
    with full_speed():
        byte_models.fit(model, 3e5 if full else 1e3, 4e-3, 2048, derive_seed(seed, "text"), not full, length)
    held, given = (
        byte_models.held_windows(64 if full else 4, length, derive_seed(seed, name), not full) for name in ("h", "c")
    )
    prompts = held[: 16 if full else 2, :64]
    greedy = torch.zeros(len(prompts)), torch.zeros(len(prompts), dtype=torch.long)
    unused = torch.zeros(len(prompts), 64 if full else 4)  # the likeliest token needs no uniform number
    names = ("w8a8-fp", "w8a8-int", "w4a16-int", "w4a16-int nearest") if full else ("w8a8-fp",)
    calibration = Calibration(list(given.split(16)))
    models: dict[str, Any] = {"float": model.eval(), **{n: RECIPES[n](model, calibration) for n in names}}
    values, said = {}, {}
    for name, one in models.items():
        said[name] = sample_rows(one, prompts, unused, *greedy).numpy()
        values[f"bits a byte, {name}"] = float(losses(one, held).mean()) / math.log(2)
        a, b = ([bytes(row.tolist()).decode("latin-1") for row in said[k]] for k in ("float", name))
        for what, alike in (("rouge-1", rouge_1), ("rouge-l", rouge_l)):
            values[f"{what}, {name}"] = sum(alike(p, q) for p, q in zip(a, b, strict=True)) / len(a)
        values[f"same start, {name}"] = float(same_start(said["float"], said[name]).mean())
    return values


def _serving(full: bool) -> dict[str, float]:
    """Measured times of three ways to multiply, and what rooflines fitted to some of them choose for all."""
    import numpy as np

    from smidgen.budget.serving import Deployed, Hardware
    from smidgen.budget.serving_choice import choose_format
    from smidgen.budget.serving_queue import UseCase
    from smidgen.studies.product_times import product_times, product_ways, rooflines

    size, batches = (1024, BATCHES) if full else (64, (1, 2, 4, 8))
    fitted = FITTED if full else (1, 2, 4)
    products, rounds = product_ways(size), 7 if full else 1
    first, second = (product_times(products, size, batches, rounds) for _ in range(2))
    roofs = rooflines({n: [t[batches.index(b)] for b in fitted] for n, t in first.items()}, fitted)
    device = Hardware(name="this machine", rates={"float16": 1.0}, bandwidth=1.0)
    ways = [Deployed(name, 16, "float16") for name in first]
    right, off = [], []
    for k, batch in enumerate(batches):
        chosen = choose_format("sync", device, UseCase("product", batch, 1), size**2, formats=ways, measured=roofs)[0]
        right.append(second[chosen][k] <= 1.05 * min(t[k] for t in second.values()))
        off += [abs(np.log(roofs[n].seconds(batch) / t[k])) for n, t in second.items()]
    values = {f"seconds, {n}, batch {b}": t[k] for n, t in second.items() for k, b in enumerate(batches)}
    return values | {
        "percent of batches chosen right": 100 * float(np.mean(right)),
        "predicted times off by percent": 100 * float(np.expm1(np.mean(off))),
    }
