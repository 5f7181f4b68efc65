"""Seeds that do not depend on the order of work: every random choice derives its own from names."""

import hashlib


def derive_seed(seed: int, *names: object) -> int:
    """A 32-bit seed for one named use, e.g. `derive_seed(0, "folds", repeat)`. Equal input, equal seed, anywhere."""
    text = "\x1f".join([str(int(seed)), *map(str, names)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")
