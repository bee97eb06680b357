"""Fails where a runtime dependency, or one of its own, has a licence that does not fit an Apache-2.0 product."""

from __future__ import annotations

import re
import sys
from importlib import metadata
from typing import Final

from packaging.requirements import Requirement

FITTING: Final = frozenset(
    {
        "0BSD", "APACHE-2.0", "APACHE SOFTWARE LICENSE", "BSD", "BSD LICENSE", "BSD-2-CLAUSE", "BSD-3-CLAUSE",
        "CC0-1.0", "ISC", "ISC LICENSE (ISCL)", "MIT", "MIT LICENSE", "MIT-0", "PSF-2.0",
        "PYTHON SOFTWARE FOUNDATION LICENSE", "THE UNLICENSE (UNLICENSE)", "UNLICENSE", "ZLIB",
    }
)  # fmt: skip
EXCEPTIONS: Final = {
    # A list of public certificates, used unchanged; MPL-2.0 covers its own files only.
    "certifi": "MPL-2.0",
}


def main() -> int:
    """Prints one line a misfit; 0 when there is none."""
    packages = sorted(_closure("mediasrv"))
    misfits = [name for name in packages if name not in EXCEPTIONS and not _fits(name)]
    for name in misfits:
        print(f"{name}: licence {' / '.join(_licences(name)) or 'unknown'} does not fit an Apache-2.0 product")
    print(f"{len(packages)} runtime packages, {len(misfits)} with a licence that does not fit")
    return 1 if misfits else 0


def _closure(root: str) -> set[str]:
    seen: set[str] = set()
    waiting = [root]
    while waiting:
        for text in metadata.requires(waiting.pop()) or []:
            requirement = Requirement(text)
            name = re.sub(r"[-_.]+", "-", requirement.name).lower()
            wanted = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
            if wanted and name not in seen:
                seen.add(name)
                waiting.append(name)
    return seen


def _fits(name: str) -> bool:
    licences = _licences(name)
    return bool(licences) and all(_expression_fits(one) for one in licences)


def _expression_fits(expression: str) -> bool:
    """AND needs every part to fit, OR one (SPDX expressions without parentheses)."""
    return all(
        any(choice.strip().upper() in FITTING for choice in re.split(r"\bOR\b", part))
        for part in re.split(r"\bAND\b", expression)
    )


def _licences(name: str) -> list[str]:
    about = metadata.metadata(name)
    if about.get("License-Expression"):
        return [str(about["License-Expression"])]
    classifiers = [
        one.rpartition(" :: ")[2] for one in about.get_all("Classifier") or [] if one.startswith("License ::")
    ]
    named = [one for one in classifiers if one not in ("OSI Approved", "DFSG approved")]
    # Some old packages state it in the free text only.
    return named or ([str(about["License"]).split("\n")[0]] if about.get("License") else [])


if __name__ == "__main__":
    sys.exit(main())
