from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jagpt.errors import UsageError
from jagpt.evaluation.windows import Windows, batches


@given(n_tokens=st.integers(2, 200), block_size=st.integers(1, 50), data=st.data())
def test_each_token_but_the_first_is_a_label_once(
    n_tokens: int, block_size: int, data: st.DataObject
) -> None:
    stride = data.draw(st.integers(1, block_size))
    windows = list(Windows(block_size, stride).over(n_tokens))
    labels = [place for w in windows for place in range(w.first_label, w.stop)]
    assert labels == list(range(1, n_tokens))
    for window in windows:
        assert 1 <= window.labels <= window.stop - window.start - 1 <= block_size
        enough = min(window.first_label, block_size - stride + 1)
        assert window.first_label - window.start >= enough


def test_blocks_are_the_originals_windows() -> None:
    found = [(w.start, w.stop, w.skipped) for w in Windows.of("blocks", 4).over(11)]
    assert found == [(0, 5, 0), (4, 9, 0), (8, 11, 0)]


def test_sliding_windows_move_on_by_half_unless_told() -> None:
    assert Windows.of("sliding", 8).stride == 4
    assert Windows.of("sliding", 8, 3).stride == 3


@given(n_tokens=st.integers(2, 300), size=st.integers(1, 7))
def test_batches_hold_windows_of_one_shape_in_order(n_tokens: int, size: int) -> None:
    windows = list(Windows(8, 3).over(n_tokens))
    found = list(batches(windows, size))
    assert [window for batch in found for window in batch] == windows
    for batch in found:
        assert len(batch) <= size
        assert len({(w.stop - w.start, w.skipped) for w in batch}) == 1


def test_a_stride_that_leaves_gaps_is_refused() -> None:
    with pytest.raises(UsageError, match="would never be measured"):
        Windows.of("sliding", 8, 9)
    with pytest.raises(UsageError, match="blocks do not overlap"):
        Windows.of("blocks", 8, 4)
