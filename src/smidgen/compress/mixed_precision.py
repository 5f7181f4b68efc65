"""A network in mixed precision from a few unlabelled samples (CalibTIP; Hubara et al., 2020, arXiv 2006.10518).

`light`: widths of layers from the integer program, then the repairs. `advanced`: AdaQuant before them. Both fold batch
norms first, quantize the whole network at each width, measure what each layer suffers at each, and mix.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from torch import nn

from smidgen.compress.adaquant import AdaQuantConfig, learn_layers
from smidgen.compress.allocate import Choice, best_mix
from smidgen.compress.capture import Batches
from smidgen.compress.fake import bytes_of, fake_quantize, packed, quantized_weights
from smidgen.compress.folding import Norm, fold_norms
from smidgen.compress.sensitivity import Distance, choices, loss_to, mixed, sensitivity
from smidgen.compress.tuning import TuneConfig, batchnorm_tune, bias_tune
from smidgen.formats.format import Format, Quantized
from smidgen.formats.scales import Search
from smidgen.kit.errors import bad

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Width:
    """How a layer is quantized: the format of its weight, and the bits of its inputs (None: floats)."""

    format: Format
    input_bits: int | None = None

    @classmethod
    def of(cls, bits: int, input_bits: int | None = None) -> "Width":
        """Integers with an offset, a range for each output channel."""
        return cls(Format(f"int{bits}", "channel", offset=True), input_bits)

    @property
    def name(self) -> str:
        return self.format.name + ("" if self.input_bits is None else f" a{self.input_bits}")


KEPT = "(kept)"  # all that no width is for
PUBLISHED = (Width.of(8, 8), Width.of(4, 4))


@dataclass(frozen=True, kw_only=True)
class MixedConfig:
    """
    Attributes:
        widths: that layers may have, the best first; losses are measured against a network that has it everywhere.
        distance: of answers to those in floats: "kl" for classes, "mse" for others.
        norms: whether batch-norm statistics are tuned. biases: how biases are; None: not at all.
        search: where the ranges of weights start.
    """

    widths: Sequence[Width] = PUBLISHED
    distance: Distance = "kl"
    norms: bool = True
    biases: TuneConfig | None = None
    search: Search = "absmax"

    def __post_init__(self) -> None:
        names = [w.name for w in self.widths]
        if not names or len(set(names)) < len(names):
            raise bad("widths", "at least one, each once", names)


@dataclass(frozen=True)
class Mixed:
    """A network in mixed precision.

    Attributes:
        model: fake-quantized. options: the width of each layer, by name. bytes: of the whole network.
        predicted, measured: loss beyond that of the base: summed over layers, and of the mix itself before repairs.
        loss: to the answers in floats, after repairs, on the calibration data.
        table: see `sensitivity.sensitivity`. report: of AdaQuant, by layer and width; empty without it.
    """

    model: nn.Module
    options: dict[str, str]
    bytes: int
    predicted: float
    measured: float
    loss: float
    table: "pd.DataFrame"
    report: "pd.DataFrame"
    norms: dict[str, Norm] = field(default_factory=dict)

    def quantized(self) -> dict[str, Quantized]:
        """Integers and scales of each layer."""
        return quantized_weights(self.model)

    def packed(self) -> nn.Module:
        """The network with packed layers."""
        return packed(self.model)


def light(
    model: nn.Module,
    batches: Batches,
    *,
    most_bytes: int | None = None,
    most_loss: float | None = None,
    config: MixedConfig | None = None,
) -> Mixed:
    """Allocation and repairs. `most_bytes`: of the whole network; `most_loss`: summed over layers, beyond the base.

    Raises:
        Infeasible: no mix meets the limit. BadInput: not one limit, no data.
    """
    return _run(model, batches, most_bytes, most_loss, config or MixedConfig(), None)


def advanced(
    model: nn.Module,
    batches: Batches,
    *,
    most_bytes: int | None = None,
    most_loss: float | None = None,
    config: MixedConfig | None = None,
    learn: AdaQuantConfig | None = None,
) -> Mixed:
    """AdaQuant at each width, allocation and repairs. Arguments and errors: see `light` and `adaquant`."""
    return _run(model, batches, most_bytes, most_loss, config or MixedConfig(), learn or AdaQuantConfig())


def _run(
    model: nn.Module,
    batches: Batches,
    most_bytes: int | None,
    most_loss: float | None,
    config: MixedConfig,
    learn: AdaQuantConfig | None,
) -> Mixed:
    import pandas as pd

    if not len(batches):
        raise bad("calibration data", "at least one batch", "none")
    folded, norms = fold_norms(model, batches[0])
    made: dict[str, nn.Module] = {}
    reports = []
    for width in config.widths:
        net = fake_quantize(folded, width.format, batches, input_bits=width.input_bits, search=config.search)
        if learn is not None:
            reports.append(learn_layers(net, folded, batches, learn).assign(option=width.name))
        made[width.name] = net
    first = config.widths[0].name
    base = made.pop(first)
    loss = loss_to(folded, batches, config.distance)
    table = sensitivity(base, made, loss, of=first)
    rows = choices(table)
    kept = bytes_of(base) - sum(c.bytes for c in rows if c.option == first)
    mix = best_mix([*rows, Choice(KEPT, KEPT, kept, 0.0)], most_bytes=most_bytes, most_loss=most_loss)
    options = {name: option for name, option in mix.options.items() if name != KEPT}
    net = mixed(base, made, options)
    measured = loss(net) - loss(base)
    if config.norms and norms:
        batchnorm_tune(net, norms, batches)
    if config.biases is not None:
        bias_tune(net, folded, batches, config.biases)
    report = pd.concat(reports, ignore_index=True) if reports else pd.DataFrame()
    return Mixed(net, options, bytes_of(net), mix.loss, measured, loss(net), table, report, norms)
