"""Windows of several devices: alignment, what is left out, scales, made recordings."""

from dataclasses import replace

import numpy as np
import pytest

from smidgen.kit.errors import BadInput
from smidgen.tasks.device_recordings import DeviceRecording, DropRules, align
from smidgen.tasks.device_windows import DeviceScales, MultiDeviceWindows, user_groups
from smidgen.tasks.synthetic_devices import SyntheticDevicesConfig, synthetic_devices


def ramp(device, start, end, rate, *, user="a", session=0, holes=(), labels=False):
    """A device that records the time itself, and three times the time."""
    t = np.arange(start, end, 1 / rate)
    for low, high in holes:
        t = t[(t < low) | (t > high)]
    return DeviceRecording(
        device=device,
        user=user,
        session=session,
        times=t,
        values=np.stack([t, 3 * t], 1),
        labels=(t >= 19.9).astype(int) if labels else None,
    )


def test_window_i_is_the_same_moment_on_every_device():
    own = [ramp("watch", 0.3, 41, 50, labels=True), ramp("phone", 1.013, 40, 31)]
    windows, dropped = align(own, rate=25, length=50, motion=2)
    watch, phone = windows.X["watch"]["a"], windows.X["phone"]["a"]
    assert watch.shape == (19, 50, 2) and not dropped.total()  # 2 s each, from 1.013 on
    np.testing.assert_allclose(watch, phone, atol=1e-4)
    np.testing.assert_allclose(phone[:, 0, 0], 1.013 + 2 * np.arange(19), atol=1e-4)
    assert windows.y["a"].tolist() == [0] * 9 + [1] * 10  # the tenth begins at 19.013: most of it is after 19.9
    pure, lost = align(own, rate=25, length=50, motion=2, rules=DropRules(purity=0.9))
    assert pure.count("a") == 18 and lost["windows of mixed labels"] == 1


def test_a_silent_device_drops_the_window_of_all_and_a_missing_one_its_session_or_itself():
    rules = DropRules(max_gap=0.5)
    own = [ramp("watch", 0, 20, 25), ramp("phone", 0, 20, 25, holes=[(5.5, 8.2)]), ramp("ring", 0, 20, 25)]
    windows, dropped = align(own, rate=25, length=50, motion=2, rules=rules)
    starts = windows.X["watch"]["a"][:, 0, 0]
    assert dropped["windows with a gap"] == 3 and windows.count("a") == 7
    assert all(s + 2 <= 5.6 or s >= 8.1 for s in starts)
    other = [ramp("watch", 0, 20, 25, user="b"), ramp("phone", 0, 20, 25, user="b")]
    windows, dropped = align(own + other, rate=25, length=50, motion=2, rules=rules)
    assert windows.users == ["a"] and dropped["sessions"] == 1
    windows, dropped = align(own + other, rate=25, length=50, motion=2, rules=replace(rules, missing_device="device"))
    assert windows.devices == ["watch", "phone"] and windows.users == ["a", "b"] and dropped["devices"] == 1
    windows, dropped = align(own + own[:0] + [ramp(d, 0, 3, 25, user="c") for d in ("watch", "phone", "ring")],
                             rate=25, length=50, motion=2, rules=rules)  # fmt: skip
    assert windows.users == ["a"] and dropped["users"] == 1


def test_scales_come_from_the_users_given_alone():
    windows = synthetic_devices(SyntheticDevicesConfig(users=3, windows=8)).windows
    far = {d: {u: x if u != "user 2" else x + 100 for u, x in users.items()} for d, users in windows.X.items()}
    scales = DeviceScales.learn(replace(windows, X=far), ["user 0", "user 1"])
    scaled = replace(windows, X=far).scaled(scales)
    x = np.concatenate([scaled.X["device 3"][u] for u in ("user 0", "user 1")]).reshape(-1, 6)
    np.testing.assert_allclose(x.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(x.std(0), 1, atol=1e-5)
    assert scaled.X["device 3"]["user 2"].mean() > 20
    half = windows.scaled(DeviceScales.constant(windows, 30.0)).X["device 0"]["user 0"]
    np.testing.assert_allclose(half * 30, windows.X["device 0"]["user 0"], rtol=1e-5)


def test_synthetic_devices_see_one_motion_turned_and_noisy():
    made = synthetic_devices(SyntheticDevicesConfig(noise=(0.0, 0.0, 0.5), users=2, windows=200, seed=3))
    motion = made.motion["user 1"]
    for d in (0, 1):
        seen = made.windows.X[f"device {d}"]["user 1"]
        np.testing.assert_allclose(seen[..., 3:], motion[..., 3:] @ made.rotations[d].T, atol=1e-5)
        lengths = (np.linalg.norm(x[..., :3], axis=2) for x in (seen, motion))
        np.testing.assert_allclose(*lengths, atol=1e-4)
    noise = made.windows.X["device 2"]["user 1"][..., :3] - motion[..., :3] @ made.rotations[2].T
    assert noise.std() == pytest.approx(0.5, rel=0.02)
    assert not np.allclose(made.rotations[0], made.rotations[1])


def test_groups_hold_each_user_once():
    assert user_groups(list("abcdefg"), 3) == [["a", "b", "c"], ["d", "e"], ["f", "g"]]


X = np.zeros((4, 50, 6), np.float32)


def made(phone=X, users=None, **other):
    return MultiDeviceWindows(X={"watch": {"a": X}, "phone": users or {"a": phone}}, **other)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: MultiDeviceWindows(X={"watch": {"a": X}}), "at least 2"),
        (lambda: made(X[:3]), "not aligned: user a has 3 and 4"),
        (lambda: made(users={"b": X}), "different users"),
        (lambda: made(X[:, :40]), "50 x 6"),
        (lambda: made(X.astype(np.float64)), "float32"),
        (lambda: made(X + np.float32(np.nan)), "NaN"),
        (lambda: made(y={"a": np.zeros(3)}), "4 numbers"),
        (lambda: made(motion=7), "1 to 6"),
        (lambda: made().only(users=["b"]), "users"),
        (lambda: made().place("ring"), "watch, phone"),
        (lambda: made().labelled("watch"), "no labels"),
        (lambda: user_groups(["a"], 2), "groups"),
        (lambda: align([ramp("w", 0, 9, 9), ramp("w", 0, 9, 9)], rate=9, length=9), "twice"),
        (lambda: align([ramp("w", 0, 9, 9)], rate=9, length=9), "at least 2"),
        (lambda: align([ramp("w", 0, 9, 9), ramp("p", 20, 29, 9)], rate=9, length=9), "No window is left"),
        (lambda: ramp("w", 0, 0.1, 9), "N of 2 or more"),
    ],
)
def test_bad_input(make, says):
    with pytest.raises(BadInput, match=says):
        make()
