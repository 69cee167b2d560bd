"""SAM's encoder with its relative positions folded into queries and keys, beside timm's own attention.

python benchmarks/sam.py [--rounds 3]: seconds for an image of 1024 x 1024 on one core, in turn, and the most bytes of
tensors made in a forward pass that live at once. Random weights, fp32.
"""

import argparse

import torch

from sakbench import backbones
from sakbench.bench.measure import paired
from sakbench.bench.plain import plain_teacher
from sakbench.bench.tally import Tally

NAME = "samvit_base_patch16.sa1b"

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    folded = backbones.create(NAME, pretrained=False).eval()
    encoders = {"folded": folded, "timm's": plain_teacher(folded)}
    pixels = torch.randn(1, 3, *folded.image_size)
    with torch.inference_mode():
        rates = paired({n: lambda e=e: e(pixels) for n, e in encoders.items()}, 1, rounds, "cpu")
        for name, encoder in encoders.items():
            with Tally() as tally:
                encoder(pixels)
            seconds = sorted(1 / rate for rate in rates[name])
            print(f"{name}: {', '.join(f'{one:.1f}' for one in seconds)} s, peak {tally.peak / 2**20:,.0f} MiB")
