"""The command line. No numerics."""
