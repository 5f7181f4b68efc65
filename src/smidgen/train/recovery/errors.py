"""What no neighbour can repair."""

from smidgen.kit.errors import SmidgenError


class UnrecoverableFailure(SmidgenError, RuntimeError):
    """Stages were lost together with all that could have rebuilt them. `stages`: which, counted from 0."""

    def __init__(self, stages: tuple[int, ...], why: str) -> None:
        super().__init__(f"Lost {named(stages)}: {why}. Only a checkpoint helps.")
        self.stages = stages


def named(stages: tuple[int, ...] | set[int]) -> str:
    """The parts in words: "stage 2", "stages 2 and 3", "embedding and head"."""
    numbers = [str(k) for k in sorted(stages) if k >= 0]
    words = [f"stage{'s' if len(numbers) > 1 else ''} {' and '.join(numbers)}"] if numbers else []
    return " and ".join(words + (["embedding and head"] if min(stages, default=0) < 0 else []))
