"""Pretraining of the mini teachers and of the small ViT, by the paradigms of the models that they stand for."""

from sakbench.training.pretrain.run import PRETRAININGS, State, pretrain

__all__ = ["PRETRAININGS", "State", "pretrain"]
