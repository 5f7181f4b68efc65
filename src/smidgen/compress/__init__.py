"""Fewer bits, fewer weights: what each layer suffers, the best mix under a size, rounding that looks at data."""
