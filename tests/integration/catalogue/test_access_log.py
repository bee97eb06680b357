"""`tests/unit/security/test_access_log.py` on PostgreSQL."""

import pytest

from tests.unit.security.test_access_log import *  # noqa: F403

pytestmark = pytest.mark.usefixtures("on_postgresql")
