"""`tests/unit/catalogue/test_ownership.py` on PostgreSQL."""

import pytest

from tests.unit.catalogue.test_ownership import *  # noqa: F403

pytestmark = pytest.mark.usefixtures("on_postgresql")
