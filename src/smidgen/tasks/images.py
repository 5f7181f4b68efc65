"""Image files: which there are, which can be opened, and folders of them by class."""

import warnings
from collections import Counter
from pathlib import Path

from smidgen.kit.errors import BadInput
from smidgen.kit.extras import need
from smidgen.tasks.task import Finding

# No other reader is tried: that of EPS starts a program.
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM")
MAX_PIXELS = 64_000_000  # a picture takes 4 bytes for each while it is opened
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm")
SPLIT_NAMES = {"train", "training", "test", "testing", "val", "valid", "validation", "dev"}
TRAIN_NAMES = {"train", "training"}
POOL_NAMES = {"unlabelled", "unlabeled"}
# pictures that cannot be opened here, by what they are called
FOREIGN = {
    ".heic": "HEIC",
    ".heif": "HEIC",
    ".avif": "AVIF",
    ".svg": "SVG",
    ".psd": "Photoshop",
    **dict.fromkeys((".cr2", ".cr3", ".nef", ".arw", ".dng", ".orf", ".rw2", ".raf"), "raw camera"),
}
_LITTER = {"thumbs.db", "desktop.ini", "icon\r"}  # files that systems leave in folders of pictures


def image_path(text: str | None, folder: Path | None) -> str | None:
    """The absolute path of an image named in a cell, relative to `folder`; None when there is no such file."""
    if not text:
        return None
    try:
        path = Path(text).expanduser() if folder is None else folder / Path(text).expanduser()
        return str(path.absolute()) if path.is_file() else None
    except (OSError, ValueError, RuntimeError):
        return None


def images_in(folder: Path) -> tuple[list[Path], list[Path]]:
    """Image files below a folder in the order of their names, and the other files, without what systems leave there."""
    files = [
        p
        for p in sorted(folder.rglob("*"))
        if p.is_file() and not any(_hidden(part) for part in p.relative_to(folder).parts)
    ]
    images = [p for p in files if p.suffix.lower() in IMAGE_SUFFIXES]
    return images, [p for p in files if p.suffix.lower() not in IMAGE_SUFFIXES]


def _hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX" or name.lower() in _LITTER


def foreign(others: list[Path]) -> str:
    """A sentence on the pictures among these files that cannot be opened here; empty if there are none."""
    kinds = Counter(FOREIGN[p.suffix.lower()] for p in others if p.suffix.lower() in FOREIGN)
    if not kinds:
        return ""
    what = " and ".join(f"{count} {kind}" for kind, count in kinds.most_common())
    first = next(p.name for p in others if p.suffix.lower() in FOREIGN)
    one = sum(kinds.values()) == 1
    name, them = ("picture", "it") if one else ("pictures", "them")
    return f"{what} {name} (such as {first}) cannot be read: save {them} as JPEG or PNG first."


def unreadable(path: str | Path) -> str:
    """Why this image cannot be decoded; empty if it can. It is decoded wholly: a truncated one is found."""
    need("PIL", extra="image", why="Reading images")
    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with Image.open(path, formats=FORMATS) as image:
                if image.width * image.height > MAX_PIXELS:
                    return "it has too many pixels"
                image.load()
                return "" if min(image.size) > 0 else "it has no pixels"
        except Image.DecompressionBombError:
            return "it has too many pixels"
        except Exception as error:  # decoders raise many kinds on damaged files
            return (str(error).splitlines() or [type(error).__name__])[0][:120].replace(f" {str(path)!r}", "")


def read_folder(folder: Path) -> tuple[list[str], list[str | None], list[Finding]]:
    """Absolute paths and classes of the images of a folder with one folder a class.

    Images that lie in it directly, or in a folder "unlabelled", have no class. Damaged ones are left out and named.

    Raises:
        BadInput: no folder, no image, or folders that are splits (train, test) rather than classes.
    """
    folder = folder.absolute()
    images, others = images_in(folder)
    if not images:
        tables = [
            p.name
            for p in sorted(folder.iterdir())
            if p.suffix.lower() in (".csv", ".tsv", ".parquet", ".jsonl", ".gz")
        ]
        hint = f" {said}" if (said := foreign(others)) else " Expected FOLDER/CLASS/IMAGE.png."
        if tables:
            hint = f" It holds tables: give one of them, such as {folder / tables[0]}."
        raise BadInput(f"{folder} holds no image ({', '.join(IMAGE_SUFFIXES[:6])}, ...).{hint}", see="photos")
    labels = [p.relative_to(folder).parts[0] if p.parent != folder else None for p in images]
    names = {n for n in labels if n}
    if (
        names
        and {n.lower() for n in names} <= SPLIT_NAMES
        and any(len(p.relative_to(folder).parts) > 2 for p in images)
    ):
        first = min(names, key=lambda n: (n.lower() not in TRAIN_NAMES, n))
        raise BadInput(
            f"{folder} has the folders {', '.join(sorted(names))}, which are parts of a data set, not "
            f"classes: give {folder / first}.",
            see="photos",
        )
    if all(n.lower() in POOL_NAMES for n in names):
        raise BadInput(
            f"{folder} holds {len(images)} images but no folder for each class: sort the images into folders that are "
            f"named like their classes, or give a table with a column of file names and one of labels.",
            see="photos",
        )
    findings = []
    if said := foreign(others):
        findings.append(Finding(level="warning", text=f"In {folder}, {said}"))
    if rest := sum(p.suffix.lower() not in FOREIGN for p in others):
        what = "1 file is no image and was" if rest == 1 else f"{rest} files are no images and were"
        findings.append(Finding(level="note", text=f"In {folder}, {what} passed over."))
    bare = [p.name for p in sorted(folder.iterdir()) if p.is_dir() and not _hidden(p.name) and p.name not in names]
    if bare:
        findings.append(
            Finding(
                level="warning",
                text=f"No image in the folders {', '.join(bare[:5])}{' ...' if len(bare) > 5 else ''} of {folder}.",
            )
        )
    kept, bad = [], []
    for path, label in zip(images, labels, strict=True):
        why = unreadable(path)
        if why:
            bad.append(f"{path.relative_to(folder)} ({why})")
        else:
            kept.append((str(path), None if label is None or label.lower() in POOL_NAMES else label))
    if bad:
        findings.append(skipped(bad, len(images)))
    if not kept:
        raise BadInput(
            f"None of the {len(images)} images in {folder} can be read; the first is {bad[0]}. Copy them again."
        )
    return [p for p, _ in kept], [c for _, c in kept], findings


def skipped(bad: list[str], of: int) -> Finding:
    return Finding(
        level="warning",
        text=f"{len(bad)} of {of} images cannot be read and were left out: "
        f"{'; '.join(bad[:5])}{' ...' if len(bad) > 5 else ''}.",
    )
