"""A run's backbones, as it wants them."""

from sakbench import backbones
from sakbench.backbones.encoder import Encoder
from sakbench.runs.place import Place
from sakbench.runs.spec import RunSpec


def load(name: str, spec: RunSpec, place: Place, *, final_norm: bool = False) -> Encoder:
    """A backbone with its weights, for the images of a run. One with an input of its own brings them to it itself."""
    return backbones.create(
        name,
        image_size=None if backbones.info(name).own_input else spec.size,
        weights=place.weights.get(name),
        norm=spec.norm,
        sam_padding=spec.sam_padding,
        class_token=spec.probes_linearly and not spec.is_sak,
        final_norm=final_norm and not spec.is_sak,
    )
