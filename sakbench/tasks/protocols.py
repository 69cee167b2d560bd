"""How a boundary map is prepared before it is counted: what differs between published odsF numbers. Light to import."""

from dataclasses import dataclass

from sakbench.errors import unknown


@dataclass(frozen=True)
class Protocol:
    """Radius of non-maximum suppression in pixels (0: none), and whether `>` passes a threshold instead of `>=`."""

    name: str
    nms_radius: int
    strict: bool


PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        Protocol("paper", nms_radius=4, strict=False),  # SEISM as the paper runs it
        Protocol("invpt", nms_radius=1, strict=True),  # InvPT, TaskPrompter
        Protocol("plain", nms_radius=0, strict=False),  # older multi-task code
    )
}


def get(name: str) -> Protocol:
    """The protocol of that name. Raises `UserError` if there is none."""
    if name not in PROTOCOLS:
        raise unknown("boundary protocol", name, PROTOCOLS)
    return PROTOCOLS[name]
