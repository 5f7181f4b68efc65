"""What can go wrong when training is spread over processes."""

from smidgen.kit.errors import BadInput, SmidgenError


class UnevenGradients(SmidgenError, RuntimeError):
    """Some ranks have a gradient for a parameter, and others have none."""


class MissingShards(BadInput, FileNotFoundError):
    """Files of a checkpoint are not there; the message names their ranks."""


class FailedElsewhere(SmidgenError):
    """Rank 0 failed in what the others waited for; it has said why. `exit_code` is that of its error."""

    def __init__(self, exit_code: int) -> None:
        super().__init__("Rank 0 could not go on.")
        self.exit_code = exit_code
