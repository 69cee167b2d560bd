"""The scorers of free answers, by hand: each rule of VQAv2's normalisation, GQA's letter, POPE's yes and no."""

import pytest

from sakbench.metrics.answers import gqa, normalised, pope, vqa


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
    ("said", "given", "score"),
    [
        ("Yes, there is.", "yes", 1),
        ("No, there is no dog. Yes.", "no", 1),
        ("There is not.", "no", 1),
        ("nothing like it", "yes", 1),  # only no and not are no, and what is no no is yes
        ("no", "yes", 0),
        ("", "no", 0),
    ],
)
def test_pope_hears_no_in_the_first_sentence(said, given, score):
    assert pope(said, [given]) == score
