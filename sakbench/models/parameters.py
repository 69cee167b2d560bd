"""Which parameters of a student are trained, and how many the paper counts."""

from torch import nn

from sakbench.errors import unknown

DECODER = ("routers.", "heads.", "alignments.")  # what stage 2 adds, and a Freeze row trains
TEACHERS = "teachers."  # an upper bound's, which nothing trains
TRAINABLE = ("full", "freeze")


def set_trainable(model: nn.Module, trainable: str) -> None:
    """Train everything ("full"), or routers and heads alone ("freeze": the paper's Freeze rows, a probe).

    An upper bound's alignments count to its heads, and its teachers stay as they are.
    Raises UserError for another word.
    """
    if trainable not in TRAINABLE:
        raise unknown("trainable set", trainable, TRAINABLE)
    for name, parameter in model.named_parameters():
        trained = name.startswith(DECODER) or (trainable == "full" and not name.startswith(TEACHERS))
        parameter.requires_grad_(trained)


def parameter_count(model: nn.Module, *, trainable: bool = False) -> int:
    """The number of parameters as the paper counts them: without aligners, which only distillation uses.

    `trainable` counts those that are trained.
    """
    return sum(
        parameter.numel()
        for name, parameter in model.named_parameters()
        if not name.startswith("aligners.") and (parameter.requires_grad or not trainable)
    )
