"""Which optimizers may be cut anywhere: those whose update of an element depends on that element alone."""

from collections.abc import Mapping
from typing import Any

from torch import optim

from smidgen.kit.errors import bad
from smidgen.train.muon import Muon

ELEMENTWISE = (
    optim.Adam,
    optim.AdamW,
    optim.NAdam,
    optim.RAdam,
    optim.Adamax,
    optim.SGD,
    optim.RMSprop,
    optim.Rprop,
    optim.Adagrad,
    optim.Adadelta,
    optim.ASGD,
)


def needs_whole(kind: type[optim.Optimizer], group: Mapping[str, Any]) -> bool:
    """Whether the tensors of a group must stay whole, each with one owner; else they are cut anywhere.

    torch's element-wise optimizers may be cut, and classes that say so: `elementwise = True` (a subclass of a known one
    must say it for itself). Norms of a layer (LAMB, LARS), rows and columns (Adafactor), subspaces (GaLore) and
    orthogonal updates (Muon) need whole tensors: a group that says `whole_tensors=True` keeps them, and so do the
    matrices of our own Muon.

    Raises:
        BadInput: an optimizer that is not known to be element-wise, and a group that does not say so.
    """
    if kind is Muon or group.get("whole_tensors"):
        return bool(group.get("orthogonal") or group.get("whole_tensors"))
    if kind in ELEMENTWISE or vars(kind).get("elementwise") is True:
        return False
    raise bad(
        "optimizer",
        "one whose update of an element depends on that element alone",
        kind.__name__,
        "Its tensors cannot be cut: say whole_tensors=True in its groups, so that each has one owner, or take stage 0. "
        "A class that can be cut says `elementwise = True`.",
    )
