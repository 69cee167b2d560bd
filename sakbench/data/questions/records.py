"""What a question is, and what a model learns to answer."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Question:
    """A question of a benchmark (gqa, pope, vqav2) about an image, with the answers that people gave.

    `image` is a file's place below the data's folder, or the number of a rendered scene.
    """

    benchmark: str
    image: str
    text: str
    answers: tuple[str, ...]


@dataclass(frozen=True)
class Turn:
    """What is asked and what is to be answered; several make a conversation."""

    asked: str
    answered: str
