"""A folder of checkpoints: what is published, what is the newest, what is kept. Manifests decide.

    checkpoint-00000007.json           manifest of the seventh checkpoint: step, files, sizes, digests
    step-0000000400-8f3a1c02/          its files, one a rank: rank-00000.safetensors, rank-00000.json
    .lock                              held while a process writes here

A checkpoint exists from the moment its manifest has its name; that is the last thing written, and it replaces nothing.
Folders that no manifest names are what a killed run left, and go when the next one opens the folder to write.
"""

import contextlib
import datetime
import re
import secrets
import zlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from smidgen.kit.errors import BadInput, bad
from smidgen.kit.files import json_bytes, read_json, remove_tree, write_json
from smidgen.kit.lock import FolderLock
from smidgen.train.checkpoint.errors import CheckpointCorrupt, CheckpointFailed
from smidgen.train.checkpoint.layout import FORMAT, VERSION, check_version, corrupt
from smidgen.train.checkpoint.shard import Written, sync_folder

_MANIFEST = re.compile(r"checkpoint-(\d{8,})\.json")
_DATA = re.compile(r"step-\d{10,}-[0-9a-zA-Z_.-]+")
_PLAIN = re.compile(r"[0-9a-zA-Z_-][0-9a-zA-Z_.-]*")  # a name, never a path


@dataclass(frozen=True, kw_only=True)
class Keep:
    """Which checkpoints stay: the newest `last`, and those whose step `every` divides (0: none), of these only the
    newest `most` (0: all)."""

    last: int = 2
    every: int = 0
    most: int = 0

    def __post_init__(self) -> None:
        if self.last < 1 or self.every < 0 or self.most < 0:
            raise bad("keep", "at least the last 1, every >= 0, most >= 0", (self.last, self.every, self.most))

    def staying(self, steps: list[int]) -> set[int]:
        """Places of those that stay among checkpoints of these steps, oldest first."""
        regular = [i for i, step in enumerate(steps) if self.every and step % self.every == 0]
        return {*range(len(steps))[-self.last :], *regular[-self.most :]}


@dataclass(frozen=True)
class Published:
    """A checkpoint that is whole and on the disk. `shards`: file and what was written, in the order of ranks."""

    folder: Path
    sequence: int
    step: int
    data: str
    shards: tuple[tuple[str, Written], ...]

    @property
    def world(self) -> int:
        return len(self.shards)

    def file(self, rank: int = 0) -> Path:
        return self.folder / self.data / self.shards[rank][0]


def published(folder: Path) -> list[Published]:
    """All checkpoints of a folder, oldest first. Raises as `latest` on one that cannot be read."""
    return [read_manifest(folder, name) for name in manifests(folder)]


def latest(folder: Path) -> Published | None:
    """The newest published checkpoint, by order of publishing, not by step; None where there is none.

    Raises:
        CheckpointCorrupt: its manifest is damaged. BadInput: a newer version wrote it.
    """
    for _ in range(10):  # a writer may remove an old one while we look
        names = manifests(folder)
        if not names:
            return None
        with contextlib.suppress(FileNotFoundError):
            return read_manifest(folder, names[-1])
    raise CheckpointCorrupt(f"{folder}: its manifests vanish faster than they can be read.")


def shard_name(rank: int) -> str:
    return f"rank-{rank:05d}.safetensors"


class Folder:
    """A folder of checkpoints, open to write. Rank 0 holds its lock, publishes and removes; others only add files."""

    def __init__(
        self, path: Path, *, rank: int = 0, world: int = 1, attempt: str = "", keep: Keep | None = None
    ) -> None:
        if not 0 <= rank < world:
            raise bad("rank", f"between 0 and {world - 1}", rank)
        if world > 1 and not re.fullmatch(r"[0-9a-zA-Z_.-]+", attempt):
            raise bad("attempt", "letters and digits, the same on all ranks and new at each start", attempt)
        self.path = Path(path).absolute()
        self.rank, self.world, self.attempt, self.keep = rank, world, attempt, keep or Keep()
        self.path.mkdir(parents=True, exist_ok=True)
        taken = f"{self.path}: another run writes its checkpoints here; choose another folder."
        self._lock = FolderLock(self.path, taken) if rank == 0 else None
        if rank == 0:
            self._clean()

    def begin(self, step: int, count: int) -> str:
        """The name of a new data folder, made if need be; `count`: saves begun before, the same on all ranks."""
        unique = f"{self.attempt}-{count}" if self.world > 1 else secrets.token_hex(4)
        name = f"step-{step:010d}-{unique}"
        (self.path / name).mkdir(exist_ok=self.world > 1)
        return name

    def add(self, data: str, written: Written, sync: bool) -> None:
        """Says that this rank's file is complete and on the disk."""
        write_json(self.path / data / f"rank-{self.rank:05d}.json", asdict(written))
        if sync:
            sync_folder(self.path / data)
            sync_folder(self.path)

    def give_up(self, data: str) -> None:
        """Removes what this rank wrote and tells the others; never what a manifest names."""
        place = self.path / data
        if any(p.data == data for p in _readable(self.path)):
            return
        if self.world == 1:
            remove_tree(place)
            return
        with contextlib.suppress(OSError):
            (place / shard_name(self.rank)).unlink(missing_ok=True)
            (place / f"rank-{self.rank:05d}.failed").touch()

    def publish(self, data: str, step: int, sync: bool) -> bool:
        """Publishes a checkpoint all of whose files are there (rank 0), or sees that it was (others).

        Returns:
            False: a rank has not written its file yet, or rank 0 has not published.
        Raises:
            CheckpointFailed: a rank gave up.
        """
        place = self.path / data
        gone = [p.name for p in place.glob("rank-*.failed")]
        if gone:
            raise CheckpointFailed(f"step {step}: {', '.join(sorted(gone)).replace('.failed', '')} could not write.")
        if self.rank > 0:
            return not place.is_dir() or any(p.data == data for p in _readable(self.path))
        shards = []
        for rank in range(self.world):
            record = place / f"rank-{rank:05d}.json"
            if not record.is_file():
                return False
            shards.append({"file": shard_name(rank), **read_json(record)})
        sequence = max((int(m[1]) for m in map(_MANIFEST.fullmatch, manifests(self.path)) if m), default=0) + 1
        now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        body = {"format": FORMAT, "version": VERSION, "sequence": sequence, "step": step, "data": data}
        body |= {"shards": shards, "written": now}
        manifest = self.path / f"checkpoint-{sequence:08d}.json"
        try:
            write_json(manifest, {**body, "crc32": zlib.crc32(json_bytes(body))})
            if sync:
                sync_folder(self.path)
        except BaseException:
            manifest.unlink(missing_ok=True)
            raise
        self._retire()
        return True

    def close(self) -> None:
        if self._lock:
            self._lock.release()
            self._lock = None

    def _retire(self) -> None:
        """Removes what need not be kept: first the manifest, then its files."""
        found = _readable(self.path)
        staying = self.keep.staying([p.step for p in found])
        for place, old in enumerate(found):
            if place not in staying:
                with contextlib.suppress(OSError):
                    (self.path / f"checkpoint-{old.sequence:08d}.json").unlink()
                    remove_tree(self.path / old.data)

    def _clean(self) -> None:
        """Removes what a killed run left; nothing at all where a manifest cannot be read."""
        for torn in self.path.glob(".checkpoint-*.json.*"):
            torn.unlink(missing_ok=True)
        try:
            named = {p.data for p in published(self.path)}
        except BadInput:
            return
        for place in self.path.iterdir():
            mine = self.world > 1 and f"-{self.attempt}-" in place.name  # another rank was faster than this one
            if _DATA.fullmatch(place.name) and place.name not in named and not mine:
                remove_tree(place)


def manifests(folder: Path) -> list[str]:
    """Names of manifests, oldest first."""
    folder = Path(folder)
    found = [m for m in (_MANIFEST.fullmatch(p.name) for p in folder.iterdir()) if m] if folder.is_dir() else []
    return [m[0] for m in sorted(found, key=lambda m: int(m[1]))]


def _readable(folder: Path) -> list[Published]:
    found = []
    for name in manifests(folder):
        with contextlib.suppress(BadInput, FileNotFoundError):
            found.append(read_manifest(folder, name))
    return found


def read_manifest(folder: Path, name: str) -> Published:
    """Raises FileNotFoundError where it is gone; CheckpointCorrupt and BadInput as `latest`."""
    path = Path(folder) / name
    if not path.exists():
        raise FileNotFoundError(path)
    try:
        value: dict[str, Any] = read_json(path)
        version = value["version"] if value["format"] == FORMAT else 0
    except (BadInput, KeyError, TypeError):
        raise corrupt(str(path), "its manifest cannot be read") from None
    check_version(version, str(path))
    try:
        crc, body = value["crc32"], {k: v for k, v in value.items() if k != "crc32"}
        shards = tuple((s["file"], Written(s["bytes"], s["digest"])) for s in body["shards"])
        plain = all(_PLAIN.fullmatch(n) for n in [body["data"], *(name for name, _ in shards)])
        if not (plain and shards) or crc != zlib.crc32(json_bytes(body)):
            raise ValueError
        return Published(Path(folder), body["sequence"], body["step"], body["data"], shards)
    except (KeyError, TypeError, ValueError):
        raise corrupt(str(path), "its manifest was changed") from None
