"""Questions about images: those of GQA, POPE and VQAv2, the instructions of LLaVA-1.5, and mini's own."""

from sakbench.data.questions.records import Question, Turn

__all__ = ["Question", "Turn"]
