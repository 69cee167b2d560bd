"""Backbones, decoders, tasks, data sets, routers and adapter paths of other packages, found by their entry points.

A package names a function without arguments in the group `sakbench.plugins`; it is called once, before a name is first
looked up, and registers what the package brings:

    [project.entry-points."sakbench.plugins"]
    mine = "my_package.sakbench:register"

What is registered has a place and a version, which become part of a run's identity: see `inputs`.
"""

import warnings
from collections.abc import Container, Iterable
from importlib.metadata import EntryPoint, entry_points

from sakbench.errors import UserError

GROUP = "sakbench.plugins"

_origins: dict[tuple[str, str], str] = {}
_current = "this program"  # whose function is registering
_loaded = False


def load() -> None:
    """Call the functions of all installed packages, once. What one of them raises is told, and the others go on."""
    global _loaded
    if _loaded:
        return
    _loaded = True  # by now: what a function looks up is looked up among what is there already
    for point in sorted(entry_points(group=GROUP), key=lambda point: point.name):
        _call(point)


def _call(point: EntryPoint) -> None:
    global _current
    package = f"{point.dist.name} {point.dist.version}" if point.dist else point.value
    before, _current = _current, package
    try:
        point.load()()
    except Exception as error:  # another's code raises all there is
        warnings.warn(
            f"the plug-in {point.name} of {package} cannot be used ({type(error).__name__}: {error}): what it would"
            " bring is missing.",
            stacklevel=2,
        )
    finally:
        _current = before


def claim(kind: str, name: str, taken: Container[str]) -> None:
    """Note that a backbone, a decoder, ... of that name is brought by whoever registers now.

    Raises UserError for a name of the package's own, which are the `taken` ones that nobody has brought.
    """
    if name in taken and (kind, name) not in _origins:
        raise UserError(f"{kind} {name!r} is one of sakbench's own: give yours another name.")
    _origins[kind, name] = _current


def known(kind: str) -> tuple[str, ...]:
    """The names of that kind that plug-ins have brought."""
    load()
    return tuple(name for one, name in _origins if one == kind)


def inputs(named: Iterable[tuple[str, str]]) -> tuple[str, ...]:
    """Of these (kind, name) those that plug-ins have brought, in words, with the packages' versions."""
    return tuple(f"{kind} {name} of {_origins[kind, name]}" for kind, name in named if (kind, name) in _origins)
