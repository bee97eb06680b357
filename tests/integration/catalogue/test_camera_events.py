"""`tests/unit/catalogue/test_camera_events.py` on PostgreSQL."""

import pytest

from tests.unit.catalogue.test_camera_events import *  # noqa: F403

pytestmark = pytest.mark.usefixtures("on_postgresql")
