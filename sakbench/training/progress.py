"""How far a training is, as it tells it to whoever shows it."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Progress:
    """What a progress bar shows: `step` of `steps` done, the last step's loss terms, and the share of the time since
    the last report (0 to 1) that the process waited for data, while a GPU may still have been at work."""

    step: int
    steps: int
    losses: dict[str, float] = field(default_factory=dict)
    waited: float = 0.0
