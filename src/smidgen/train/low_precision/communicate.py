"""Gradients sent in few bits, with what rounding left out sent later: e <- g + e - Q(g + e).

Error feedback: Seide et al., 2014; Karimireddy et al., 2019, arXiv 1901.09847. With "int1/tensor" each message is the
signs and one mean magnitude a tensor.
"""

from collections.abc import Hashable, Sequence
from typing import Any

import torch
from torch import Tensor

from smidgen.formats.format import Format, Quantized
from smidgen.kit.errors import bad
from smidgen.train.low_precision.number import CASTS, Number


class Compressor:
    """What one worker sends. Its `state_dict` belongs into checkpoints: the errors are a part of the run.

    Args:
        number: see `number`; formats with scales of at most 8 bits, or a cast.
        error_feedback: keep what was left out.
    """

    def __init__(self, number: str, *, error_feedback: bool = True) -> None:
        self.number, self.error_feedback = Number.parse(number), error_feedback
        if self.number.name not in CASTS and self.number.format is None:
            raise bad("comm", "float16, bfloat16, or a format with scales (as int8/2048)", number)
        self.errors: dict[Hashable, Tensor] = {}

    def encode(self, key: Hashable, grad: Tensor) -> dict[str, Tensor]:
        """What is sent of a gradient, as tensors; `key` says whose error it is."""
        whole = grad.detach().float()
        if self.error_feedback and key in self.errors:
            whole = whole + self.errors[key]
        parts = self._packed(whole)
        if self.error_feedback:
            self.errors[key] = whole - self.decode(parts, tuple(grad.shape))
        return parts

    def decode(self, parts: dict[str, Tensor], shape: tuple[int, ...]) -> Tensor:
        """What was sent, float32."""
        if self.number.format is None:
            return parts["numbers"].float()
        return Quantized.unpack(parts, self._format(shape), shape).dequantize()

    def send(self, key: Hashable, grad: Tensor) -> Tensor:
        """What others read of it: encoded and decoded."""
        return self.decode(self.encode(key, grad), tuple(grad.shape))

    def state_dict(self) -> dict[str, Any]:
        return {"errors": dict(self.errors)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.errors = {k: v.clone() for k, v in state["errors"].items()}

    def hook(self, parameters: Sequence[Tensor], group: Any = None) -> Any:
        """For `DistributedDataParallel.register_comm_hook(None, compressor.hook(list(model.parameters())))`: workers
        exchange packed gradients and take their mean. Errors are kept by the place of a parameter among these, so they
        do not depend on how buckets are made."""
        import torch.distributed as dist

        places = {id(p): i for i, p in enumerate(parameters)}

        def exchange(_, bucket):  # torch looks at annotations here, and wants none or its own
            size = dist.get_world_size(group)
            for p, grad in zip(bucket.parameters(), bucket.gradients(), strict=True):
                parts = self.encode(places[id(p)], grad)
                gathered: list[dict[str, Tensor]] = [{} for _ in range(size)]
                for name, own in parts.items():
                    all_of = [torch.empty_like(own) for _ in range(size)]
                    dist.all_gather(all_of, own.contiguous(), group=group)
                    for one, got in zip(gathered, all_of, strict=True):
                        one[name] = got
                mean = sum(self.decode(one, tuple(grad.shape)) for one in gathered) / size
                grad.copy_(mean)
            done = torch.futures.Future()
            done.set_result(bucket.buffer())
            return done

        return exchange

    def _format(self, shape: tuple[int, ...]) -> Format:
        assert self.number.format is not None
        return self.number.format

    def _packed(self, whole: Tensor) -> dict[str, Tensor]:
        if self.number.format is None:
            return {"numbers": whole.to(CASTS[self.number.name])}
        few = len(self.number.grid.levels) <= 3
        return self.number.format.quantize(whole, search="mse" if few else "absmax").pack()


def among_workers(loss_of: Any, compressors: Sequence[Compressor]) -> Any:
    """A loss of `train.loop` whose gradients are the mean of what simulated workers send.

    Each micro-batch is split among as many workers as there are compressors; each computes the gradient of its own mean
    loss, sends it through its compressor, and all read the mean. What comes out is a loss of the same value with that
    gradient.
    """

    def loss(model: torch.nn.Module, *batch: Tensor) -> tuple[Tensor, int]:
        parameters = [p for p in model.parameters() if p.requires_grad]
        sent: list[Tensor] = [torch.zeros_like(p, dtype=torch.float32) for p in parameters]
        total, count = 0.0, 0
        for k, own in enumerate(compressors):
            value, n = loss_of(model, *(part[k :: len(compressors)] for part in batch))
            grads = torch.autograd.grad(value / n, parameters, allow_unused=True)
            for i, grad in enumerate(grads):
                if grad is not None:
                    sent[i] += own.send(i, grad) / len(compressors)
            total, count = total + float(value.detach()), count + n
        straight = sum(((p * g.to(p.dtype)).sum() for p, g in zip(parameters, sent, strict=True)), torch.zeros(()))
        whole = straight * count
        return whole + (total - whole).detach(), count

    return loss
