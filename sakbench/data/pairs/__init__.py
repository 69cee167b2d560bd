"""Counterfactual pairs: pictures that differ in the class of some objects alone, with a manifest to be shared."""

from sakbench.data.pairs.manifest import Gates, Pair, PairSet, PastedObject, Rejected, read, write

__all__ = ["Gates", "Pair", "PairSet", "PastedObject", "Rejected", "read", "write"]
