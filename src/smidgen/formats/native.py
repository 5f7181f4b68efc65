"""The compiled part of products with packed weights: built on first use, absent where that cannot be.

The source lies in the package (`kernels/packed.cpp` with its headers). It is compiled with the system's g++ or clang++
for this very processor into the user's cache folder (`$XDG_CACHE_HOME/smidgen/kernels`, by default under `~/.cache`),
under a name that holds a hash of source, compiler, options and processor. A library is only loaded from a folder, and a
file, that belongs to this user and that nobody else may write. SMIDGEN_KERNELS=off: never; CXX: another compiler.
"""

import ctypes
import functools
import hashlib
import os
import platform
import shutil
import stat
import subprocess
import tempfile
from pathlib import Path
from typing import Any

SOURCE = Path(__file__).with_name("kernels") / "packed.cpp"
COMPILERS = ("g++", "clang++", "c++")
OPTIONS = ("-O3", "-std=c++17", "-shared", "-fPIC", "-ffp-contract=off", "-w")
EXTRA = (("-march=native", "-fopenmp"), ("-march=native",), ("-mcpu=native",), ())  # the first that compiles
SECONDS = 120  # for one compilation


class Scales(ctypes.Structure):
    """As in weight.h."""

    _fields_ = [(name, ctypes.c_void_p) for name in ("codes", "table", "of", "mean")] + [("kind", ctypes.c_int32)]


class Weight(ctypes.Structure):
    """As in weight.h."""

    _fields_ = (
        [(name, ctypes.c_void_p) for name in ("codes", "values")]
        + [(name, ctypes.c_int64) for name in ("rows", "columns", "stride", "group", "groups")]
        + [(name, ctypes.c_int32) for name in ("bits", "ternary", "has_offsets")]
        + [(name, Scales) for name in ("scales", "offsets")]
    )


def library() -> Any:
    """The functions of packed.cpp, or None; `why_not()` says why."""
    return None if switched_off() else _built()[0]


def why_not() -> str:
    """Why there are no compiled kernels; empty where there are."""
    return "SMIDGEN_KERNELS is off" if switched_off() else _built()[1]


def switched_off() -> bool:
    return os.environ.get("SMIDGEN_KERNELS", "").lower() in ("off", "0", "no", "false")


def cache_folder() -> Path:
    """Where compiled libraries are kept."""
    given = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(given) if Path(given).is_absolute() else Path.home() / ".cache") / "smidgen" / "kernels"


@functools.cache
def _built() -> tuple[Any, str]:
    try:
        return load(build(cache_folder())), ""
    except (OSError, RuntimeError, subprocess.SubprocessError) as error:
        return None, str(error) or type(error).__name__


def load(path: Path) -> Any:
    """The functions of a library. Raises OSError where it is none, or is not safe to load."""
    _check_owner(path)
    found = ctypes.CDLL(str(path))
    pointer, number = ctypes.c_void_p, ctypes.c_int64
    weight = ctypes.POINTER(Weight)
    found.smidgen_packed_product.argtypes = [weight, pointer, number, pointer, ctypes.c_int32]
    found.smidgen_packed_rows.argtypes = [weight, number, number, pointer, ctypes.c_int32]
    found.smidgen_packed_product.restype = found.smidgen_packed_rows.restype = None
    return found


def build(folder: Path) -> Path:
    """The compiled library in this folder, compiled if it is not there.

    Raises:
        RuntimeError, OSError: no compiler, one that fails, or a folder that cannot be used.
    """
    if platform.system() not in ("Linux", "Darwin"):
        raise RuntimeError(f"nothing is compiled on {platform.system()}")
    command = compiler()
    path = folder / f"packed-{_key(command)}.so"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    _check_owner(folder)
    if path.exists():
        return path
    with tempfile.TemporaryDirectory(dir=folder, prefix=".making-") as making:
        made, error = Path(making) / "packed.so", ""
        for extra in EXTRA:
            line = [command, *OPTIONS, *extra, "-o", str(made), str(SOURCE)]
            done = subprocess.run(line, capture_output=True, text=True, timeout=SECONDS, stdin=subprocess.DEVNULL)
            if done.returncode == 0:
                break
            error = done.stderr.strip()[:200]
        else:
            raise RuntimeError(f"{command} failed: {error}")
        made.chmod(0o700)
        with made.open("rb") as written:
            os.fsync(written.fileno())
        made.replace(path)
    return path


def compiler() -> str:
    """The C++ compiler that is used. Raises RuntimeError where there is none."""
    for name in filter(None, (os.environ.get("CXX"), *COMPILERS)):
        if found := shutil.which(name):
            return found
    raise RuntimeError("no C++ compiler (g++ or clang++)")


def _key(compiler: str) -> str:
    """What the library depends on: source, compiler, options, processor (a home may be shared by machines)."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else [platform.processor()]
    names = ("flags", "Features", "model", "cpu family", "CPU part")
    processor = sorted({line for line in lines if line.startswith(names)}) or lines
    asked = [os.path.realpath(compiler), _stamp(compiler), platform.machine(), *processor, repr((OPTIONS, EXTRA))]
    sources = b"".join(p.read_bytes() for p in [SOURCE, *sorted(SOURCE.parent.glob("*.h"))])
    return hashlib.sha256(sources + "\n".join(asked).encode()).hexdigest()[:20]


def _stamp(compiler: str) -> str:
    found = Path(compiler).stat()
    return f"{found.st_size} {int(found.st_mtime)}"


def _check_owner(path: Path) -> None:
    """Raises PermissionError where another user could have written it."""
    found = path.stat()
    if found.st_uid != os.getuid() or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise PermissionError(f"{path} belongs to another user, or others may write it")
