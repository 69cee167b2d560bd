"""sakbench: what a vision foundation model is good and bad at, and whether a student can keep it all."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sakbench.report.probing import probe

__version__ = "0.1.0"
__all__ = ["__version__", "probe"]


def __getattr__(name: str) -> Any:
    """`sakbench.probe`, which imports torch, is imported when it is asked for."""
    if name == "probe":
        from sakbench.report.probing import probe

        return probe
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
