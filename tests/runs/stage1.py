"""A stage 1 that has learned nothing, for tests of what begins with one."""

from functools import partial

from sakbench.runs import encoders
from sakbench.runs.folder import write
from sakbench.runs.session import Session
from sakbench.runs.students import build


def fresh(session: Session) -> None:
    """Leave an untrained student where the run's stage 1 would."""
    spec, place = session.spec, session.place
    student = build(spec, partial(encoders.load, spec=spec, place=place))
    write(place.runs / spec.id, student, spec)
