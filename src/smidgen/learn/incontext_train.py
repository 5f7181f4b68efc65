"""`python -m smidgen.learn.incontext_train --out DIR`: makes the weights of the in-context learner.

It can be stopped at any moment (Ctrl-C, a kill) and goes on with --resume, also after its end: then it is made longer.
"""

import argparse
import signal
import sys
from pathlib import Path

from smidgen.kit.errors import SmidgenError
from smidgen.learn._incontext_training import NUMBER_FORMATS, TrainingConfig, fit_network


def main(arguments: list[str] | None = None) -> int:
    """The command; its exit status."""
    parser = argparse.ArgumentParser(prog="python -m smidgen.learn.incontext_train", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of checkpoints, log and weights")
    parser.add_argument("--hours", type=float, help="of this sitting, the fall of the rate included (default: 1)")
    parser.add_argument("--updates", type=int, help="in all, in place of a time")
    parser.add_argument("--fall", type=float, default=TrainingConfig.fall, help="share in which the rate falls to 0")
    parser.add_argument("--resume", action="store_true", help="go on with what is in the folder")
    for name, what in (
        ("tokens", "of a batch"),
        ("accumulate", "batches an update"),
        ("grown", "batches until tasks have all sizes"),
    ):
        parser.add_argument(f"--{name}", type=int, default=getattr(TrainingConfig, name), help=what)
    parser.add_argument("--lr", type=float, default=TrainingConfig.lr, help="of the matrices inside layers")
    parser.add_argument("--lr-rest", type=float, default=TrainingConfig.lr_rest, help="of all else")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", choices=list(NUMBER_FORMATS), default="fp32")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args(arguments)
    asked.hours = 1.0 if asked.hours is None and asked.updates is None else asked.hours
    stop: list[int] = []
    for which in (signal.SIGINT, signal.SIGTERM):
        signal.signal(which, lambda number, _: stop.append(number))
    try:
        config = TrainingConfig(**{k: v for k, v in vars(asked).items() if k not in ("out", "resume")})
        made = fit_network(config, asked.out, resume=asked.resume, say=_say, stopped=lambda: bool(stop))
    except SmidgenError as error:
        print(f"Error: {error}", file=sys.stderr)
        return error.exit_code
    _say(f"weights: {made}" if made else f"stopped; go on with --resume --out {asked.out}")
    return 0 if made else 130


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
