"""How RADIO's and Theia's students compare themselves with a teacher."""

import pytest
import torch

from sakbench import backbones
from sakbench.errors import UserError
from sakbench.models.agglomeration import Agglomerated, agglomeration_loss
from sakbench.models.hadamard import hadamard

WIDTH = 24


def student(method: str, grid: tuple[int, int] = (8, 8)) -> Agglomerated:
    encoder = backbones.create("mini_vit_s.supervised", pretrained=False)
    return Agglomerated(encoder, {"one": (WIDTH, grid)}, method)


def correlated_maps(batch: int = 40) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    mixing = torch.randn(WIDTH, WIDTH, generator=generator) * torch.logspace(-2, 1, WIDTH)[:, None]
    return (torch.randn(batch, 8, 8, WIDTH, generator=generator) @ mixing + 3).movedim(-1, 1)


@pytest.mark.parametrize("method", ["radio", "theia"])
def test_standardised_features_have_mean_0_and_the_same_variance_in_every_channel(method):
    model, maps = student(method), correlated_maps()
    model.measure("one", maps.split(7))
    tokens = model.standardised("one", maps).movedim(1, -1).flatten(0, 2)
    torch.testing.assert_close(tokens.mean(0), torch.zeros(WIDTH), atol=1e-3, rtol=0)
    torch.testing.assert_close(tokens.var(0), torch.ones(WIDTH), atol=1e-2, rtol=0)


def test_phi_s_keeps_angles_and_theias_scaling_does_not():
    maps = correlated_maps()
    centred = (maps - maps.mean((0, 2, 3), keepdim=True)).movedim(1, -1).flatten(0, 2)[:50]

    def angles(tokens):
        return torch.nn.functional.cosine_similarity(tokens[None], tokens[:, None], dim=-1)

    changed = {}
    for method in ("radio", "theia"):
        model = student(method)
        model.measure("one", [maps])
        found = model.standardised("one", maps).movedim(1, -1).flatten(0, 2)[:50]
        changed[method] = (angles(found) - angles(centred)).abs().max().item()
    assert changed["radio"] < 1e-4 < 1e-1 < changed["theia"]


@pytest.mark.parametrize("method", ["radio", "theia"])
def test_gradients_reach_the_whole_backbone_and_a_finer_grid_is_met(method):
    model, images = student(method, (16, 16)), torch.randn(2, 3, 64, 64)
    loss = agglomeration_loss(model.predicted(model.represent(images))["one"], torch.randn(2, WIDTH, 16, 16))
    loss.backward()
    assert all(parameter.grad is not None for parameter in model.encoder.vit.blocks.parameters())


def test_the_loss_is_0_for_equal_maps_and_two_shares_for_opposite_ones():
    maps = torch.nn.functional.normalize(torch.randn(2, WIDTH, 4, 4), dim=1)
    assert agglomeration_loss(maps, maps).item() == pytest.approx(0, abs=1e-6)
    opposite = agglomeration_loss(maps, -maps).item()
    smooth = 0.5 * (2 * maps).square().mean().item()  # every difference is below 1 or quadratic by then
    assert opposite == pytest.approx(0.9 * 2 + 0.1 * smooth, abs=0.01)


@pytest.mark.parametrize("order", [1, 2, 12, 20, 64, 192, 768, 1152, 1408])
def test_hadamard_matrices_are_orthogonal_with_entries_of_one_size(order):
    matrix = hadamard(order)
    torch.testing.assert_close(matrix @ matrix.T, torch.eye(order, dtype=torch.float64))
    torch.testing.assert_close(matrix.abs(), torch.full_like(matrix, order**-0.5))


def test_an_order_without_a_known_matrix_is_refused():
    with pytest.raises(UserError, match="order 6"):
        hadamard(6)
