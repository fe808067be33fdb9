"""A search on a grid of settings: the same number of trials for every side."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations, product
from typing import Any

Settings = Mapping[str, Any]
Measure = Callable[[Settings], float]


@dataclass(frozen=True)
class Axis:
    """A setting and its values in order; of `ordered` ones the best must not be the outermost."""

    key: str
    values: Sequence[Any]
    ordered: bool = True


@dataclass
class Search:
    """A walk from the middle of the grid to the best point that it finds in so many trials.

    The axes are gone through in turn: from the best point so far, each neighbour that was not tried
    is, until none is left; then the neighbours over a corner, then
    whatever is nearest. A point where all neighbours along
    ordered axes were tried and are worse is a true optimum of the grid.
    """

    axes: Sequence[Axis]
    trials: int
    start: Settings
    measure: Measure
    tried: dict[tuple[int, ...], float] = field(default_factory=dict)

    def run(self) -> None:
        """Spend the trials."""
        self._try(tuple(axis.values.index(self.start[axis.key]) for axis in self.axes))
        while len(self.tried) < self.trials:
            following = next(self._untried(), None)
            if following is None:
                break
            self._try(following)

    @property
    def best(self) -> tuple[int, ...]:
        return min(self.tried, key=lambda point: self.tried[point])

    @property
    def settings(self) -> dict[str, Any]:
        """The best point's settings."""
        return self.at(self.best)

    def at(self, point: tuple[int, ...]) -> dict[str, Any]:
        return {axis.key: axis.values[i] for axis, i in zip(self.axes, point, strict=True)}

    def open_ends(self) -> list[str]:
        """Settings whose best value is an outermost one, or has a neighbour that was not tried.

        Below 0 there is nothing to try.
        """
        ends = []
        for number, axis in enumerate(self.axes):
            if axis.ordered:
                steps = (1,) if axis.values[self.best[number]] == 0 else (-1, 1)
                near = [self._moved(self.best, number, step) for step in steps]
                if any(point is None or point not in self.tried for point in near):
                    ends.append(axis.key)
        return ends

    def _try(self, point: tuple[int, ...]) -> None:
        self.tried[point] = self.measure(self.at(point))

    def _untried(self) -> Iterator[tuple[int, ...]]:
        for number, axis in enumerate(self.axes):
            everywhere = range(-len(axis.values) + 1, len(axis.values))
            for step in (1, -1) if axis.ordered else everywhere:
                yield from self._new(self._moved(self.best, number, step))
        for first, second in combinations(range(len(self.axes)), 2):
            for here, there in product((1, -1), repeat=2):
                beside = self._moved(self.best, first, here)
                if beside is not None:
                    yield from self._new(self._moved(beside, second, there))
        everything = product(*(range(len(axis.values)) for axis in self.axes))
        for point in sorted(everything, key=self._steps_away):
            yield from self._new(point)

    def _steps_away(self, point: tuple[int, ...]) -> int:
        return sum(abs(here - there) for here, there in zip(point, self.best, strict=True))

    def _new(self, point: tuple[int, ...] | None) -> Iterator[tuple[int, ...]]:
        if point is not None and point not in self.tried:
            yield point

    def _moved(self, point: tuple[int, ...], axis: int, step: int) -> tuple[int, ...] | None:
        moved = point[axis] + step
        if not 0 <= moved < len(self.axes[axis].values):
            return None
        return (*point[:axis], moved, *point[axis + 1 :])
