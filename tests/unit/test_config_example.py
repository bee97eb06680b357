"""config/ is the reference of all settings, so it must not fall behind settings.py."""

from __future__ import annotations

import dataclasses
import tomllib
from pathlib import Path

import pytest

from mediasrv.settings import CameraEntry, Settings, load_cameras, load_settings, parse_settings

CONFIG = Path(__file__).parents[2] / "config"
EXAMPLE = CONFIG / "mediasrv.toml"
CAMERAS_EXAMPLE = CONFIG / "cameras.toml"
SECTIONS = [item.name for item in dataclasses.fields(Settings)]


def test_the_example_parses_and_says_exactly_the_defaults() -> None:
    assert load_settings(EXAMPLE) == Settings()


def test_the_example_lists_the_sections_in_the_order_of_the_settings() -> None:
    assert list(tomllib.loads(EXAMPLE.read_text())) == SECTIONS


@pytest.mark.parametrize("section", SECTIONS)
def test_the_example_lists_every_setting_of_a_section_in_order(section: str) -> None:
    listed = tomllib.loads(EXAMPLE.read_text())[section]
    assert list(listed) == [item.name for item in dataclasses.fields(getattr(Settings(), section))]


def test_the_example_holds_no_plain_secret() -> None:
    storage = tomllib.loads(EXAMPLE.read_text())["storage"]
    assert all(storage[name].startswith(("env:", "file:")) for name in ("access_key", "secret_key"))


def test_every_section_may_be_left_out() -> None:
    assert parse_settings({}) == Settings()


def test_the_cameras_example_calls_nobody() -> None:
    assert load_cameras(CAMERAS_EXAMPLE) == ()


def test_the_cameras_example_parses_once_its_examples_are_taken_out_of_comments(tmp_path: Path) -> None:
    entries = load_cameras(_uncommented(tmp_path))
    assert [entry.id for entry in entries] == ["gate-1", "yard-3", "dock-1"]


def test_the_cameras_example_shows_every_member(tmp_path: Path) -> None:
    tables = tomllib.loads(_uncommented(tmp_path).read_text())["camera"]
    shown = {name for table in tables for name in table}
    assert shown == {item.name for item in dataclasses.fields(CameraEntry)}


def _uncommented(tmp_path: Path) -> Path:
    """The example with one comment sign less on each line of its tables."""
    tables = CAMERAS_EXAMPLE.read_text().partition("\n\n")[2]
    path = tmp_path / "cameras.toml"
    path.write_text("\n".join(line.removeprefix("# ") for line in tables.splitlines()))
    return path
