"""What `python -m load_tests` can run."""

from __future__ import annotations

import importlib
import inspect

from load_tests.__main__ import names


def test_all_that_is_listed_can_be_run() -> None:
    assert {"hls", "ingest"} <= set(names())
    for name in names():
        assert list(inspect.signature(importlib.import_module(f"load_tests.{name}").main).parameters) == ["argv"], name
