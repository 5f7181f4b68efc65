"""Comparing honestly: trials, run store, workers, racing, choosing, estimating."""

DEFAULT_STORE = ".smidgen/runs.db"  # the run store, below the working directory
