"""Renders some scenes of a split into open arrays: `... -m sakbench.data.miniworld.worker FOLDER SEED KIND START STOP`.

A program of its own, because a process that holds threads (PyTorch) or a GPU must not be forked, and spawning would
need every calling script to guard its main module.
"""

import signal
import sys
from pathlib import Path

# Ctrl-C ends it without a word: whoever called it speaks. Before the imports, which take their time.
signal.signal(signal.SIGINT, signal.SIG_DFL)

from sakbench.data.miniworld.splits import render_chunk  # noqa: E402

if __name__ == "__main__":
    folder, seed, kind, start, stop = sys.argv[1:]
    render_chunk(Path(folder), int(seed), kind, int(start), int(stop))
