"""A language model behind a vision tower: what is masked, learned and said."""

import pytest
import torch
from timm.models.vision_transformer import VisionTransformer

from sakbench.backbones.encoder import Encoder
from sakbench.models import SAK
from sakbench.models.llava import Llava, PlainTower, SakTower, answer_loss
from sakbench.runs import languages
from sakbench.training.objectives import AnswerObjective


def encoder():
    torch.manual_seed(0)
    vit = VisionTransformer(img_size=32, patch_size=4, embed_dim=12, depth=4, num_heads=2, num_classes=0)
    return Encoder(vit).requires_grad_(False)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return Llava(PlainTower(encoder(), most=4), languages.load("mini")).eval()


def batch(language, rows=3):
    after = torch.full((rows, 6), -1)
    learned = torch.zeros(rows, 6, dtype=torch.bool)
    for row in range(rows):
        tokens = [*language.encode("is there a cat yes" if row else "is there yes"), *language.end]
        after[row, : len(tokens)] = torch.tensor(tokens)
        learned[row, len(tokens) - 2 : len(tokens)] = True
    pictured = torch.arange(rows) != 1
    image = torch.randn(rows, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    return {
        "before": torch.ones(rows, 1, dtype=torch.int64),
        "after": after,
        "learned": learned,
        "pictured": pictured,
        "image": image,
    }


def test_a_row_says_the_same_whoever_stands_beside_it(model):
    given = batch(languages.load("mini"))
    known = model.tower.represent(given["image"])
    assert known.shape == (1, 3, 16, 12)  # 8 x 8 patches averaged to 4 x 4
    together = model(given["before"], known, given["pictured"], given["after"])
    for row in range(3):
        count = int((given["after"][row] >= 0).sum())
        alone = model(given["before"][[row]], known[:, [row]], given["pictured"][[row]], given["after"][[row], :count])
        torch.testing.assert_close(together[row, :count], alone[0], atol=1e-5, rtol=1e-4)


def test_only_who_has_a_picture_sees_it(model):
    given = batch(languages.load("mini"))
    known = model.tower.represent(given["image"])
    logits = model(given["before"], known, given["pictured"], given["after"])
    other = model(given["before"], known + torch.randn_like(known), given["pictured"], given["after"])
    assert (logits[0] != other[0]).any()
    torch.testing.assert_close(logits[1, 1:], other[1, 1:])  # its first token is never asked for: padding tells it


def test_what_is_learned_is_told_by_what_stands_before(model):
    language = languages.load("mini")
    given = batch(language)
    known = model.tower.represent(given["image"])
    logits = model(given["before"], known, given["pictured"], given["after"])
    learned = given["learned"]
    expected = []
    for row, place in learned.nonzero().tolist():
        expected.append(-logits[row, place].log_softmax(-1)[given["after"][row, place]])
    loss = answer_loss(logits, given["after"], learned, learned.sum())
    torch.testing.assert_close(loss, torch.stack(expected).mean())
    objective = AnswerObjective(model)
    parts = [{name: value[rows] for name, value in given.items()} for rows in (slice(1), slice(1, 3))]
    whole = objective.survey(parts)
    torch.testing.assert_close(sum(objective(part, whole)["answer"] for part in parts), objective(given)["answer"])


def test_the_first_word_of_a_caption_is_told_by_the_image(model):
    given = batch(languages.load("mini"))
    known = model.tower.represent(given["image"])
    first = model(given["before"], known, given["pictured"], given["after"])[:, 0]
    other = given["after"].clone()
    other[:, 0] = 7  # what is to be said is not seen
    torch.testing.assert_close(model(given["before"], known, given["pictured"], other)[:, 0], first)
    seen = model(given["before"], known.flip(-1), given["pictured"], given["after"])[:, 0]
    assert (seen[given["pictured"]] != first[given["pictured"]]).any()


def test_what_is_frozen_whole_rests_and_nothing_else(model):
    model.language.model.layers[0].mlp.append_dropout = torch.nn.Dropout()
    objective = AnswerObjective(model).train()
    assert not model.tower.encoder.training
    assert model.language.model.layers[0].mlp.append_dropout.training  # it is a part of what learns
    model.requires_grad_(False)
    assert not objective.train().model.training  # and where nothing learns, all of it rests


def test_an_answer_is_the_likeliest_token_after_token(model):
    language = languages.load("mini")
    after = torch.tensor([language.encode("what is behind"), language.encode("is there a")])
    before, pictured = torch.ones(2, 1, dtype=torch.int64), torch.tensor([True, False])
    known = model.tower.represent(torch.randn(2, 3, 32, 32))
    (end,) = language.end
    said = model.answer(before, known, pictured, after, end, most=4)
    for row in range(2):
        tokens = after[[row]]
        expected = []
        for _ in range(4):
            # the logits of a token that is not there yet are those of whatever stands in its place
            room = torch.cat([tokens, tokens.new_zeros(1, 1)], 1)
            following = int(model(before[:1], known[:, [row]], pictured[[row]], room)[0, -1].argmax())
            if following == end:
                break
            expected.append(following)
            tokens = torch.cat([tokens, torch.tensor([[following]])], 1)
        assert said[row] == expected


def test_a_student_learns_its_routers_and_nothing_else(model):
    student = SAK(encoder(), {"A": 12, "B": 12}).requires_grad_(False)
    tower = SakTower(student, most=8)
    language = languages.load("mini")
    sees = Llava(tower, language).train()
    sees.language.requires_grad_(False)
    AnswerObjective(sees).train()(batch(language))["answer"].backward()
    trained = {name for name, parameter in sees.named_parameters() if parameter.grad is not None}
    assert trained
    assert all(name.startswith(("tower.router.", "projector.")) for name in trained)
    experts = tower.represent(torch.randn(2, 3, 32, 32))
    assert experts.shape == (3, 2, 64, 12)
    tokens = tower.eval()(experts)
    gates = tower.router(experts[0], noisy=False)
    fused = torch.einsum("be,ebnd->bnd", gates[:, 0], experts)
    torch.testing.assert_close(tokens, torch.nn.functional.layer_norm(fused, (12,)))
