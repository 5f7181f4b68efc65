"""Fewer bits, fewer weights: what each layer suffers, the best mix under a size, rounding that looks at data.

The package can be called: `smidgen.compress(folder, size="12MB")`, see `smidgen.studies.compressing.compress`.
"""

from smidgen.kit.verb import callable_room

callable_room(__name__, "smidgen.api", "compress")
