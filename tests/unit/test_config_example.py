"""config/mediasrv.toml is the reference of all settings, so it must not fall behind settings.py."""

from __future__ import annotations

import dataclasses
import tomllib
from pathlib import Path

import pytest

from mediasrv.settings import Settings, load_settings, parse_settings

EXAMPLE = Path(__file__).parents[2] / "config" / "mediasrv.toml"
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
