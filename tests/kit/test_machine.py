"""What a machine says of itself, by a system of files that the tests write."""

import os
import platform

import pytest

from smidgen.kit import machine


def groups(root, files):
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_a_container_bounds_cores_and_memory(tmp_path, monkeypatch):
    v2 = groups(
        tmp_path / "2",
        {
            "a/cpu.max": "150000 100000\n",
            "a/memory.max": "3000000000\n",
            "a/b/cpu.max": "max 100000\n",
            "a/b/memory.max": "max\n",
        },
    )
    for group in ("a/b", "/a//b", "../a/b"):
        assert machine.core_share(v2, group) == 1.5 and machine.memory_limit(v2, group) == 3_000_000_000
    assert machine.core_share(v2, "") == float("inf") and machine.memory_limit(v2, "") is None
    v1 = groups(
        tmp_path / "1",
        {
            "cpu/cpu.cfs_quota_us": "-1\n",
            "cpu/cpu.cfs_period_us": "100000\n",
            "memory/memory.limit_in_bytes": f"{2**63 - 4096}\n",
        },
    )
    assert machine.core_share(v1, "") == float("inf") and machine.memory_limit(v1, "") is None
    (v1 / "cpu" / "cpu.cfs_quota_us").write_text("50000")
    (v1 / "memory" / "memory.limit_in_bytes").write_text(f"{2**60 - 1}")
    assert machine.core_share(v1, "") == 0.5 and machine.memory_limit(v1, "") == 2**60 - 1
    monkeypatch.setattr(machine, "CGROUPS", v1)
    assert machine.cores() == 1
    for period in ("0", "-100000", ""):
        groups(tmp_path / "odd", {"cpu.max": f"100000 {period}", "cpu/cpu.cfs_quota_us": "1"})
        groups(tmp_path / "odd", {"cpu/cpu.cfs_period_us": period})
        assert machine.core_share(tmp_path / "odd", "") == float("inf")


@pytest.mark.parametrize(("share", "cores"), [(float("inf"), 4), (2.2, 3), (0.2, 1), (9.0, 4)])
def test_cores_are_those_of_the_process_and_no_more_than_its_container_pays_for(monkeypatch, share, cores):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {1, 3, 5, 7} if pid == 0 else {1}, raising=False)
    monkeypatch.setattr(machine, "core_share", lambda root, own: share)
    assert machine.cores() == cores


@pytest.fixture
def system(tmp_path, monkeypatch):
    """Files under / are those of the folder that it gives."""
    monkeypatch.setattr(machine, "Path", lambda path: tmp_path / path.lstrip("/"))
    return tmp_path


def test_memory(system, monkeypatch):
    assert machine.free_bytes() is None
    groups(
        system,
        {
            "proc/self/status": "Name:\tx\nVmHWM:\t    2048 kB\nVmRSS:\t    1024 kB\n",
            "proc/meminfo": "MemTotal: 900 kB\nMemFree: 1 kB\nMemAvailable:  100 kB\n",
            "proc/self/cgroup": "1:name=x:/no\n0::/a/b:c\n",
        },
    )
    assert machine.resident_bytes() == 1024**2 and machine.resident_bytes(peak=True) == 2 * 1024**2
    assert machine.free_bytes() == 100 * 1024
    groups(system, {"groups/a/b:c/memory.max": "5000"})
    assert machine.memory_limit(system / "groups") == 5000 and machine.memory_limit(system / "groups", "") is None
    monkeypatch.setattr(machine, "memory_limit", lambda: 5000)
    assert machine.free_bytes() == 5000


def test_memory_where_the_system_has_no_such_files(system):
    assert 10e6 < machine.resident_bytes() < 100e9
    assert machine._own_cgroup() == ""


def test_graphics_cards(system):
    assert machine.gpus() == []
    groups(system, {"dev/nvidia0": "", "dev/nvidiactl": ""})
    assert machine.gpus() == ["NVIDIA GPU"]
    groups(
        system, {f"proc/driver/nvidia/gpus/{i}/information": t for i, t in enumerate(("Model: \t H200 \nIRQ: 1", ""))}
    )
    assert machine.gpus() == ["H200", "NVIDIA GPU"]


def test_what_a_number_was_measured_on(system):
    found = machine.machine()
    assert found["processor"] == platform.machine() and set(found) == {"processor", "cores", "memory_gb", "system"}
    groups(system, {"proc/cpuinfo": "model name\t: Fast One 9000\nmodel name\t: Fast One 9000\n"})
    assert machine.machine()["processor"] == "Fast One 9000"
    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert abs(found["memory_gb"] - whole / 1e9) <= 0.5 and found["cores"] >= 1
    versions = machine.versions(["numpy", "no-such-package", "scipy"])
    assert list(versions) == ["python", "numpy", "scipy"] and versions["python"] == platform.python_version()
