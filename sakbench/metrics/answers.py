"""Free answers scored as GQA, POPE and VQAv2 score them.

A benchmark makes `counts` of each answer, whose sums over some questions `reduce` turns into the number.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from sakbench.metrics.accuracy import share

_ARTICLES = {"a", "an", "the"}
_COUNTED = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_NUMBERS = {"none": "0", **{word: str(number) for number, word in enumerate(_COUNTED)}}
_MARKS = r""";/[]"{}()=+\_-><@`,?!"""
_AMID_DIGITS = re.compile(r"\d,\d")
_FULL_STOP = re.compile(r"\.(?!\d)")
# Words whose apostrophe was left out, the common ones: by ending, the words that take it.
_CONTRACTED = {
    "n't": (
        "are",
        "ca",
        "could",
        "did",
        "does",
        "do",
        "had",
        "has",
        "have",
        "is",
        "might",
        "must",
        "should",
        "was",
        "wo",
    ),
    "'ve": ("could", "i", "might", "must", "should", "they", "would", "you"),
    "'re": ("they", "you"),
    "'s": ("he", "she", "that", "there", "what", "where", "who", "someone", "something"),
}
_APOSTROPHES = {
    stem + ending.replace("'", ""): stem + ending for ending, stems in _CONTRACTED.items() for stem in stems
} | {"wouldnt": "wouldn't", "im": "i'm", "yall": "y'all", "oclock": "o'clock"}


def normalised(answer: str) -> str:
    """An answer as VQAv2's scorer compares it: lower case, without articles and most punctuation, numbers as digits.

    A mark goes if it touches a blank somewhere in the answer, or stands in a number with thousands; otherwise it
    becomes a blank. Full stops go unless a digit follows. (Antol et al., ICCV 2015, and the task's evaluation page.)
    """
    text = given = answer.replace("\n", " ").replace("\t", " ").strip().lower()
    has_thousands = _AMID_DIGITS.search(text) is not None
    for mark in _MARKS:
        touches = f"{mark} " in given or f" {mark}" in given
        text = text.replace(mark, "" if touches or has_thousands else " ")
    text = _FULL_STOP.sub("", text)
    words = (_NUMBERS.get(word, word) for word in text.split())
    return " ".join(_APOSTROPHES.get(word, word) for word in words if word not in _ARTICLES)


def vqa(answer: str, given: Sequence[str]) -> float:
    """VQAv2: the mean, over the people asked, of min(1, how many of the others gave this answer / 3).

    All answers are `normalised`.
    """
    mine = normalised(answer)
    hits = [normalised(one) == mine for one in given]
    return sum(min(1.0, (sum(hits) - hit) / 3) for hit in hits) / len(hits)


def gqa(answer: str, given: Sequence[str]) -> float:
    """GQA: 1 if it is the answer to the letter, without case and a final full stop."""
    return float(answer.strip().rstrip(".").lower() == given[0].strip().lower())


def says_yes(answer: str) -> bool:
    """POPE: an answer with "no" or "not" among the words of its first sentence is a no, any other a yes."""
    words = answer.partition(".")[0].replace(",", "").lower().split()
    return not {"no", "not"} & set(words)


class Benchmark(Protocol):
    """How answers to a benchmark's questions become a number."""

    @property
    def metric(self) -> str:
        """What the number is called."""

    @property
    def protocol(self) -> str:
        """What else has to be known to compare it with another."""

    def counts(self, answer: str, given: Sequence[str], kind: str) -> list[float]:
        """What the number is made of, of one answer to a question of that kind, with the answers that people gave."""

    def reduce(self, sums: Tensor) -> float:
        """The number, percent, from the sums of these."""


@dataclass(frozen=True)
class Accuracy:
    """The mean of scores from 0 to 1."""

    protocol: str
    score: Callable[[str, Sequence[str]], float]
    metric = "accuracy"

    def counts(self, answer: str, given: Sequence[str], kind: str = "") -> list[float]:
        """The score, and one question."""
        return [self.score(answer, given), 1.0]

    def reduce(self, sums: Tensor) -> float:
        """Sums (2,) to the mean in percent."""
        return share(sums)


class PresenceF1:
    """POPE as LLaVA and RADIO give it: F1 of the answer yes, mean over the kinds of questions that were asked."""

    metric = "F1"
    protocol = "yes or no, F1 of yes, mean over the kinds of questions"
    kinds = ("random", "popular", "adversarial")

    def counts(self, answer: str, given: Sequence[str], kind: str = "") -> list[float]:
        """True positives, false positives and false negatives of each kind; a kind that is none is the first."""
        counts = [0.0] * (3 * len(self.kinds))
        said, true = says_yes(answer), given[0].strip().lower() == "yes"
        first = 3 * (self.kinds.index(kind) if kind else 0)
        for place, holds in enumerate((said and true, said and not true, true and not said)):
            counts[first + place] = float(holds)
        return counts

    def reduce(self, sums: Tensor) -> float:
        """Sums (9,) to percent; 0 where there was no yes, neither said nor true."""
        hits, wrong, missed = sums.view(-1, 3).T
        asked = hits + wrong + missed > 0
        each = 2 * hits[asked] / (2 * hits + wrong + missed)[asked]
        return 100 * float(each.mean()) if len(each) else 0.0


BENCHMARKS: dict[str, Benchmark] = {
    "gqa": Accuracy("exact match", gqa),
    "pope": PresenceF1(),
    "vqav2": Accuracy("mean of min(1, n / 3) over ten answers, normalised", vqa),
}
