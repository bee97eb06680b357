"""Every parser with its corpus, and a short coverage-guided run of each from there (longer: `python -m tests.fuzz`)."""

from __future__ import annotations

import asyncio
import importlib.util
import sys
from pathlib import Path

import pytest

from tests.fuzz.targets import TARGETS

CORPUS = Path(__file__).with_name("corpus")
RUNS = 2000


def test_each_target_has_a_corpus_and_no_corpus_is_left_over() -> None:
    assert {folder.name for folder in CORPUS.iterdir()} == set(TARGETS)


@pytest.mark.parametrize("target", sorted(TARGETS))
def test_what_was_captured_or_found_before_keeps_every_promise(target: str) -> None:
    for seed in sorted((CORPUS / target).iterdir()):
        TARGETS[target](seed.read_bytes())


@pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="there is no atheris for this Python")
@pytest.mark.parametrize("target", sorted(TARGETS))
async def test_inputs_nobody_thought_of_keep_every_promise(target: str, tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.fuzz", target, f"--runs={RUNS}", "--seed=1", f"--found={tmp_path}",
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode(errors="replace")[-3000:]
    assert f"Done {RUNS} runs" in output.decode(errors="replace")
