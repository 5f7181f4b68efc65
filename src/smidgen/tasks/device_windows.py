"""Windows of what several devices recorded at the same time: the input of self-supervision across devices.

Window i of a user is the same stretch of time on every device; that is what makes one device a view of another. Users
(or other stretches of time that have nothing to do with each other, such as months) are never simultaneous.

Dims: D devices, n windows of a user, T samples of a window, C channels. Source: ColloSSL (arXiv 2202.00758).
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from smidgen.kit.errors import BadInput, bad

UNLABELLED = -1


@dataclass(frozen=True, kw_only=True)
class MultiDeviceWindows:
    """Aligned windows by device and user; checked when it is made.

    Attributes:
        X: `X[device][user]`, float32 `[n, T, C]`; every device has every user, with the same n.
        y: `y[user]`, int64 `[n]`, the class of each window, -1 where it is unknown; None: no labels at all.
        session: `session[user]`, int64 `[n]`, the recording that each window was cut from; None: one a user.
        motion: the first so many channels are the vector (acceleration) that devices are compared by.
        classes: names, by number.

    Raises:
        BadInput: fewer than 2 devices, devices that are not aligned, shapes or labels that do not fit, NaN.
    """

    X: Mapping[str, Mapping[Any, np.ndarray]]
    y: Mapping[Any, np.ndarray] | None = None
    session: Mapping[Any, np.ndarray] | None = None
    motion: int = 3
    classes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if len(self.X) < 2:
            raise bad("devices", "at least 2: another device is the view", len(self.X))
        first = next(iter(self.X))
        if not self.X[first]:
            raise bad("users", "at least 1", 0)
        T, C = (), ()
        for device, users in self.X.items():
            if set(users) != set(self.X[first]):
                odd = sorted(map(str, set(users) ^ set(self.X[first])))
                raise BadInput(f"{device} and {first} have different users ({', '.join(odd)[:80]}): leave those out.")
            for user, x in users.items():
                if x.ndim != 3 or x.dtype != np.float32:
                    raise bad(f"X[{device!r}][{user!r}]", "float32 [n, T, C]", f"{x.dtype} {x.shape}")
                if len(x) != len(self.X[first][user]):
                    raise BadInput(
                        f"{device} and {first} are not aligned: user {user} has {len(x)} and "
                        f"{len(self.X[first][user])} windows. Cut both on one clock (`align`)."
                    )
                T, C = T or x.shape[1:2], C or x.shape[2:]
                if x.shape[1:] != T + C:
                    raise bad(f"X[{device!r}][{user!r}]", f"windows of {T[0]} x {C[0]}", x.shape[1:])
                if not np.isfinite(x).all():
                    raise BadInput(f"{device}, user {user}: a window holds NaN or infinity: leave it out.")
        for name, found in (("y", self.y), ("session", self.session)):
            if found is None:
                continue
            for user in self.users:
                if user not in found or np.shape(found[user]) != (self.count(user),):
                    got = np.shape(found[user]) if user in found else "nothing"
                    raise bad(f"{name}[{user!r}]", f"{self.count(user)} numbers", got)
        if not 1 <= self.motion <= self.channels:
            raise bad("motion", f"1 to {self.channels} channels", self.motion)

    @property
    def devices(self) -> list[str]:
        return list(self.X)

    @property
    def users(self) -> list[Any]:
        return list(self.X[self.devices[0]])

    @property
    def length(self) -> int:
        """T, samples of a window."""
        return self._any.shape[1]

    @property
    def channels(self) -> int:
        return self._any.shape[2]

    @property
    def _any(self) -> np.ndarray:
        return self.X[self.devices[0]][self.users[0]]

    def count(self, user: Hashable) -> int:
        return len(self.X[self.devices[0]][user])

    def place(self, device: str) -> int:
        """The number of a device. Raises BadInput: it is not here."""
        if device not in self.X:
            raise bad("anchor", f"one of {', '.join(self.devices)}", device)
        return self.devices.index(device)

    def stacked(self, user: Hashable) -> np.ndarray:
        """`[D, n, T, C]`: all devices of one user."""
        return np.stack([self.X[device][user] for device in self.devices])

    def labelled(self, device: str, users: Sequence[Hashable] | None = None) -> tuple[np.ndarray, np.ndarray]:
        """`[N, T, C]` and `[N]`: the windows of a device that have a label, users one after the other."""
        self.place(device)
        if self.y is None:
            raise BadInput("These windows have no labels: give y.")
        chosen = self.users if users is None else users
        y = np.concatenate([self.y[u] for u in chosen]).astype(np.int64)
        x = np.concatenate([self.X[device][u] for u in chosen])
        return x[y != UNLABELLED], y[y != UNLABELLED]

    def only(self, *, users: Sequence[Hashable] | None = None, devices: Sequence[str] | None = None):
        """The same of some users or devices."""
        keep, names = self.users if users is None else users, self.devices if devices is None else devices
        for user in keep:
            if user not in self.users:
                raise bad("users", f"some of {self.users}", user)
        for device in names:
            self.place(device)
        return replace(
            self,
            X={d: {u: self.X[d][u] for u in keep} for d in names},
            y=None if self.y is None else {u: self.y[u] for u in keep},
            session=None if self.session is None else {u: self.session[u] for u in keep},
        )

    def scaled(self, scales: "DeviceScales") -> "MultiDeviceWindows":
        """Each device minus its mean, over its scale."""
        X = {
            d: {u: ((x - scales.mean[d]) / scales.scale[d]).astype(np.float32) for u, x in users.items()}
            for d, users in self.X.items()
        }
        return replace(self, X=X)


@dataclass(frozen=True)
class DeviceScales:
    """By device: what is taken off each channel, and what it is then divided by; `[C]` each."""

    mean: Mapping[str, np.ndarray] = field(repr=False)
    scale: Mapping[str, np.ndarray] = field(repr=False)

    @classmethod
    def learn(cls, windows: MultiDeviceWindows, users: Sequence[Hashable]) -> "DeviceScales":
        """Mean and standard deviation of each device's channels on these users alone: give those of training.

        A constant channel is divided by 1.
        """
        if not users:
            raise bad("users", "at least 1 to learn the scales from", 0)
        mean, scale = {}, {}
        for device in windows.devices:
            x = np.concatenate([windows.X[device][u].reshape(-1, windows.channels) for u in users]).astype(np.float64)
            mean[device], spread = x.mean(0), x.std(0)
            scale[device] = np.where(spread > 1e-12 * np.maximum(np.abs(mean[device]), 1.0), spread, 1.0)
        return cls(mean, scale)

    @classmethod
    def constant(cls, windows: MultiDeviceWindows, divisor: float) -> "DeviceScales":
        """One divisor for all (published: 30 for RealWorld and HHAR, 15 for PAMAP2, 1 for Opportunity)."""
        if not divisor > 0:
            raise bad("divisor", "above 0", divisor)
        zero, full = np.zeros(windows.channels), np.full(windows.channels, float(divisor))
        return cls(dict.fromkeys(windows.devices, zero), dict.fromkeys(windows.devices, full))


def user_groups(users: Sequence[Hashable], groups: int) -> list[list[Hashable]]:
    """Users in so many groups, as given, sizes differing by one at most: each is held out once."""
    if not 2 <= groups <= len(users):
        raise bad("groups", f"2 to {len(users)}, the number of users", groups)
    return [[users[i] for i in part] for part in np.array_split(np.arange(len(users)), groups)]
