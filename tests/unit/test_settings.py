"""Settings are parsed once and strictly: what cannot be used is refused by name, not guessed at."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from mediasrv.errors import SettingsError
from mediasrv.settings import (
    CameraEntry,
    Settings,
    load_cameras,
    load_settings,
    parse_fingerprint,
    parse_settings,
    read_secret,
)


def test_a_file_changes_only_what_it_names(tmp_path: Path) -> None:
    path = tmp_path / "mediasrv.toml"
    path.write_text('[server]\nport = 9000\nroles = ["record", "web"]\n')
    settings = load_settings(path)
    assert settings.server == dataclasses.replace(Settings().server, port=9000, roles=("record", "web"))
    assert settings.storage == Settings().storage


def test_a_whole_number_does_for_a_setting_in_seconds() -> None:
    parsed = parse_settings({"pull": {"connect_timeout_s": 3}}).pull.connect_timeout_s
    assert parsed == 3.0
    assert isinstance(parsed, float)


@pytest.mark.parametrize(
    ("document", "named"),
    [
        ({"servr": {}}, "servr"),
        ({"server": {"prot": 1}}, "server.prot"),
        ({"server": 1}, "server must be a table"),
        ({"server": {"port": "8080"}}, "server.port"),
        ({"server": {"port": True}}, "server.port"),
        ({"server": {"port": -1}}, "server.port"),
        ({"server": {"roles": "web"}}, "server.roles"),
        ({"server": {"roles": [1]}}, "server.roles"),
        ({"server": {"cell": "_access_log"}}, "server.cell"),
        ({"server": {"node_name": "a/b"}}, "server.node_name"),
        ({"server": {"frame_ancestors": ["https://a.example; script-src *"]}}, "server.frame_ancestors"),
        ({"security": {"head_interval_s": 0}}, "head_interval_s"),
        ({"server": {"roles": ["unseal", "cook"]}}, "cook"),
        ({"server": {"roles": ["unseal"]}}, "server.roles must hold record, web or both"),
        ({"server": {"roles": []}}, "server.roles must hold record, web or both"),
        ({"server": {"roles": ["record", "unseal"]}}, "unseal needs web"),
        ({"sealing": {"identities": ["/etc/place.key"]}}, "sealing.identities takes references"),
        ({"sealing": {"identities": ["file:"]}}, "sealing.identities takes references"),
        ({"sealing": {"identities": ["command:fetch 'place"]}}, "a quote that does not end"),
        ({"sealing": {"node_key": "vault:x"}}, "sealing.node_key takes references"),
        ({"sealing": {"identity_timeout_s": 0.0}}, "sealing.identity_timeout_s"),
        ({"sealing": {"key_cache_keys": 0}}, "sealing.key_cache_keys"),
        ({"sealing": {"key_cache_s": 3601}}, "sealing.key_cache_s"),
        ({"security": {"cookie_secure": 1}}, "security.cookie_secure"),
        ({"recording": {"part_s": 0.6}}, "recording.part_s"),
        ({"recording": {"object_s": 1}}, "recording.object_s"),
        ({"spool": {"sync_interval_s": 0.4}}, "spool.sync_interval_s"),
        ({"storage": {"key_bucket": "mediasrv-footage"}}, "storage.key_bucket"),
        ({"pull": {"allowed_networks": ["10.0.0.0/33"]}}, "10.0.0.0/33"),
        ({"server": {"allowed_origins": ["wall.example.org"]}}, "server.allowed_origins"),
        ({"server": {"allowed_origins": ["https://wall.example.org/"]}}, "server.allowed_origins"),
        ({"spool": {"disk_share": 1.1}}, "spool.disk_share"),
        ({"spool": {"alarm_share": 0}}, "spool.alarm_share"),
        ({"recording": {"attestation": "asked"}}, "recording.attestation"),
        ({"recording": {"audio_off_places": ["a", "b"], "audio_on_places": ["b"]}}, "both name b"),
        ({"webrtc": {"host": "media.example.org"}}, "webrtc.host"),
        ({"webrtc": {"host": ["127.0.0.1", 1]}}, "webrtc.host"),
        ({"webrtc": {"host": []}}, "webrtc.host"),
        ({"webrtc": {"host": 1}}, "webrtc.host"),
        ({"webrtc": {"transports": ["sctp"]}}, "webrtc.transports"),
        ({"webrtc": {"transports": []}}, "webrtc.transports"),
        ({"webrtc": {"handshakes": 0}}, "webrtc.handshakes"),
        ({"webrtc": {"stun": ["stun.example.org"]}}, "webrtc.stun"),
        ({"webrtc": {"stun": ["turn:turn.example.org"]}}, "webrtc.stun"),
        ({"webrtc": {"turn": ["turn:turn.example.org"]}}, "webrtc.turn_secret"),
        ({"webrtc": {"turn": ['turn:a>; rel="x"'], "turn_secret": "env:X"}}, "webrtc.turn"),
        ({"webrtc": {"turn_secret": "env:X"}}, "webrtc.turn"),
        ({"storage": {"object_lock": "on", "lock_days": 1}}, "storage.object_lock"),
        ({"storage": {"object_lock": "governance"}}, "storage.lock_days"),
        ({"storage": {"lock_days": 3}}, "storage.lock_days"),
        (
            {"storage": {"object_lock": "compliance", "lock_days": 3}, "retention": {"max_size_bytes": 5}},
            "retention.max_size_bytes",
        ),
        ({"retention": {"batch": 0}}, "retention.batch"),
        ({"retention": {"event_after_s": 3601}}, "retention.event_after_s"),
    ],
)
def test_what_cannot_be_used_is_refused_by_name(document: dict[str, Any], named: str) -> None:
    with pytest.raises(SettingsError) as refused:
        parse_settings(document)
    assert named in refused.value.sentence


@pytest.mark.parametrize("name", ["access_key", "secret_key"])
def test_a_plain_secret_is_refused_and_not_repeated(name: str) -> None:
    with pytest.raises(SettingsError) as refused:
        parse_settings({"storage": {name: "hunter2"}})
    assert refused.value.code == "settings_secret_plain"
    assert "hunter2" not in refused.value.sentence


def test_a_plain_turn_secret_is_refused_and_not_repeated() -> None:
    with pytest.raises(SettingsError) as refused:
        parse_settings({"webrtc": {"turn": ["turn:turn.example.org"], "turn_secret": "hunter2"}})
    assert refused.value.code == "settings_secret_plain"
    assert "hunter2" not in refused.value.sentence


@pytest.mark.parametrize(
    "catalogue",
    [
        {"url": "postgresql://mediasrv:hunter2@db/mediasrv"},
        {"url": "postgresql+pg8000://mediasrv@db/mediasrv?password=hunter2"},
        {"url": "postgresql://mediasrv@db/mediasrv", "password": "hunter2"},
    ],
)
def test_a_plain_password_of_the_database_is_refused_and_not_repeated(catalogue: dict[str, str]) -> None:
    with pytest.raises(SettingsError) as refused:
        parse_settings({"catalogue": catalogue})
    assert refused.value.code == "settings_secret_plain"
    assert "hunter2" not in refused.value.sentence


@pytest.mark.parametrize("url", ["mysql://db/mediasrv", "postgresql+psycopg://db/mediasrv", "catalogue.db"])
def test_a_database_that_is_not_known_is_refused(url: str) -> None:
    with pytest.raises(SettingsError, match=r"catalogue\.url must begin with"):
        parse_settings({"catalogue": {"url": url}})


@pytest.mark.parametrize("url", ["", "sqlite:///a.db", "postgresql://a@db:5432/m", "postgresql+pg8000://a@[::1]:1/m"])
def test_databases_that_are_known(url: str) -> None:
    assert parse_settings({"catalogue": {"url": url}}).catalogue.url == url


@pytest.mark.parametrize("host", ["::", ["192.0.2.1", "2001:db8::1"]])
def test_webrtc_is_bound_to_one_address_or_to_several(host: str | list[str]) -> None:
    bound = parse_settings({"webrtc": {"host": host}}).webrtc.hosts
    assert bound == ((host,) if isinstance(host, str) else tuple(host))


def test_a_missing_file_is_said_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no configuration file"):
        load_settings(tmp_path / "absent.toml")


@pytest.mark.parametrize("content", [b"[server", b"\xff\xfe"])
def test_a_file_that_is_no_toml_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "mediasrv.toml"
    path.write_bytes(content)
    with pytest.raises(SettingsError, match="not valid TOML"):
        load_settings(path)


def test_a_secret_is_read_from_the_environment() -> None:
    assert read_secret("env:KEY", {"KEY": "s3cr3t"}) == "s3cr3t"


def test_a_secret_file_loses_its_line_end(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("s3cr3t\n")
    assert read_secret(f"file:{tmp_path / 'key'}") == "s3cr3t"


@pytest.mark.parametrize("reference", ["env:ABSENT", "file:/nonexistent/secret"])
def test_a_secret_that_is_not_there_is_named(reference: str) -> None:
    with pytest.raises(SettingsError, match=reference.partition(":")[2]):
        read_secret(reference, {})


def test_a_secret_in_plain_is_refused_and_not_repeated() -> None:
    with pytest.raises(SettingsError) as refused:
        read_secret("hunter2")
    assert "hunter2" not in refused.value.sentence


def _cameras(tmp_path: Path, content: str) -> tuple[CameraEntry, ...]:
    path = tmp_path / "cameras.toml"
    path.write_text(content)
    return load_cameras(path)


def test_a_camera_needs_only_an_id_and_an_address(tmp_path: Path) -> None:
    assert _cameras(tmp_path, '[[camera]]\nid = "a"\naddress = "10.0.0.1"\n') == (CameraEntry("a", "10.0.0.1"),)


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ('[[camera]]\nid = "a"\n', "camera 1"),
        ('[[camera]]\nid = "a"\naddress = "b"\nport = 1\n', "port"),
        ('[[camera]]\nid = "a"\naddress = "b"\n[[camera]]\nid = "a"\naddress = "c"\n', "twice"),
        ('camera = "a"\n', "tables only"),
        ("[server]\n", "tables only"),
        ("[[camera]\n", "not valid TOML"),
        ('[[camera]]\nid = "a"\naddress = "b"\nrecord_stream = "third"\n', "main, sub or both"),
        ('[[camera]]\nid = "a"\naddress = "b"\ngrid_stream = "both"\n', "main or sub"),
        ('[[camera]]\nid = "a"\naddress = "rtsp://b/1"\nrecord_stream = "both"\n', "no sub_address"),
        ('[[camera]]\nid = "a"\naddress = "b"\nrecording = {mode = "always"}\n', "camera 1: recording.mode"),
        ('[[camera]]\nid = "a"\naddress = "b"\nrecording = "off"\n', "camera 1: recording must be a table"),
        ('[[camera]]\nid = "a"\naddress = "rtsp://b/1"\nrecording = {mode = "event"}\n', "ONVIF camera"),
        ('[[camera]]\nid = "a"\naddress = "b"\nrecord_audio = "yes"\n', "policy, on or off"),
        ('[[camera]]\nid = "a"\naddress = "rtsps://b/1"\ngrid_stream = "sub"\n', "no sub_address"),
    ],
)
def test_a_cameras_file_that_cannot_be_used_is_refused_by_name(tmp_path: Path, content: str, named: str) -> None:
    with pytest.raises(SettingsError) as refused:
        _cameras(tmp_path, content)
    assert named in refused.value.sentence


def test_a_camera_with_a_plain_password_is_refused_and_the_password_not_repeated(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as refused:
        _cameras(tmp_path, '[[camera]]\nid = "a"\naddress = "b"\npassword = "hunter2"\n')
    assert refused.value.code == "settings_secret_plain"
    assert "hunter2" not in refused.value.sentence


def test_a_cameras_file_that_is_not_there_is_said_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read"):
        load_cameras(tmp_path / "absent.toml")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("transport", "sctp"),
        ("udp_first_port", 20_000),
        ("reorder_wait_s", 2.0),
        ("reorder_packets", 0),
        ("handshakes", 0),
        ("handshakes_per_host", 0),
    ],
)
def test_how_cameras_are_pulled_has_bounds(name: str, value: object) -> None:
    with pytest.raises(SettingsError, match=r"pull\."):
        parse_settings({"pull": {name: value}})


def test_fingerprints_are_taken_in_the_forms_that_people_paste() -> None:
    digits = "0123456789abcdef" * 4
    pasted = ":".join(digits[at : at + 2] for at in range(0, 64, 2)).upper()
    assert parse_fingerprint(pasted) == parse_fingerprint(f"SHA256: {digits}") == digits
    for wrong in ("", "12:34", digits + "0", "g" * 64):
        with pytest.raises(SettingsError):
            parse_fingerprint(wrong)
