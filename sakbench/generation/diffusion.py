"""The other class in an object's place: Stable Diffusion, held by ControlNet, within the object's mask."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from sakbench.data.pairs.manifest import Bytes
from sakbench.errors import UserError
from sakbench.generation.pinned import Pinned, complete, load


@dataclass(frozen=True)
class Sampling:
    """How a picture is drawn: denoising steps, how strongly the prompt guides, how strongly the control holds."""

    steps: int = 30
    guidance: float = 7.5
    control: float = 1.0


class Painter:
    """A StableDiffusionControlNetInpaintPipeline with its safety checker; float16 on a GPU.

    Raises `UserError` for models that are not here, do not go together, or have no safety checker.
    """

    def __init__(self, base: Pinned, controlnet: Pinned, device: str) -> None:
        from diffusers import ControlNetModel, StableDiffusionControlNetInpaintPipeline

        held = load(
            controlnet,
            "the ControlNet",
            "--controlnet",
            partial(complete, ControlNetModel.from_pretrained, use_safetensors=True),
        )

        def read(folder: Path) -> Any:
            kind: Any = StableDiffusionControlNetInpaintPipeline
            pipeline = kind.from_pretrained(folder, controlnet=held, use_safetensors=True)
            if not pipeline.unet.config.sample_size:
                raise ValueError("its U-Net does not say how large its pictures are")
            return pipeline.to(device, torch.float16 if device == "cuda" else torch.float32)

        self.pipeline = load(base, "the diffusion model", "--base", read)
        if self.pipeline.safety_checker is None:
            raise UserError(
                f"{base} has no safety checker, and counterfactuals are made with one alone: name another --base."
            )
        self.pipeline.set_progress_bar_config(disable=True)
        unet, vae = self.pipeline.unet.config, self.pipeline.vae_scale_factor
        self.side: int = unet.sample_size * vae  # pixels of the pictures that it draws

    def __call__(
        self,
        picture: Bytes,
        mask: NDArray[np.bool_],
        control: Bytes,
        prompt: str,
        seed: int,
        sampling: Sampling,
        step: Callable[[int], None],
    ) -> tuple[Bytes, bool]:
        """The picture uint8 (side, side, 3) with the prompt in the mask's place, and whether it was flagged as unsafe.

        A picture that is flagged is black. `step` is told how many of the steps are done.
        """

        def done(pipeline: object, index: int, time: object, values: dict[str, object]) -> dict[str, object]:
            step(index + 1)
            return values

        try:
            drawn = self.pipeline(
                prompt=prompt,
                image=Image.fromarray(picture),
                mask_image=Image.fromarray((255 * mask).astype(np.uint8)),
                control_image=Image.fromarray(control),
                height=self.side,
                width=self.side,
                strength=1.0,
                num_inference_steps=sampling.steps,
                guidance_scale=sampling.guidance,
                controlnet_conditioning_scale=sampling.control,
                generator=torch.Generator("cpu").manual_seed(seed),
                callback_on_step_end=done,
            )
        except torch.OutOfMemoryError as error:
            raise UserError(
                f"the GPU's memory is too small to draw pictures of {self.side} pixels: say --device cpu."
            ) from error
        except (RuntimeError, TypeError, ValueError) as error:  # as layers of other sizes, or kinds, do
            reason = str(error).partition("\n")[0][:200].rstrip(".")
            raise UserError(f"nothing can be drawn ({reason}): do --base and --controlnet go together?") from error
        flagged = bool((drawn.nsfw_content_detected or [False])[0])
        return np.asarray(drawn.images[0].convert("RGB")), flagged
