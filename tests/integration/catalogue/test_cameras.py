"""`tests/unit/catalogue/test_cameras.py` on PostgreSQL."""

import pytest

from tests.unit.catalogue.test_cameras import *  # noqa: F403

pytestmark = pytest.mark.usefixtures("on_postgresql")
