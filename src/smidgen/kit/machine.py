"""On what a number was measured: processor, cores, memory, system and versions. No host name, no user, no path."""

import importlib.metadata
import math
import os
import platform
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

CGROUPS = Path("/sys/fs/cgroup")
PACKAGES = ("numpy", "scipy", "scikit-learn", "pandas", "torch", "tokenizers", "lightgbm")


def machine() -> dict[str, Any]:
    """Processor, cores that this process may use, memory in GB (10^9 bytes), system."""
    info = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    found = re.search(r"model name\s*:\s*(.+)", info)
    memory = None
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        memory = round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9)
    return {
        "processor": found[1] if found else platform.machine(),
        "cores": cores(),
        "memory_gb": memory,
        "system": platform.system(),
    }


def cores() -> int:
    """Cores that this process may use: bound to it, and no more than its container has time for."""
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, math.ceil(min(bound, core_share(CGROUPS, _own_cgroup()))))


def core_share(root: Path, own: str) -> float:
    """Cores' worth of time that the control groups leave to a process; infinite where they set no bound.

    Args:
        root: where the control groups are mounted. own: the process's group in it, as "a/b".
    """
    shares = [math.inf]
    for text in _settings(root, own, "cpu.max"):  # version 2: "QUOTA PERIOD" or "max PERIOD"
        quota, _, period = text.partition(" ")
        shares += [int(quota) / int(period)] if quota.isdigit() and period.isdigit() and int(period) else []
    quotas, periods = (_settings(root / "cpu", own, f"cpu.cfs_{n}_us") for n in ("quota", "period"))
    for quota, period in zip(quotas, periods, strict=False):  # version 1: -1 is no bound
        shares += [int(quota) / int(period)] if quota.isdigit() and period.isdigit() and int(period) else []
    return min(shares)


def memory_limit(root: Path = CGROUPS, own: str | None = None) -> int | None:
    """Bytes that the control groups allow this process's group; None: they set no bound."""
    group = _own_cgroup() if own is None else own
    found = [*_settings(root, group, "memory.max"), *_settings(root / "memory", group, "memory.limit_in_bytes")]
    limits = [int(text) for text in found if text.isdigit() and int(text) < 1 << 60]  # version 1 says "none" by 2^63
    return min(limits, default=None)


def _own_cgroup() -> str:
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return ""
    return next((line.split(":", 2)[2].strip("/") for line in lines if line.startswith("0::")), "")


def _settings(root: Path, own: str, name: str) -> list[str]:
    """What a setting says in the process's control group and in each above it, where it can be read."""
    parts, found = [p for p in own.split("/") if p not in ("", "..")], []
    for depth in range(len(parts), -1, -1):
        try:
            found.append(root.joinpath(*parts[:depth], name).read_text().strip())
        except OSError:
            continue
    return found


def gpus() -> list[str]:
    """Names of the NVIDIA GPUs that the driver shows; nothing is loaded or started."""
    found = []
    for about in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information")):
        try:
            model = re.search(r"Model:\s*(.+)", about.read_text())
        except OSError:
            continue
        found.append(model[1].strip() if model else "NVIDIA GPU")
    return found or ["NVIDIA GPU" for _ in Path("/dev").glob("nvidia[0-9]*")]


def resident_bytes(peak: bool = False) -> int:
    """Memory of this program now, or the most that it held. `ru_maxrss`, where there is no /proc, is a peak, and may
    be that of the process which started it."""
    status = Path("/proc/self/status")
    key = "VmHWM" if peak else "VmRSS"
    found = re.search(rf"{key}:\s+(\d+) kB", status.read_text()) if status.exists() else None
    if found:
        return 1024 * int(found[1])
    import resource

    scale = 1 if platform.system() == "Darwin" else 1024
    return scale * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def free_bytes() -> int | None:
    """Memory that new programs could get, no more than the container's bound; None where the system does not say."""
    info = Path("/proc/meminfo")
    found = re.search(r"MemAvailable:\s+(\d+) kB", info.read_text()) if info.exists() else None
    bounds = [1024 * int(found[1])] if found else []
    return min([*bounds, *filter(None, [memory_limit()])], default=None)


def versions(packages: Iterable[str] = PACKAGES) -> dict[str, str]:
    """Versions of Python and of those of the packages that are installed; none is imported."""
    out = {"python": platform.python_version()}
    for name in packages:
        try:
            out[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return out
