"""The weights of the in-context learner as one safetensors file: arrays, and the sizes of the network among them.

Those that come with the package are named by their hash and stay there when newer ones come: a saved model goes on with
the ones that it was made with.
"""

from dataclasses import asdict, fields
from functools import cache
from pathlib import Path

import numpy as np
import torch

from smidgen.kit.errors import BadInput
from smidgen.kit.files import digest, parse_tensors, read_bytes, tensor_bytes
from smidgen.nets.cells import Cells, CellsConfig

FOLDER = Path(__file__).parent / "weights"
NEWEST = "093187c641af"
SIZES = "sizes"
MOST_BYTES = 12 << 20
LETTERS = 12


def weight_bytes(net: Cells) -> bytes:
    """The file's bytes; the same network always gives the same."""
    arrays = {name: value.detach().cpu().float().numpy() for name, value in net.state_dict().items()}
    return tensor_bytes({**arrays, SIZES: np.array(list(asdict(net.config).values()), np.int64)})


def shipped(hashed: str = NEWEST) -> Path:
    """Where the weights of this hash are; of its beginning, `LETTERS` letters, is the file's name."""
    return FOLDER / f"incontext-{hashed[:LETTERS]}.safetensors"


def read_network(path: Path) -> tuple[Cells, str]:
    """The network, ready to answer, and a hash of its file. It is shared: do not train it.

    Raises:
        BadInput: there is no file, or it is not one of these weights.
    """
    if not path.is_file():
        raise BadInput(
            f"{path}: the weights of the in-context learner are not there. "
            "Make them: python -m smidgen.learn.incontext_train --out DIR; then give weights=DIR/incontext.safetensors."
        )
    return _read(path, path.stat().st_mtime_ns)


@cache
def _read(path: Path, changed: int) -> tuple[Cells, str]:
    data = read_bytes(path, MOST_BYTES)
    arrays = parse_tensors(data, str(path))
    sizes, names = arrays.pop(SIZES, None), [f.name for f in fields(CellsConfig)]
    damaged = BadInput(f"{path} does not hold weights of the in-context learner: the file is another, or damaged.")
    if sizes is None or sizes.shape != (len(names),):
        raise damaged
    net = Cells(CellsConfig(**dict(zip(names, map(int, sizes), strict=True))))
    try:
        net.load_state_dict({name: torch.from_numpy(array) for name, array in arrays.items()})
    except RuntimeError:
        raise damaged from None
    return net.eval().requires_grad_(False), digest(data)
