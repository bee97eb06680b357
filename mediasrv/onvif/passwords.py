"""Cameras that anybody can enter: without a password, or by one that comes from the factory.

What was typed is compared with a list; that costs nothing. Whether a camera answers without any password is one
request, and no failed login. Factory passwords are tried only where `default_password_tries` says so: at most two,
once a day and camera, each in one request, since some cameras lock an account at the third failure.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

from mediasrv.clock import Clock
from mediasrv.errors import CameraError
from mediasrv.onvif.requests import Login
from mediasrv.onvif.session import DeviceSession
from mediasrv.settings import OnvifSettings

PASSWORD_EMPTY: Final = "password_empty"  # noqa: S105 - a reason code
PASSWORD_DEFAULT: Final = "password_default"  # noqa: S105 - a reason code
_OF_MAKERS: Final[dict[str, tuple[tuple[str, str], ...]]] = {
    # From the makers' own manuals. The two likeliest of each come first: no more than two are ever tried.
    "axis": (("root", "pass"), ("root", "root")),
    "acti": (("admin", "123456"), ("Admin", "123456")),
    "avigilon": (("admin", "admin"),),
    "bosch": (("service", "service"), ("live", "live")),
    "dahua": (("admin", "admin"), ("888888", "888888"), ("666666", "666666")),
    "foscam": (("admin", ""),),
    "hanwha": (("admin", "4321"), ("admin", "1111111")),
    "hikvision": (("admin", "12345"),),
    "honeywell": (("admin", "1234"), ("administrator", "1234")),
    "mobotix": (("admin", "meinsm"),),
    "panasonic": (("admin", "12345"), ("admin1", "password")),
    "pelco": (("admin", "admin"),),
    "reolink": (("admin", ""),),
    "samsung": (("admin", "4321"), ("admin", "1111111")),
    "sony": (("admin", "admin"),),
    "tp-link": (("admin", "admin"),),
    "uniview": (("admin", "123456"), ("admin", "admin")),
    "vivotek": (("root", ""),),
}
_OF_ANY: Final = (("admin", "admin"), ("admin", "12345"))
_COMMON: Final = frozenset(
    {"", "0000", "1111", "1234", "12345", "123456", "1234567", "12345678", "123456789", "888888", "666666", "admin",
     "admin123", "admin1234", "administrator", "pass", "password", "root", "system", "user", "default"}
)  # fmt: skip
_DAY_S: Final = 86_400.0
_MOST_REMEMBERED: Final = 10_000


def weak_login(login: Login) -> str:
    """The reason code of a login that anybody could guess; empty where it is none of those."""
    if not login.password:
        return PASSWORD_EMPTY
    known = {pair for pairs in _OF_MAKERS.values() for pair in pairs}
    guessable = login.password.lower() in _COMMON | {login.username.lower()}
    return PASSWORD_DEFAULT if guessable or (login.username, login.password) in known else ""


def factory_logins(maker: str) -> Sequence[Login]:
    """The likeliest logins of a camera of this make as it leaves the factory."""
    named = next((pairs for name, pairs in _OF_MAKERS.items() if name in maker.lower()), _OF_ANY)
    return [Login(*pair) for pair in named]


async def find_weak_passwords(
    session: DeviceSession, maker: str, settings: OnvifSettings, clock: Clock
) -> tuple[str, ...]:
    """Reason codes, each once, of a camera that was just read. Takes one request's time at most; what a camera that
    breaks off meanwhile would have told is not known.
    """
    if settings.default_passwords == "off":
        return ()
    found = [weak_login(session.login)]
    with contextlib.suppress(CameraError, TimeoutError):
        async with asyncio.timeout(settings.timeout_s):
            if session.login and await session.admits(Login()):
                found.append(PASSWORD_EMPTY)
            elif settings.default_password_tries and _may_try(session.url, clock.monotonic()):
                found.append(await _factory_login(session, maker, settings.default_password_tries))
    return tuple(dict.fromkeys(code for code in found if code))


async def _factory_login(session: DeviceSession, maker: str, tries: int) -> str:
    for login in [one for one in factory_logins(maker) if one != session.login][:tries]:
        if await session.admits(login):
            return PASSWORD_DEFAULT
    return ""


_tried: Final[OrderedDict[str, float]] = OrderedDict()
"""Until when (monotonic) nothing is tried on which device; of this process, whoever asks."""


def _may_try(url: str, now: float) -> bool:
    if now < _tried.get(url, 0.0):
        return False
    _tried[url] = now + _DAY_S
    _tried.move_to_end(url)
    while len(_tried) > _MOST_REMEMBERED:
        _tried.popitem(last=False)
    return True
