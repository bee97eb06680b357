"""Viewers that come and leave, some without a word, leave nothing behind."""

from __future__ import annotations

import pytest

from load_tests import joins

COUNT = 2000


@pytest.mark.timeout(150)
def test_two_thousand_joins_and_leaves_leave_nothing_behind() -> None:
    found = joins.measure(COUNT, 100)
    assert found["joins_refused"] == 0
    assert found["grown"] == {}, found
    # 4 KB a viewer: a connection of OpenSSL's that stayed would be more, and no object of Python's would tell of it.
    assert found["grown_kb"] < 4 * COUNT, found
    assert found["idle_ms_cpu_per_s_after"] < found["idle_ms_cpu_per_s_before"] + 10, found
