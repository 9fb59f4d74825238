"""What a lab asks, and how much of it a learner's folder fulfils."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from labs.learner import Learner, Miss

__all__ = ["Criterion", "Grade", "Lab", "Mark", "expect", "same"]

Check = Callable[[Learner], None]
_LONGEST = 300


def expect(fulfilled: object, otherwise: str) -> None:
    """Raise `Miss` with what was seen instead unless something is as it should be."""
    if not fulfilled:
        raise Miss(otherwise)


def same(what: str, got: object, wanted: object) -> None:
    """Raise `Miss` unless two values are equal and of one JSON type (1 is not True)."""
    expect(got == wanted and isinstance(got, bool) == isinstance(wanted, bool), f"{what}: got {got!r}, not {wanted!r}")


@dataclass(frozen=True, slots=True)
class Criterion:
    """One thing that is asked; its points are earned whole or not at all."""

    id: str
    exercise: str
    points: int
    title: str
    hint: str
    check: Check


@dataclass(frozen=True, slots=True)
class Mark:
    """What became of one criterion."""

    criterion: Criterion
    seen: str | None
    """What was there instead; None when it is fulfilled."""

    @property
    def earned(self) -> int:
        """All points or none."""
        return 0 if self.seen is not None else self.criterion.points


@dataclass(frozen=True, slots=True)
class Grade:
    """The marks of one lab."""

    lab: Lab
    marks: tuple[Mark, ...]

    @property
    def earned(self) -> int:
        """Points of the whole lab."""
        return sum(mark.earned for mark in self.marks)

    def of(self, exercise: str) -> tuple[Mark, ...]:
        """Return the marks of one exercise."""
        return tuple(mark for mark in self.marks if mark.criterion.exercise == exercise)


@dataclass(slots=True)
class Lab:
    """
    One lab, and the criteria that its `check.py` adds.

    Args:
        number: Such as `001`.
        title: In a few words.
        level: `beginner`, `intermediate` or `advanced`.
        minutes: How long it takes.
        folder: Holds `README.md`, `starter`, `solution` and `probes.py`.
        exercises: Titles by name, in order.
    """

    number: str
    title: str
    level: str
    minutes: int
    folder: Path
    exercises: dict[str, str]
    criteria: list[Criterion] = field(default_factory=list)

    @property
    def id(self) -> str:
        """Such as `lab-001`, also the name of a learner's folder."""
        return f"lab-{self.number}"

    @property
    def max(self) -> int:
        """Points of all criteria."""
        return sum(criterion.points for criterion in self.criteria)

    def criterion(self, exercise: str, points: int, title: str, *, hint: str) -> Callable[[Check], Check]:
        """Add a function as the check of a criterion; its name is the criterion's id."""

        def added(check: Check) -> Check:
            self.criteria.append(Criterion(check.__name__, exercise, points, title, hint, check))
            return check

        assert exercise in self.exercises
        return added

    def grade(self, folder: Path, exercises: Collection[str] = ()) -> Grade:
        """
        Return how much of the lab a folder fulfils; its code is run.

        Args:
            folder: The learner's.
            exercises: Only these; by default all.

        Raises:
            Miss: The folder is too large to be a lab.
        """
        with Learner(folder, self.folder / "probes.py") as learner:
            return Grade(self, tuple(self._marks(learner, exercises)))

    def _marks(self, learner: Learner, exercises: Collection[str]) -> Iterator[Mark]:
        for criterion in self.criteria:
            if not exercises or criterion.exercise in exercises:
                yield Mark(criterion, _seen(criterion, learner))


def _seen(criterion: Criterion, learner: Learner) -> str | None:
    try:
        criterion.check(learner)
    except Miss as miss:
        return str(miss)[:_LONGEST]
    except (TypeError, LookupError, ValueError, AttributeError) as err:
        # What a learner's code answers may have any shape; the checks take the one that is asked for.
        return f"the answer has another shape than asked for ({type(err).__name__}: {err})"[:_LONGEST]
    return None
