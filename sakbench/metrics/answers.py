"""Scores of free answers as GQA, POPE and VQAv2 define them: an answer in, a number from 0 to 1 out."""

import re
from collections.abc import Sequence

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


def pope(answer: str, given: Sequence[str]) -> float:
    """POPE: 1 if a yes or no is right. An answer with "no" or "not" among the words of its first sentence is a no."""
    words = answer.partition(".")[0].replace(",", "").lower().split()
    said = "no" if {"no", "not"} & set(words) else "yes"
    return float(said == given[0].strip().lower())


SCORERS = {"gqa": gqa, "pope": pope, "vqav2": vqa}
