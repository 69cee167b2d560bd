"""Training: one loop, its objectives, checkpoints and evaluation."""
