"""Claim 014: another device's simultaneous signal is the augmentation (ColloSSL: Jain et al., 2022).

Where this differs from the plan of the re-test, and why; all was fixed before any judged seed.

- ETTh1 (hourly) stands for ETTm1 (each 15 minutes), which is not among the data sets here. A window is one day of 24
  hours; its class is the quarter of the day that it begins in.
- There is a small set of real devices after all, a phone and a watch worn together: the paper's own setting, with new
  people held out. A part was added for it. With two devices there is nothing to select.
- Supervised training may take the better of two ways, as the published one (a fifth of the labels chooses the epoch)
  alone would be easy to beat: on seed 1000 it stopped at the commonest class for the phone.
  ColloSSL has the published way alone, which is to its disadvantage.
- Noise levels of the ranking are only a quarter apart, in random order, so that it can fail.

Seen in development: on seed 1001, as it is now, ColloSSL has 0.512 on phone and watch (supervised 0.419 the published
way, 0.472 the other; SimCLR 0.440) and 0.753 on the grid (supervised 0.732 and 0.761, random devices 0.737, SimCLR
0.689). On seed 1000, with 40 epochs and the published way alone: 0.469 against 0.319, and 0.786 against 0.772 (random
0.753).
"""

from typing import Any

from smidgen.papers.claim import Claim, Part, Published, Scale

SERIES, WORN = "etth1", "har_phone_watch"
ANCHORS = ("HUFL", "MUFL", "LUFL")
FRACTION = 0.1
WINDOW, STEP = 24, 13  # hours; 13, so that windows begin at all hours
LEARNED = 16  # months; the later ones are held out
NOISE = tuple(0.2 * 1.25**i for i in range(5))  # of the devices to rank; the anchor has half of the least
DRAWS = 10

CLAIM = Claim(
    title="ColloSSL: self-supervision across simultaneous sensors",
    year=2022,
    gives="If several wearables record the same person at once, let one device act as the natural second view of "
    "another and learn features from raw recordings, so an activity classifier needs only a fraction of the labels.",
    room="learn",
    implements=(
        "learn.collossl",
        "learn.collossl_runner",
        "learn._collossl_devices",
        "learn._collossl_loss",
        "learn._collossl_batches",
        "learn._collossl_training",
        "learn._collossl_finetune",
        "learn._collossl_baselines",
        "learn.mmd",
        "nets.tpn_encoder",
        "tasks.device_windows",
        "tasks.device_recordings",
        "tasks.synthetic_devices",
        "data.augment.signals",
    ),
    keywords="wearables, accelerometer, gyroscope, human activity recognition, time series, multi-sensor, unlabelled "
    "recordings, contrastive learning, smartwatch, internet of things, few labels, semi-supervised, device selection",
    says="An encoder that learned from unlabelled recordings of several simultaneous devices, each the view of "
    "another, and was fine-tuned on one device's few labels beats supervised training; choosing devices helps.",
    experiment=f"""
        Grid: the 7 channels of ETTh1 (a transformer's loads and oil temperature, hourly) are devices; a window is
        {WINDOW} hours of value and first difference, its class one of 4 quarters of the day in which it begins. Windows
        start every {STEP} hours within a month; months are users: {LEARNED} to learn from, the 8 later ones held out.
        Scales come from the former. Anchors: {", ".join(ANCHORS)}; scores are means over them. Devices are compared by
        their values, not norms, as there are no vectors. Encoder: widths 16, 24, 32, kernels 9, 5, 3.

        Worn: phone and watch of 12 people, windows of 64 samples at 25 Hz (6 channels), 5 activities; 4 other people
        are held out. Each device is the anchor once. Encoder: half the published widths, the published kernels.

        All arms have the same {FRACTION:.0%} of the labels, a fifth of them to choose the epoch: supervised from
        scratch; single-device SimCLR (noise and scale, batches of 64); ColloSSL; on the grid ColloSSL with random
        devices too. 30 epochs of Adam at 1e-3 instead of 100 at 1e-4, as the sets are small; hidden layer of 128.
        Supervised training is given a second way, all labels and the last epoch, and the better of the two on the
        held-out part is the one to beat: with so few labels to choose by, the first is often poor. Scores: macro F1.

        Ranking: {DRAWS} draws a seed of made motion seen by 6 devices, each turned its own way, noise of
        {NOISE[0]} to {NOISE[-1]:.2f} in steps of a quarter; the share of draws in which selection has the devices
        exactly in the order of their noise. SimCLR is measured beside, not judged.

        Seeds draw labels and weights; held-out months and people are the same for all: intervals are widened by 1/3.
        """,
    published=(
        Published(
            value="up to +7.9 points",
            metric="macro F1 over the best baseline",
            data="RealWorld, Opportunity, PAMAP2",
            where="arXiv 2202.00758, abstract",
        ),
        Published(
            value="a tenth of the labels beats fully supervised training in the best case",
            metric="macro F1",
            data="RealWorld, Opportunity, PAMAP2",
            where="arXiv 2202.00758, abstract",
        ),
    ),
    parts=(
        Part(
            name="worn: few labels",
            says="On phone and watch, with a tenth of the labels, ColloSSL beats supervised training on new people.",
            gain=("worn: ColloSSL", "worn: supervised"),
            unit="macro F1",
        ),
        Part(
            name="grid: few labels",
            says="On the grid, with a tenth of the labels, ColloSSL beats supervised training on later months.",
            gain=("grid: ColloSSL", "grid: supervised"),
            unit="macro F1",
        ),
        Part(
            name="grid: selection",
            says="Selected devices are no worse than random ones on average; surely less than 0.05 worse.",
            gain=("grid: ColloSSL", "grid: random devices"),
            null=-0.05,
            unit="macro F1",
        ),
        Part(
            name="ranking",
            says="Selection has devices in the order of their noise in 9 of 10 draws; surely in more than 7.",
            gain=("ranking: right order", 0.0),
            margin=0.9,
            null=0.7,
            unit="share of draws",
        ),
    ),
    seeds=4,
    minutes=9,
    resampled=1 / 3,
    data=(SERIES, WORN),
    added="2026-11-30",
)


def run(scale: Scale, seed: int) -> dict[str, float]:
    """Macro F1 of all arms on both sets, and how often devices were ranked right. At smoke scale on made motion."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # small batches: more threads only wait for each other
    try:
        return _measure(scale == Scale.FULL, seed)
    finally:
        torch.set_num_threads(threads)


def _measure(full: bool, seed: int) -> dict[str, float]:
    from smidgen.kit.seeds import derive_seed
    from smidgen.nets.tpn_encoder import TPNConfig

    values = {"ranking: right order": _ranked(DRAWS if full else 2, seed)}
    small = TPNConfig(widths=(16, 24, 32), kernels=(9, 5, 3))
    worn = TPNConfig(widths=(16, 32, 48)) if full else small
    sets = {"grid": (_months() if full else _made(seed), small), "worn": (_worn() if full else _made(seed), worn)}
    for name, ((windows, held), net) in sets.items():
        anchors = [a for a in ANCHORS if a in windows.devices] or windows.devices[: 2 if full else 1]
        found = _scores(windows, held, anchors, net, name == "grid", derive_seed(seed, name), full)
        values |= {f"{name}: {arm}": score for arm, score in found.items()}
    return values


def _scores(
    windows: Any, held: list[str], anchors: list[str], net: Any, chosen: bool, seed: int, full: bool
) -> dict[str, float]:
    """Mean macro F1 over anchors, by arm; and of each anchor."""
    from dataclasses import replace

    import numpy as np

    from smidgen.learn.collossl import ColloSSLConfig, EpochsConfig, FineTuneConfig
    from smidgen.learn.collossl_runner import Arm, RunnerConfig, SimCLRConfig, label_curves, leave_groups_out

    epochs = EpochsConfig(epochs=30 if full else 1, lr=1e-3, decay_steps=None, patience=None)
    own = ColloSSLConfig(
        net=net, projector=(128, 64, 50), metric="per_channel" if windows.motion == 1 else "acc_norm", training=epochs
    )
    tuning = FineTuneConfig(
        hidden=128,
        training=EpochsConfig(epochs=100 if full else 1, lr=1e-3, batch=32, decay_steps=None, patience=None),
    )
    arms = {
        "supervised, chosen": Arm(),
        "supervised, last": Arm(tuning=replace(tuning, validation=0.0)),
        "SimCLR": Arm(pretraining=SimCLRConfig(net=net, projector=(128, 64, 50), training=replace(epochs, batch=64))),
        "ColloSSL": Arm(pretraining=own),
    }
    if chosen:
        arms["random devices"] = Arm(pretraining=replace(own, strategy="random"))
    config = RunnerConfig(arms=arms, fractions=(FRACTION,), net=net, tuning=tuning, seed=seed)
    curves = label_curves(leave_groups_out(windows, [held], config, anchors=anchors))
    values = {f"{arm}, {anchor}": curve[FRACTION] for (arm, anchor), curve in curves.items()}
    values |= {arm: float(np.mean([values[f"{arm}, {a}"] for a in anchors])) for arm in arms}
    return values | {"supervised": max(values["supervised, chosen"], values["supervised, last"])}


def _ranked(draws: int, seed: int) -> float:
    """Share of draws in which the other devices' distances rise with their noise."""
    import numpy as np
    import torch

    from smidgen.kit.seeds import derive_seed
    from smidgen.learn.collossl import select_devices
    from smidgen.tasks.synthetic_devices import SyntheticDevicesConfig, synthetic_devices

    right = 0
    for draw in range(draws):
        own = derive_seed(seed, "ranking", draw)
        noise = (NOISE[0] / 2, *np.random.default_rng(own).permutation(NOISE).tolist())
        made = synthetic_devices(SyntheticDevicesConfig(noise=noise, users=1, seed=own))
        distance = select_devices(torch.from_numpy(made.windows.stacked("user 0")), 0).distance
        right += sorted(distance, key=distance.__getitem__) == sorted(distance, key=noise.__getitem__)
    return right / draws


def _months() -> tuple[Any, list[str]]:
    """ETTh1 as windows by channel and month, and the months held out."""
    import numpy as np
    import pandas as pd

    from smidgen.tasks import known
    from smidgen.tasks.device_windows import MultiDeviceWindows

    frame = pd.read_csv(known.place(SERIES) / "ETTh1.csv.gz", parse_dates=["date"], index_col="date")
    values, change = frame.to_numpy(np.float32), frame.diff().fillna(0).to_numpy(np.float32)
    month = frame.index.strftime("%Y-%m").to_numpy()  # pyright: ignore[reportAttributeAccessIssue]
    hour = frame.index.hour.to_numpy()  # pyright: ignore[reportAttributeAccessIssue]
    first = np.arange(0, len(frame) - WINDOW + 1, STEP)
    first = first[month[first] == month[first + WINDOW - 1]]
    rows = first[:, None] + np.arange(WINDOW)
    months = sorted(set(month))
    of = {m: month[first] == m for m in months}
    X = {
        device: {m: np.stack([values[rows[of[m]], d], change[rows[of[m]], d]], 2) for m in months}
        for d, device in enumerate(frame.columns)
    }
    y = {m: hour[first[of[m]]].astype(np.int64) // 6 for m in months}
    return MultiDeviceWindows(X=X, y=y, motion=1), months[LEARNED:]


def _worn() -> tuple[Any, list[str]]:
    """Phone and watch, by person, in g and rad/s; and the people held out."""
    import numpy as np

    from smidgen.tasks import known
    from smidgen.tasks.device_windows import MultiDeviceWindows

    X: dict[str, dict[str, Any]] = {"phone": {}, "watch": {}}
    y, held = {}, []
    for part in ("train", "test"):
        with np.load(known.place(WORN) / f"{part}.npz") as data:
            x_NDTC = data["X"].swapaxes(2, 3) / np.array([300 * 9.81] * 3 + [1000] * 3)
            for subject in np.unique(data["subject"]):
                name, own = f"subject {subject}", data["subject"] == subject
                held += [name] if part == "test" else []
                y[name] = data["y"][own].astype(np.int64)
                for d, device in enumerate(X):
                    X[device][name] = x_NDTC[own, d].astype(np.float32)
    return MultiDeviceWindows(X=X, y=y), held


def _made(seed: int) -> tuple[Any, list[str]]:
    """Made motion in place of either set, to see that it runs."""
    from smidgen.tasks.synthetic_devices import SyntheticDevicesConfig, synthetic_devices

    made = synthetic_devices(
        SyntheticDevicesConfig(noise=(0.1, 0.2, 0.4), users=2, windows=16, length=24, seed=seed)
    ).windows
    return made, made.users[1:]
