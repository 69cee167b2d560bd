"""sakbench: what a vision foundation model is good and bad at, and whether a student can keep it all."""

__version__ = "0.1.0"
