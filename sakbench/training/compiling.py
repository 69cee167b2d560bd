"""Compiled modules: a GPU's compiler fuses the small operations between the large ones, and launches fewer kernels."""

import shutil
import warnings
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch._functorch import config
from torch.utils._pytree import tree_leaves

_LEAST_CAPABILITY = (7, 0)  # of a GPU, for Triton's kernels
_OPTIONS: dict[str, dict[str, Any]] = {
    "inductor": {"fallback_random": True}
}  # the random numbers of uncompiled modules


def compiles(device: torch.device) -> bool:
    """Whether modules are worth compiling there and can be: on a GPU for which Triton has a compiler.

    On a CPU a training of minutes would wait as long for its compiler. torch's TORCH_COMPILE_DISABLE=1 turns it off.
    """
    if device.type != "cuda" or torch.cuda.get_device_capability(device) < _LEAST_CAPABILITY:
        return False
    from torch.utils._triton import has_triton  # torch's own question; there is no public one

    return has_triton() and any(shutil.which(compiler) for compiler in ("cc", "gcc", "clang"))


class Compiled:
    """A module compiled for the shapes of its first call; as it is in that call, for other shapes, and where it fails.

    The first call makes what later ones take as constants (interpolation matrices). Other shapes are a last, smaller
    batch, which is not worth its compiler's time. A failure, of the backward pass's compilation too, is told as a
    warning.
    """

    def __init__(self, module: nn.Module, backend: Any = "inductor") -> None:
        self.module = module
        self.backend = backend
        self.shapes: list[torch.Size] | None = None
        self.compiled: Any = None

    def __call__(self, *args: Any) -> Any:
        """What the module returns."""
        shapes = [leaf.shape for leaf in tree_leaves(args) if isinstance(leaf, Tensor)]
        if self.shapes is None:
            self.shapes = shapes
            return self.module(*args)
        if shapes != self.shapes:
            return self.module(*args)
        if self.compiled is None:
            return self._first(*args)
        return self.compiled(*args)

    def _first(self, *args: Any) -> Any:
        options = _OPTIONS.get(self.backend) if isinstance(self.backend, str) else None
        self.compiled = torch.compile(self.module, backend=self.backend, dynamic=False, options=options)
        try:
            with _backward_compiled_at_once():
                return self.compiled(*args)
        except Exception as error:  # compilers fail in all manners; what the module itself raises, it raises again
            result = self.module(*args)
            said = (str(error).strip() or type(error).__name__).splitlines()[0]
            warnings.warn(f"torch.compile failed, and {type(self.module).__name__} runs as it is: {said}", stacklevel=2)
            self.compiled = self.module
            return result


def _backward_compiled_at_once() -> AbstractContextManager[Any]:
    """So that a compiler's failure is met in the call, not in the backward pass."""
    if hasattr(config, "force_non_lazy_backward_lowering"):  # younger than the oldest torch that will do
        return config.patch(force_non_lazy_backward_lowering=True)
    return nullcontext()
