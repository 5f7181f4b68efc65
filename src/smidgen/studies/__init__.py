"""Comparing honestly: trials, run store, workers, racing, choosing, estimating."""

SCHEMA = 3  # what a program must know to use a run store; raised by the revision that changes what older ones break at
DEFAULT_STORE = ".smidgen/runs.db"  # the run store, below the working directory
