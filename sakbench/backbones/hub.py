"""Whether a backbone's weights are at hand, without asking the network (no torch here)."""

from typing import Literal

from sakbench.backbones.registry import BackboneInfo

WEIGHTS_FILE = "model.safetensors"


def whereabouts(entry: BackboneInfo) -> Literal["shipped", "random", "own", "in the cache", "not here"]:
    """Where the weights are: in the package, in the Hugging Face cache, or nowhere on this machine."""
    if entry.weights == "package":
        return "shipped"
    if entry.weights in ("random", "own"):
        return entry.weights
    from huggingface_hub import try_to_load_from_cache

    # timm asks the hub for safetensors first and for torch's file if there are none.
    found = (try_to_load_from_cache(entry.repository, file) for file in (WEIGHTS_FILE, "pytorch_model.bin"))
    return "in the cache" if any(isinstance(path, str) for path in found) else "not here"
