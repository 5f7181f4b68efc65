"""Made recordings of several devices on one body: known motion, each device turned its own way and noisy to a degree.

A user does activities one after the other. The motion under them (acceleration and turning, 3 axes each) is a sum of
sine waves whose frequencies, sizes and directions belong to the activity, changed a little by the user. A device sees
it rotated by a fixed rotation, plus white noise: its norm over axes changes by the noise alone.
"""

from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from smidgen.kit.errors import bad
from smidgen.kit.seeds import derive_seed
from smidgen.tasks.device_windows import MultiDeviceWindows

HARMONICS = 3


@dataclass(frozen=True, kw_only=True)
class SyntheticDevicesConfig:
    """
    Attributes:
        noise: standard deviation of each device's noise; one device a number. Motion has a size of about 1.
        users, windows: how many, and of each user. length, rate: samples of a window, and of a second.
        classes: activities. individual: how much users differ in tempo and force.
    """

    noise: tuple[float, ...] = (0.05, 0.1, 0.3, 0.6, 1.0)
    users: int = 4
    windows: int = 64
    length: int = 64
    rate: float = 25.0
    classes: int = 4
    individual: float = 0.15
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.noise, default=0.0) < 0:
            raise bad("noise", "0 or more", self.noise)
        for name, least in (("users", 1), ("windows", 2), ("length", 2), ("classes", 2)):
            if getattr(self, name) < least:
                raise bad(name, f"at least {least}", getattr(self, name))


@dataclass(frozen=True)
class SyntheticDevices:
    """`windows`; `motion[user]` `[n, T, 6]`, what really moved; `rotations` `[D, 3, 3]`; `noise` `[D]`."""

    windows: MultiDeviceWindows
    motion: dict[str, np.ndarray]
    rotations: np.ndarray
    noise: np.ndarray


def synthetic_devices(config: SyntheticDevicesConfig | None = None) -> SyntheticDevices:
    """Draws activities, users, rotations and noise, each from a seed of its own."""
    config = config or SyntheticDevicesConfig()

    def rng(*names: object) -> np.random.Generator:
        return np.random.default_rng(derive_seed(config.seed, *names))

    K, H = config.classes, HARMONICS
    kinds = rng("activities")
    hertz_KH = kinds.uniform(0.4, 3.0, (K, 1)) * np.arange(1, H + 1)
    size_KH6 = kinds.normal(size=(K, H, 6)) * kinds.uniform(0.3, 1.2, (K, 1, 1)) / np.sqrt(np.arange(1, H + 1))[:, None]
    rotations = Rotation.random(len(config.noise), rng=rng("rotations")).as_matrix()
    X, y, motion = {f"device {d}": {} for d in range(len(config.noise))}, {}, {}
    for u in range(config.users):
        name, own = f"user {u}", rng("user", u)
        tempo, force = np.exp(config.individual * own.normal(size=2))
        y[name] = own.integers(0, K, config.windows)
        t_nT = own.uniform(0, 100, (config.windows, 1)) + np.arange(config.length) / config.rate
        phase_KH6 = own.uniform(0, 2 * np.pi, (K, H, 6))
        angle = 2 * np.pi * tempo * t_nT[:, :, None, None] * hertz_KH[y[name]][:, None, :, None]
        waves = np.sin(angle + phase_KH6[y[name]][:, None])
        motion[name] = force * (waves * size_KH6[y[name]][:, None]).sum(2)
        for d, spread in enumerate(config.noise):
            seen = motion[name].reshape(*t_nT.shape, 2, 3) @ rotations[d].T
            seen = seen + spread * rng("noise", d, u).normal(size=seen.shape)
            X[f"device {d}"][name] = seen.reshape(*t_nT.shape, 6).astype(np.float32)
    return SyntheticDevices(MultiDeviceWindows(X=X, y=y), motion, rotations, np.array(config.noise))
