"""`tests/unit/catalogue/test_coverage.py` on PostgreSQL."""

import pytest

from tests.unit.catalogue.test_coverage import *  # noqa: F403

pytestmark = pytest.mark.usefixtures("on_postgresql")
