"""Compiled modules: a GPU's compiler fuses the small operations between the large ones, and launches fewer kernels."""

import shutil
import warnings
from typing import Any

import torch
from torch import nn
from torch._dynamo.exc import TorchDynamoException

_LEAST_CAPABILITY = (7, 0)  # of a GPU, for Triton's kernels


def compiles(device: torch.device) -> bool:
    """Whether modules are worth compiling there and can be: on a GPU for which Triton has a compiler.

    On a CPU a training of minutes would wait as long for its compiler. torch's TORCH_COMPILE_DISABLE=1 turns it off.
    """
    if device.type != "cuda" or torch.cuda.get_device_capability(device) < _LEAST_CAPABILITY:
        return False
    from torch.utils._triton import has_triton  # torch's own question; there is no public one

    return has_triton() and any(shutil.which(compiler) for compiler in ("cc", "gcc", "clang"))


class Compiled:
    """A module compiled for the shapes that it is called with; as it is in its first call, and where that fails.

    The first call makes what later ones take as constants (interpolation matrices) and allocates what they reuse.
    Random numbers stay those of the module as it is.
    """

    def __init__(self, module: nn.Module, backend: str = "inductor") -> None:
        self.module = module
        self.compiled: Any = None
        self.backend = backend
        self.calls = 0

    def __call__(self, *args: Any) -> Any:
        """What the module returns."""
        self.calls += 1
        if self.calls == 1:
            return self.module(*args)
        if self.calls == 2:
            self.compiled = torch.compile(
                self.module, backend=self.backend, dynamic=False, options=_OPTIONS.get(self.backend)
            )
            return self._tried(*args)
        return self.compiled(*args)

    def _tried(self, *args: Any) -> Any:
        try:
            return self.compiled(*args)
        except TorchDynamoException as error:
            warnings.warn(f"torch.compile failed, training goes on without it: {_first_line(error)}", stacklevel=2)
            self.compiled = self.module
            return self.module(*args)


_OPTIONS: dict[str, dict[str, Any]] = {"inductor": {"fallback_random": True}}


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]
