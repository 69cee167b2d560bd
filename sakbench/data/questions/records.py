"""What a question is, and what a model learns to answer."""

from collections.abc import Hashable
from dataclasses import dataclass


@dataclass(frozen=True)
class Question:
    """A question of a benchmark (gqa, pope, vqav2) about an image, with the answers that people gave.

    `image` is a file's place below the data's folder, or a rendered scene's split and number; `kind` is what POPE calls
    the way in which its questions were drawn: random, popular or adversarial.
    """

    benchmark: str
    image: Hashable
    text: str
    answers: tuple[str, ...]
    kind: str = ""


@dataclass(frozen=True)
class Turn:
    """What is asked and what is to be answered; several make a conversation."""

    asked: str
    answered: str
