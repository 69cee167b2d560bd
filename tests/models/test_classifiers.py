"""Classifiers that learn in one pass are as if each had learned alone; a student's are behind routers of their own."""

import pytest
import timm
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import nn
from torch.nn import functional as F

from sakbench.backbones.encoder import Encoder
from sakbench.models import SAK
from sakbench.models.classifiers import RATES, PlainClassifier, RoutedClassifier, Sweep
from sakbench.training.objectives import ClassifyObjective


def encoder(**options):
    torch.manual_seed(3)
    vit = VisionTransformer(img_size=16, patch_size=4, embed_dim=12, depth=4, num_heads=2, num_classes=0, **options)
    return Encoder(vit)


def test_a_rate_times_the_loss_is_a_rate_of_its_own():
    torch.manual_seed(0)
    sweep = Sweep([5], classes=3)
    alone = [
        (w.clone().requires_grad_(), b.clone().requires_grad_())
        for w, b in zip(sweep.weights[0].data, sweep.biases[0].data, strict=True)
    ]
    together = torch.optim.SGD(sweep.parameters(), lr=4.0, momentum=0.9)
    apart = [torch.optim.SGD(pair, lr=4.0 * rate, momentum=0.9) for pair, rate in zip(alone, RATES, strict=True)]
    for step in range(4):
        factor = 1 - step / 4  # a schedule moves both alike
        features, labels = torch.randn(8, 5), torch.randint(3, (8,))
        for optimizer, rate in [(together, 1.0), *zip(apart, RATES, strict=True)]:
            optimizer.param_groups[0]["lr"] = 4.0 * rate * factor
        logits = sweep([features])
        losses = torch.stack([F.cross_entropy(each, labels) for each in logits])
        (losses * sweep.rates).sum().backward()
        together.step()
        together.zero_grad()
        for (weight, bias), optimizer in zip(alone, apart, strict=True):
            F.cross_entropy(features @ weight + bias, labels).backward()
            optimizer.step()
            optimizer.zero_grad()
    for index, (weight, bias) in enumerate(alone):
        torch.testing.assert_close(sweep.weights[0][index], weight)
        torch.testing.assert_close(sweep.biases[0][index], bias)


def test_the_parts_of_a_batch_add_up_to_it():
    model = PlainClassifier(encoder(), classes=3)
    objective = ClassifyObjective(model)
    batch = {"image": torch.randn(6, 3, 16, 16), "label": torch.tensor([0, 1, 2, 0, 1, 2])}
    whole = objective(batch)["classifiers"]
    parts = [{name: value[a:b] for name, value in batch.items()} for a, b in ((0, 2), (2, 6))]
    counted = objective.survey(parts)
    torch.testing.assert_close(sum(objective(part, counted)["classifiers"] for part in parts), whole)
    represented = objective({"represented": model.represent(batch["image"]), "label": batch["label"]})
    torch.testing.assert_close(represented["classifiers"], whole)


def test_features_are_the_normed_class_tokens_and_means():
    model = PlainClassifier(encoder(), classes=3)
    vit, images = model.encoder.vit, torch.randn(2, 3, 16, 16)
    outputs = vit.forward_intermediates(
        images, indices=4, return_prefix_tokens=True, norm=False, output_fmt="NLC", intermediates_only=True
    )
    tokens = [(F.layer_norm(patches, (12,)).mean(1), F.layer_norm(prefix[:, 0], (12,))) for patches, prefix in outputs]
    last, four, last_and_mean, four_and_mean = model.represent(images)
    torch.testing.assert_close(last, tokens[-1][1])
    torch.testing.assert_close(four, torch.cat([prefix for _, prefix in tokens], dim=-1))
    torch.testing.assert_close(last_and_mean, torch.cat([tokens[-1][1], tokens[-1][0]], dim=-1))
    torch.testing.assert_close(four_and_mean, torch.cat([four, tokens[-1][0]], dim=-1))
    assert model.predict(model.represent(images)).shape == (4 * len(RATES), 2, 3)


def test_the_final_norm_is_the_models_own_where_it_is_kept():
    vit = VisionTransformer(img_size=16, patch_size=4, embed_dim=12, depth=4, num_heads=2, num_classes=0)
    torch.nn.init.normal_(vit.norm.weight)
    kept = Encoder(vit, final_norm=True)
    images = torch.randn(2, 3, 16, 16)
    vectors, mean = kept.summaries(images)
    tokens = vit.norm(kept.tokens(images)[-1])
    torch.testing.assert_close(vectors[-1], tokens[:, 0])
    torch.testing.assert_close(mean, tokens[:, 1:].mean(1))


def test_a_hierarchical_models_last_norm_is_for_its_last_level():
    torch.manual_seed(0)
    swin = timm.create_model(
        "swin_tiny_patch4_window7_224", img_size=64, embed_dim=12, depths=(1,) * 4, num_heads=(1,) * 4, num_classes=0
    )
    torch.nn.init.normal_(swin.norm.weight)
    vectors, last = Encoder(swin, image_size=(64, 64), final_norm=True).eval().summaries(torch.randn(2, 3, 64, 64))
    assert [vector.shape for vector in vectors] == [(2, 12), (2, 24), (2, 48), (2, 96)]
    assert vectors[0].mean(-1).abs().max() < 1e-5  # a LayerNorm without parameters
    torch.testing.assert_close(vectors[3], last)
    assert last.mean(-1).abs().max() > 1e-3


@pytest.mark.parametrize("norm", [nn.RMSNorm(12), nn.RMSNorm(12, elementwise_affine=False), nn.LayerNorm(12)])
def test_whatever_norm_a_model_has_its_summaries_are_normed(norm):
    vit = VisionTransformer(img_size=32, patch_size=8, embed_dim=12, depth=4, num_heads=2, num_classes=0)
    vit.norm = norm
    vectors, _ = Encoder(vit, final_norm=True).eval().summaries(torch.randn(2, 3, 32, 32))
    for vector in vectors:
        torch.testing.assert_close(
            vector.square().mean(-1), torch.ones(2), atol=0.1, rtol=0
        )  # but for what keeps it from dividing by zero


def test_a_model_without_a_class_token_has_means():
    model = PlainClassifier(encoder(class_token=False, global_pool="avg"), classes=3)
    assert model.names == ("mean of the last block", "means of four blocks")
    features = model.represent(torch.randn(2, 3, 16, 16))
    assert [each.shape for each in features] == [(2, 12), (2, 48)]


def test_every_classifier_of_a_student_has_routers_of_its_own():
    torch.manual_seed(0)
    student = SAK(encoder(), {"A": 12, "B": 12})
    model = RoutedClassifier(student, classes=3).eval()
    for router in model.routers:
        torch.nn.init.normal_(router.gate_weight)
    images = torch.randn(2, 3, 16, 16)
    experts = model.represent(images)
    logits = model.predict(experts)
    assert logits.shape == (2 * len(RATES), 2, 3)
    chosen = len(RATES) + 4  # of all four levels
    fused = []
    for router, level in zip(model.routers, experts, strict=True):
        gates = router(level[0], noisy=False)[:, chosen]
        torch.testing.assert_close(gates.sum(-1), torch.ones(2))
        fused.append(F.layer_norm(torch.einsum("be,ebnd->bnd", gates, level).mean(1), (12,)))
    expected = torch.cat(fused, dim=-1) @ model.sweep.weights[1][4] + model.sweep.biases[1][4]
    torch.testing.assert_close(logits[chosen], expected)
    loss = ClassifyObjective(model).train()({"image": images, "label": torch.tensor([0, 2])})["classifiers"]
    loss.backward()
    assert model.routers[0].gate_weight.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in student.parameters())
