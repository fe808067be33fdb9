from __future__ import annotations

import pytest

from jagpt.training.state import State, Validation


def state(*losses: float) -> State:
    return State(validation=tuple(Validation(n, n, loss) for n, loss in enumerate(losses, 1)))


@pytest.mark.parametrize(
    ("losses", "patience", "exhausted"),
    [
        ((), 1, False),
        ((3.0, 2.0), 1, False),
        ((2.0, 2.0), 1, True),
        ((2.0, 3.0, 2.5), 2, True),
        ((2.0, 3.0, 1.5), 2, False),
        ((1.0, 2.0, 3.0, 4.0), None, False),
    ],
)
def test_patience_ends_with_validations_that_are_no_better(
    losses: tuple[float, ...], patience: int | None, exhausted: bool
) -> None:
    assert state(*losses).exhausted(patience) == exhausted
