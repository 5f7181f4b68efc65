"""From recordings with clocks of their own to aligned windows: one clock, and rules for what is left out.

Devices start, stop, stall and fail one by one. A window is kept where every device that is kept has samples all through
it; nothing is filled in. What was left out, and by which rule, is counted.
"""

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from smidgen.kit.errors import BadInput, bad
from smidgen.tasks.device_windows import UNLABELLED, MultiDeviceWindows


@dataclass(frozen=True, kw_only=True)
class DeviceRecording:
    """One device in one session of one user.

    Attributes:
        times: seconds `[N]`, rising, on a clock that the session's devices share.
        values: `[N, C]`. labels: int `[N]`, class of each sample, -1: unknown; those of the session's first recording
            that has any are taken.
    """

    device: str
    user: Hashable
    session: int
    times: np.ndarray
    values: np.ndarray
    labels: np.ndarray | None = None

    def __post_init__(self) -> None:
        where = f"{self.device}, user {self.user}, session {self.session}"
        if self.values.ndim != 2 or self.times.shape != self.values.shape[:1] or len(self.times) < 2:
            raise BadInput(f"{where}: expected times [N] and values [N, C] with N of 2 or more.")
        if not (np.diff(self.times) > 0).all():
            raise BadInput(f"{where}: times must rise: sort the samples and drop doubles.")
        if self.labels is not None and self.labels.shape != self.times.shape:
            raise bad(f"{where}: labels", f"{len(self.times)}, one a sample", self.labels.shape)


@dataclass(frozen=True, kw_only=True)
class DropRules:
    """
    Attributes:
        missing_device: of a session in which a device is not there, "session": leave the session out; "device": leave
            the device out of all sessions.
        max_gap: a window in which a device is silent for more seconds than this is left out.
        purity: least share of a window's samples that have its label (the commonest); below it is left out.
        least_windows: a user with fewer is left out.
    """

    missing_device: Literal["session", "device"] = "session"
    max_gap: float = 0.1
    purity: float = 0.0
    least_windows: int = 2

    def __post_init__(self) -> None:
        if self.missing_device not in ("session", "device"):
            raise bad("missing_device", "session or device", self.missing_device)
        if not self.max_gap > 0:
            raise bad("max_gap", "seconds above 0", self.max_gap)
        if not 0 <= self.purity <= 1:
            raise bad("purity", "a share from 0 to 1", self.purity)
        if self.least_windows < 1:
            raise bad("least_windows", "at least 1", self.least_windows)


def align(
    recordings: Sequence[DeviceRecording],
    *,
    rate: float,
    length: int,
    step: int | None = None,
    rules: DropRules | None = None,
    motion: int = 3,
    classes: tuple[str, ...] = (),
) -> tuple[MultiDeviceWindows, Counter[str]]:
    """Windows of all devices on one clock, and how much each rule left out.

    Values between samples are interpolated linearly, labels are those of the nearest sample.

    Args:
        rate: samples a second of the common clock. length: T. step: samples from window to window; None: T, no overlap.
    Raises:
        BadInput: two recordings of one device in a session, fewer than 2 devices, or nothing left.
    """
    rules, step = rules or DropRules(), length if step is None else step
    if not rate > 0 or length < 2 or step < 1:
        raise bad("rate, length, step", "a rate above 0, at least 2 samples, at least 1", (rate, length, step))
    sessions: dict[tuple[Hashable, int], dict[str, DeviceRecording]] = {}
    for r in recordings:
        own = sessions.setdefault((r.user, r.session), {})
        if r.device in own:
            raise BadInput(f"{r.device} was recorded twice in session {r.session} of user {r.user}: join or drop one.")
        own[r.device] = r
    devices = list(dict.fromkeys(r.device for r in recordings))
    dropped: Counter[str] = Counter()
    if rules.missing_device == "device":
        kept = [d for d in devices if all(d in own for own in sessions.values())]
        dropped["devices"] = len(devices) - len(kept)
        devices = kept
    if len(devices) < 2:
        raise BadInput(f"{len(devices)} devices are in all sessions: at least 2 are needed. Drop sessions instead.")

    cut: dict[Hashable, list[tuple[int, np.ndarray, np.ndarray]]] = {}
    labelled = any(r.labels is not None for r in recordings)
    for (user, session), own in sessions.items():
        if any(d not in own for d in devices):
            dropped["sessions"] += 1
            continue
        x_DnTC, y_n, lost = _cut([own[d] for d in devices], rate, length, step, rules)
        dropped.update(lost)
        cut.setdefault(user, []).append((session, x_DnTC, y_n))
    X, y, whose = {d: {} for d in devices}, {}, {}
    for user, parts in cut.items():
        if sum(len(p[2]) for p in parts) < rules.least_windows:
            dropped["users"] += 1
            continue
        x_DnTC = np.concatenate([p[1] for p in parts], 1)
        for d, x_nTC in zip(devices, x_DnTC, strict=True):
            X[d][user] = x_nTC
        y[user] = np.concatenate([p[2] for p in parts])
        whose[user] = np.concatenate([np.full(len(p[2]), p[0], np.int64) for p in parts])
    if not y:
        counts = ", ".join(f"{n} {what}" for what, n in dropped.items() if n)
        raise BadInput(f"No window is left ({counts or 'sessions shorter than one'}): loosen the rules.")
    return MultiDeviceWindows(X=X, y=y if labelled else None, session=whose, motion=motion, classes=classes), dropped


def _cut(
    own: Sequence[DeviceRecording], rate: float, length: int, step: int, rules: DropRules
) -> tuple[np.ndarray, np.ndarray, Counter[str]]:
    """One session's windows `[D, n, T, C]`, labels `[n]`, and what was left out."""
    start, end = max(r.times[0] for r in own), min(r.times[-1] for r in own)
    clock = start + np.arange(max(int(np.floor((end - start) * rate + 1e-6)) + 1, 0)) / rate
    firsts = np.arange(0, len(clock) - length + 1, step)
    rows_nT, lost = firsts[:, None] + np.arange(length), Counter()
    whole_n = np.ones(len(firsts), bool)
    for r in own:
        gaps = np.flatnonzero(np.diff(r.times) > rules.max_gap)
        for a, b in zip(r.times[gaps], r.times[gaps + 1], strict=True):
            whole_n &= (clock[rows_nT[:, -1]] <= a) | (clock[rows_nT[:, 0]] >= b)
    lost["windows with a gap"] = int((~whole_n).sum())
    y_n, share_n = _labels(own, clock, rows_nT)
    pure_n = share_n >= rules.purity
    lost["windows of mixed labels"] = int((whole_n & ~pure_n).sum())
    rows_nT, y_n = rows_nT[whole_n & pure_n], y_n[whole_n & pure_n]
    on_clock = [np.stack([np.interp(clock, r.times, v) for v in r.values.T], 1).astype(np.float32) for r in own]
    return np.stack([v[rows_nT] for v in on_clock]), y_n, lost


def _labels(own: Sequence[DeviceRecording], clock: np.ndarray, rows_nT: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The commonest label of each window, and its share."""
    source = next((r for r in own if r.labels is not None), None)
    n = len(rows_nT)
    if source is None or source.labels is None or not n:
        return np.full(n, UNLABELLED, np.int64), np.ones(n)
    middles = (source.times[1:] + source.times[:-1]) / 2
    at = source.labels[np.searchsorted(middles, clock)].astype(np.int64)
    kinds, codes = np.unique(at, return_inverse=True)
    counts = np.stack([np.bincount(w, minlength=len(kinds)) for w in codes.ravel()[rows_nT]])
    best = counts.argmax(1)
    return kinds[best], counts[np.arange(n), best] / rows_nT.shape[1]
