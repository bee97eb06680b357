"""`python -m load_tests NAME …` runs `load_tests.NAME:main(argv)`; its return value is the exit status."""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
import sys
from collections.abc import Sequence

import load_tests


def names() -> list[str]:
    """The load tests there are: every module of this package that has a `main`."""
    modules = (module.name for module in pkgutil.iter_modules(load_tests.__path__) if not module.ispkg)
    return sorted(name for name in modules if not name.startswith("_") and _has_main(name))


def _has_main(name: str) -> bool:
    # By text and not by import: listing the names must not import a dozen heavy modules.
    spec = importlib.util.find_spec(f"load_tests.{name}")
    if spec is None or spec.origin is None:
        return False
    with open(spec.origin, encoding="utf-8") as source:
        return any(line.startswith("def main(") for line in source)


def main(argv: Sequence[str]) -> int:
    known = names()
    if not argv or argv[0] not in known:
        print(f"usage: python -m load_tests NAME …, where NAME is one of: {', '.join(known)}", file=sys.stderr)
        return 2
    return int(importlib.import_module(f"load_tests.{argv[0]}").main(list(argv[1:])) or 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
