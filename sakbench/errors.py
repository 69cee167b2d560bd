"""The one exception that a user meets: a sentence, exit code 2, no traceback."""

from collections.abc import Iterable
from difflib import get_close_matches

_LISTED = 20
INTERRUPTED = 130  # the exit code that a shell expects of a command that Ctrl-C ended


class UserError(Exception):
    """Something that the user can mend: its text names what is wrong, where it was looked for and what to do."""


def unknown(kind: str, name: str, allowed: Iterable[str]) -> UserError:
    """The error for a name that is not in `allowed`, with the nearest allowed name as a suggestion."""
    choices = sorted(allowed)
    near = [choice for choice in choices if choice.casefold() == name.casefold()]
    near = near or get_close_matches(name, choices, n=1, cutoff=0.5)
    listed = ", ".join(choices[:_LISTED]) + (f" and {len(choices) - _LISTED} more" if len(choices) > _LISTED else "")
    hint = f"did you mean {near[0]}?" if near else f"choose from {listed}."
    return UserError(f"there is no {kind} named {name!r}: {hint}")
