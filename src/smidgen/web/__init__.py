"""The report. No numerics."""
