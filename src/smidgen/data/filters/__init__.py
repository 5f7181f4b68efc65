"""Cleaning text for a language model: rules, filters, joining and duplicates, after GEB-1.3B (arXiv 2406.09900)."""
