"""Comparing honestly: trials, run store, workers, racing, choosing, estimating."""
