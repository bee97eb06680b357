"""`tests/integration/test_recorder.py` on PostgreSQL."""

import pytest

from tests.integration.test_recorder import *  # noqa: F403

pytestmark = pytest.mark.usefixtures("on_postgresql")
