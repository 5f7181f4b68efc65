"""One file for each published system: its claim, as a small experiment that can fail. And the catalogue of all."""
