"""Where what can be computed again is kept: rendered scenes, features, counts of scored images."""

import os
from pathlib import Path

from platformdirs import user_cache_path


def cache_folder() -> Path:
    """$SAKBENCH_CACHE, or the platform's cache folder."""
    chosen = os.environ.get("SAKBENCH_CACHE")
    return Path(chosen) if chosen else user_cache_path("sakbench")
