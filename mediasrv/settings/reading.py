"""TOML into settings, and references into secrets."""

from __future__ import annotations

import dataclasses
import os
import tomllib
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from mediasrv.errors import SettingsError
from mediasrv.settings.checks import check
from mediasrv.settings.slices import Settings

T = TypeVar("T")


def load_settings(path: Path) -> Settings:
    """Reads a TOML file. Relative paths in it are taken from the working directory.

    Raises SettingsError that names the setting, what stands there and what belongs there.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as missing:
        raise SettingsError(f"There is no configuration file {path}.") from missing
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as broken:
        raise SettingsError(f"{path} is not valid TOML: {broken}.") from broken
    return parse_settings(document)


def parse_settings(document: Mapping[str, Any]) -> Settings:
    """A parsed TOML document as Settings; unknown sections and names are errors, not silently ignored."""
    settings = parse_slice(Settings, document, "")
    check(settings)
    return settings


def read_secret(reference: str, environ: Mapping[str, str] | None = None) -> str:
    """Resolves `env:NAME` or `file:PATH`. Raises SettingsError; never puts the secret into a message."""
    scheme, separator, name = reference.partition(":")
    if not separator or scheme not in ("env", "file"):
        raise SettingsError("A secret must be a reference: env:NAME or file:PATH.", code="settings_secret_plain")
    if scheme == "env":
        value = (os.environ if environ is None else environ).get(name)
        if value is None:
            raise SettingsError(f"The environment variable {name} is not set.")
        return value
    try:
        return Path(name).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise SettingsError(f"The secret file {name} cannot be read: {error.strerror}.") from error


def parse_slice(kind: type[T], values: Mapping[str, Any], where: str) -> T:
    """A table as a dataclass; `where` begins the sentences of SettingsError."""
    hints = typing.get_type_hints(kind)
    names = [item.name for item in dataclasses.fields(typing.cast(Any, kind))]
    for name in values:
        if name not in names:
            raise SettingsError(f"{where}{name} is no setting; known here: {', '.join(names)}.")
    parsed = {name: _parse_value(hints[name], values[name], where + name) for name in names if name in values}
    return kind(**parsed)


def _parse_value(hint: Any, value: Any, where: str) -> Any:
    if dataclasses.is_dataclass(hint):
        if not isinstance(value, Mapping):
            raise SettingsError(f"{where} must be a table.")
        return parse_slice(typing.cast(type, hint), value, where + ".")
    if typing.get_origin(hint) is types.UnionType:  # one, or a list
        one, hint = typing.get_args(hint)
        if type(value) is one:
            return value
    if typing.get_origin(hint) is tuple:
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise SettingsError(f"{where} must be a list of strings.")
        return tuple(value)
    if hint is float and type(value) is int:
        return float(value)
    if isinstance(hint, types.UnionType) or type(value) is not hint:
        raise SettingsError(f"{where} must be {hint.__name__}, not {type(value).__name__}.")
    if hint in (int, float) and value < 0:
        raise SettingsError(f"{where} must not be negative.")
    return value
