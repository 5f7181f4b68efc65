"""Architectures and adapters: plain torch modules, no training code."""
