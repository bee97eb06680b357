"""Recording plans as the cameras file, the API and the catalogue write them."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mediasrv.errors import SettingsError
from mediasrv.settings import CONTINUOUS, parse_plan
from mediasrv.settings.plans import PlanSpan, RecordingPlan

NIGHT = {"days": ["fri", "mon"], "from": "22:00", "to": "06:00"}
ZONE = "Asia/Ho_Chi_Minh"


@pytest.mark.parametrize(
    ("document", "plan"),
    [
        ({"mode": "continuous"}, CONTINUOUS),
        ({"mode": "off"}, RecordingPlan("off")),
        (
            {"mode": "schedule", "time_zone": ZONE, "spans": [NIGHT]},
            RecordingPlan("schedule", ZONE, (PlanSpan(("mon", "fri"), 1320, 360),)),
        ),
        ({"mode": "event"}, RecordingPlan("event", kinds=("motion",), before_s=10.0, after_s=30.0)),
        (
            {"mode": "event", "kinds": ["tamper", "motion"], "before_s": 0, "after_s": 2.5},
            RecordingPlan("event", kinds=("motion", "tamper"), before_s=0.0, after_s=2.5),
        ),
    ],
)
def test_a_plan_is_read_and_written_as_it_was(document: dict[str, Any], plan: RecordingPlan) -> None:
    assert parse_plan(document) == plan
    assert parse_plan(plan.to_json()) == plan


@pytest.mark.parametrize(
    ("document", "named"),
    [
        ("continuous", "a table with a mode"),
        ({}, "mode must be"),
        ({"mode": "always"}, "mode must be"),
        ({"mode": ["off"]}, "mode must be"),
        ({"mode": "off", "kinds": ["motion"]}, "kinds does not belong"),
        ({"mode": "schedule", "spans": [NIGHT]}, "time_zone"),
        ({"mode": "schedule", "time_zone": "Asia", "spans": [NIGHT]}, "time_zone"),
        ({"mode": "schedule", "time_zone": "../etc/passwd", "spans": [NIGHT]}, "time_zone"),
        ({"mode": "schedule", "time_zone": ZONE}, "spans"),
        ({"mode": "schedule", "time_zone": ZONE, "spans": []}, "spans"),
        ({"mode": "schedule", "time_zone": ZONE, "spans": "mon"}, "spans"),
        ({"mode": "schedule", "time_zone": ZONE, "spans": [NIGHT | {"days": []}]}, "days"),
        ({"mode": "schedule", "time_zone": ZONE, "spans": [NIGHT | {"days": ["monday"]}]}, "days"),
        ({"mode": "schedule", "time_zone": ZONE, "spans": [NIGHT | {"to": "22:00"}]}, "some time"),
        ({"mode": "schedule", "time_zone": ZONE, "spans": [NIGHT | {"from": "24:00"}]}, "some time"),
        ({"mode": "schedule", "time_zone": ZONE, "spans": [NIGHT | {"to": "6:00"}]}, "00:00 to 24:00"),
        ({"mode": "schedule", "time_zone": ZONE, "spans": [NIGHT] * 101}, "1 to 100"),
        ({"mode": "event", "kinds": ["noise"]}, "kinds"),
        ({"mode": "event", "kinds": []}, "kinds"),
        ({"mode": "event", "before_s": 61}, "before_s"),
        ({"mode": "event", "before_s": float("nan")}, "before_s"),
        ({"mode": "event", "after_s": -1}, "after_s"),
        ({"mode": "event", "after_s": True}, "after_s"),
    ],
)
def test_a_plan_that_cannot_be_is_refused_by_name(document: Any, named: str) -> None:
    with pytest.raises(SettingsError, match=named):
        parse_plan(document)


_JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=12) | st.sampled_from(["06:00", "mon"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["days", "from", "to"]), inner),
    max_leaves=8,
)


@given(
    st.sampled_from(["schedule", "event", "off"]),
    st.dictionaries(st.sampled_from(["time_zone", "spans", "kinds", "before_s", "after_s"]), _JSON),
)
def test_whatever_stands_there_is_a_plan_or_a_plain_refusal(mode: str, members: dict[str, Any]) -> None:
    with contextlib.suppress(SettingsError):
        plan = parse_plan({"mode": mode} | members)
        assert parse_plan(plan.to_json()) == plan
