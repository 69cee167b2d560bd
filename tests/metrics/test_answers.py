"""The scorers of free answers, by hand: each rule of VQAv2's normalisation, GQA's letter, POPE's yes and no."""

import pytest
import torch
from sklearn.metrics import f1_score

from sakbench.metrics.answers import BENCHMARKS, gqa, normalised, says_yes, vqa


@pytest.mark.parametrize(
    ("said", "compared"),
    [
        ("The Red Ball.", "red ball"),
        ("a  cat", "cat"),
        ("two", "2"),
        ("none", "0"),
        ("yes, it is", "yes it is"),  # the comma touches a blank
        ("black/white", "black white"),  # the stroke touches none
        ("black / white", "black white"),
        ("1,000", "1000"),
        ("5.30", "5.30"),
        ("dont know", "don't know"),
        ("it's", "it's"),
        ("its", "its"),
        ("were", "were"),
        ("line\nbreak", "line break"),
        ("t-shirt", "t shirt"),
    ],
)
def test_an_answer_is_compared_without_what_people_write_differently(said, compared):
    assert normalised(said) == compared


def test_vqav2_wants_three_others():
    given = ["red"] * 3 + ["blue"] * 2 + ["green"] * 5
    # of the nine others: whoever said red has 2 who agree, the rest 3
    assert vqa("Red", given) == pytest.approx((3 * 2 / 3 + 7 * 1) / 10)
    assert vqa("blue", given) == pytest.approx((2 * 1 / 3 + 8 * 2 / 3) / 10)
    assert vqa("green", given) == 1
    assert vqa("black", given) == 0
    assert vqa("the green.", ["green"] * 10) == 1


def test_gqa_takes_the_letter():
    assert gqa("Left.", ["left"]) == 1
    assert gqa("to the left", ["left"]) == 0


@pytest.mark.parametrize(
    ("said", "yes"),
    [
        ("Yes, there is.", True),
        ("No, there is no dog. Yes.", False),
        ("There is not.", False),
        ("nothing like it", True),  # only no and not are no, and what is no no is yes
        ("no", False),
        ("", True),
    ],
)
def test_pope_hears_no_in_the_first_sentence(said, yes):
    assert says_yes(said) == yes


def test_pope_is_the_mean_f1_of_its_kinds_of_questions():
    draw = torch.Generator().manual_seed(0)
    kinds, pope = ("random", "popular", "adversarial"), BENCHMARKS["pope"]
    truth = torch.rand(3, 40, generator=draw) < 0.5
    said = torch.rand(3, 40, generator=draw) < torch.tensor([[0.3], [0.5], [0.9]])
    words = {True: "yes", False: "no"}
    sums = torch.tensor(
        [
            pope.counts(words[bool(said[k, i])], [words[bool(truth[k, i])]], kind)
            for k, kind in enumerate(kinds)
            for i in range(40)
        ]
    ).sum(0)
    expected = [f1_score(truth[k].numpy(), said[k].numpy()) for k in range(3)]
    assert pope.reduce(sums) == pytest.approx(100 * sum(expected) / 3)
    one = torch.tensor([pope.counts("yes", ["yes"], ""), pope.counts("yes", ["no"], "")]).sum(0)
    assert pope.reduce(one) == pytest.approx(100 * 2 / 3)  # kinds that nobody asked about are not counted


def test_accuracy_is_the_mean_score():
    gqa = BENCHMARKS["gqa"]
    sums = torch.tensor([gqa.counts("left", ["left"], ""), gqa.counts("right", ["left"], "")]).sum(0)
    assert gqa.reduce(sums) == 50
