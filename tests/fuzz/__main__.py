"""Coverage-guided fuzzing of a parser (atheris, which is libFuzzer for Python): `python -m tests.fuzz TARGET --runs N`.

Starts from corpus/TARGET. What it finds on the way stays in .cache/fuzz/TARGET for the next run; an input that breaks
a promise is written to .cache/fuzz/TARGET-crash-…, and belongs into the corpus once the parser is mended.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Final

import atheris

HERE: Final = Path(__file__).resolve().parent
FOUND: Final = HERE.parents[1] / ".cache" / "fuzz"
SLOWEST_INPUT_S: Final = 10
MOST_MEMORY_MB: Final = 1024

with atheris.instrument_imports(
    include=["mediasrv.media", "mediasrv.onvif", "mediasrv.wire", "mediasrv.pulling", "mediasrv.serving"]
):
    from tests.fuzz.targets import TARGETS


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("target", choices=sorted(TARGETS))
    parser.add_argument("--runs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0, help="0: another one each time")
    parser.add_argument("--most-bytes", type=int, default=4096)
    parser.add_argument("--found", type=Path, default=FOUND, help="where inputs are kept for the next run")
    options = parser.parse_args()
    seeds = HERE / "corpus" / options.target
    found: Path = options.found / options.target
    found.mkdir(parents=True, exist_ok=True)
    arguments = [
        f"-runs={options.runs}",
        f"-seed={options.seed}",
        f"-max_len={options.most_bytes}",
        f"-timeout={SLOWEST_INPUT_S}",
        f"-rss_limit_mb={MOST_MEMORY_MB}",
        f"-artifact_prefix={found}-",
        "-print_final_stats=1",
    ]
    atheris.Setup([sys.argv[0], *arguments, str(found), str(seeds)], TARGETS[options.target])
    atheris.Fuzz()


main()
