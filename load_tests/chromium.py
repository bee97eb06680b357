"""The browser that load tests and tests drive."""

from __future__ import annotations

import os
import shutil


def find_chromium() -> str:
    """Its path: that in CHROMIUM, or the system's. Raises RuntimeError where there is none."""
    binary = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if binary is None:
        raise RuntimeError("There is no chromium: install Debian's package `chromium`, or name a binary in CHROMIUM.")
    return binary
