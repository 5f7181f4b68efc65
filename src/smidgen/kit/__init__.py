"""Errors, seeds, configuration, method lookup, optional extras, safe files. Imports nothing of ours."""
