"""Pictures as numbers: `pixels`, small and plain; `hog`, oriented gradients with colour and texture.

Needs the extra `[image]`. A value is a path, or the bytes of an image file, or an array; nothing is read from beyond
the first frame, and no picture is unfolded that claims more than 64 million pixels.
"""

import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from smidgen.kit.errors import BadInput
from smidgen.kit.extras import need
from smidgen.tasks.images import FORMATS, MAX_PIXELS

MAX_BYTES = 500_000_000
GREY, COLOUR = 20, 8  # edge of the small pictures: brightness, the two colours
EDGE = 64  # edge of the square that HOG sees
PICTURE = 32  # edge of the square that networks see
_WHY = "Reading images"


def read_bytes(value: Any) -> bytes:
    """The image file's bytes. Raises BadInput when there is no such file, or it is too large."""
    if isinstance(value, bytes):
        return value
    path = Path(value)
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise BadInput(f"{path} has {size:,} bytes: images of more than {MAX_BYTES:,} bytes are not read.")
        return path.read_bytes()
    except OSError as error:
        raise BadInput(f"The image {path} cannot be read: {error.strerror or error}.") from None


def decode(value: Any, edge: int = 0) -> np.ndarray:
    """uint8 `[H, W, 3]`, upright; transparent parts are white.

    Args:
        value: path, bytes of a file, or an array `[H, W]`, `[H, W, 1 | 3 | 4]` of uint8.
        edge: a hint: no side needs more pixels than this, so a large JPEG may be read at a fraction of its size.
    Raises:
        BadInput: not an image, damaged, or too large.
    """
    need("PIL", extra="image", why=_WHY)
    from PIL import Image, ImageOps

    if isinstance(value, np.ndarray):
        picture = Image.fromarray(
            np.ascontiguousarray(value[..., 0] if value.ndim == 3 and value.shape[2] == 1 else value)
        )
        return _rgb(picture)
    name = "The image" if isinstance(value, bytes) else f"The image {value}"
    data = read_bytes(value)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns where we refuse
            with Image.open(io.BytesIO(data), formats=FORMATS) as picture:
                if picture.width * picture.height > MAX_PIXELS:
                    raise BadInput(
                        f"{name} claims {picture.width} x {picture.height} pixels, more than {MAX_PIXELS:,}."
                    )
                if edge:
                    picture.draft("RGB", (edge, edge))
                picture.load()
                ImageOps.exif_transpose(picture, in_place=True)  # no copy where it stands upright
                return _rgb(picture)
    except BadInput:
        raise
    except Image.DecompressionBombError:
        raise BadInput(f"{name} claims more than {MAX_PIXELS:,} pixels: it is not read.") from None
    except Exception as error:  # Pillow's readers raise many kinds on damaged files
        raise BadInput(f"{name} cannot be decoded ({str(error)[:80]}): is it a whole PNG, JPEG, ... file?") from None


def _rgb(picture: Any) -> np.ndarray:
    from PIL import Image

    if picture.mode in ("I;16", "I;16B", "I;16L", "I", "F"):  # deep grey: its own range is the range
        deep = np.asarray(picture, np.float64)
        deep = deep / 65535 if picture.mode != "F" and deep.max() > 255 else deep / 255 if deep.max() > 1 else deep
        grey = (np.clip(deep, 0, 1) * 255).round().astype(np.uint8)
        return np.repeat(grey[:, :, None], 3, 2)
    if picture.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    return np.asarray(picture if picture.mode == "RGB" else picture.convert("RGB"))


def pixels(value: Any) -> np.ndarray:
    """float32 `[528]`: brightness at 20 x 20, blue and red difference at 8 x 8, each 0 to 1."""
    from PIL import Image

    bands = Image.fromarray(decode(value, 256)).convert("YCbCr").split()
    parts = [
        band.resize((edge, edge), Image.Resampling.BOX)
        for band, edge in zip(bands, (GREY, COLOUR, COLOUR), strict=True)
    ]
    return np.concatenate([np.asarray(p, np.float32).ravel() for p in parts]) / np.float32(255)


def picture(value: Any) -> np.ndarray:
    """float32 `[3072]`: the picture as 32 x 32 x 3 values of 0 to 255, whole and undistorted: the longer side fits,
    beside the shorter one its edge goes on."""
    from PIL import Image

    found = Image.fromarray(decode(value, 128))
    scale = PICTURE / max(found.size)
    width, height = (max(1, round(side * scale)) for side in found.size)
    small = np.asarray(found.resize((width, height), Image.Resampling.BOX if scale < 1 else Image.Resampling.BICUBIC))
    top, left = (PICTURE - height) // 2, (PICTURE - width) // 2
    around = ((top, PICTURE - height - top), (left, PICTURE - width - left), (0, 0))
    return np.pad(small, around, mode="edge").astype(np.float32).ravel()


def hog(value: Any) -> np.ndarray:
    """float32: oriented gradients of the picture at 64 x 64, roots of a colour and two texture histograms."""
    need("skimage", extra="image", why=_WHY)
    from PIL import Image
    from skimage.feature import hog as gradients
    from skimage.feature import local_binary_pattern

    picture = Image.fromarray(decode(value, 256)).resize((EDGE, EDGE), Image.Resampling.BICUBIC)
    grey, colour = np.asarray(picture.convert("L")), np.asarray(picture.convert("HSV"))
    shape = gradients(
        grey, orientations=9, pixels_per_cell=(8, 8), cells_per_block=(2, 2), block_norm="L2-Hys", transform_sqrt=True
    )
    shape = shape / np.sqrt(49)  # 49 blocks of about unit length
    bins = np.minimum(colour // [32, 86, 86], [7, 2, 2]).astype(np.int64) @ [9, 3, 1]
    hues = np.bincount(bins.ravel(), minlength=72)
    textures = [
        np.bincount(local_binary_pattern(grey, 8, r, "uniform").astype(np.int64).ravel(), minlength=10) for r in (1, 3)
    ]
    return np.concatenate([shape, *(np.sqrt(h / h.sum()) for h in (hues, *textures))]).astype(np.float32)
