"""The PTZ service (ONVIF PTZ, ver20): moves, presets and where it looks."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final
from xml.sax.saxutils import escape

from load_tests.camera_farm.events import utc_text
from load_tests.camera_farm.onvif.face import OnvifCamera
from load_tests.camera_farm.onvif.media import PTZ_CONFIGURATION
from load_tests.camera_farm.onvif.soap import NAMESPACES, Call, Handler, SoapFault, duration_s
from load_tests.camera_farm.ptz import AXES, Position

_LONGEST_MOVE_S: Final = 10.0
_MOST_PRESETS: Final = 100
_SPACES: Final = "http://www.onvif.org/ver10/tptz"
_POSITION: Final = f"{_SPACES}/PanTiltSpaces/PositionGenericSpace"
_ATTRIBUTES: Final = {"pan": ("PanTilt", "x"), "tilt": ("PanTilt", "y"), "zoom": ("Zoom", "x")}


class PtzService:
    name, namespace, path = "ptz", NAMESPACES["tptz"], "/onvif/ptz_service"

    def __init__(self, camera: OnvifCamera) -> None:
        self._camera, self._head = camera, camera.ptz
        self.operations: Mapping[str, Handler] = {
            "GetServiceCapabilities": self._capabilities,
            "GetNodes": self._nodes,
            "GetConfigurations": self._configurations,
            "GetStatus": self._status,
            "ContinuousMove": self._continuous_move,
            "RelativeMove": self._relative_move,
            "AbsoluteMove": self._absolute_move,
            "Stop": self._stop,
            "GetPresets": self._presets,
            "SetPreset": self._set_preset,
            "GotoPreset": self._goto_preset,
            "RemovePreset": self._remove_preset,
        }

    def _capabilities(self, _call: Call) -> str:
        inner = '<tptz:Capabilities MoveStatus="true" StatusPosition="true"/>'
        return f"<tptz:GetServiceCapabilitiesResponse>{inner}</tptz:GetServiceCapabilitiesResponse>"

    def _nodes(self, _call: Call) -> str:
        node = (
            '<tptz:PTZNode token="ptz-node"><tt:Name>ptz</tt:Name>'
            f"<tt:SupportedPTZSpaces>{_spaces()}</tt:SupportedPTZSpaces>"
            f"<tt:MaximumNumberOfPresets>{_MOST_PRESETS}</tt:MaximumNumberOfPresets><tt:HomeSupported>false</tt:HomeSupported>"
            "</tptz:PTZNode>"
        )
        return f"<tptz:GetNodesResponse>{node}</tptz:GetNodesResponse>"

    def _configurations(self, _call: Call) -> str:
        one = f'<tptz:PTZConfiguration token="ptz">{PTZ_CONFIGURATION}</tptz:PTZConfiguration>'
        return f"<tptz:GetConfigurationsResponse>{one}</tptz:GetConfigurationsResponse>"

    def _status(self, call: Call) -> str:
        self._check_profile(call)
        now = asyncio.get_running_loop().time()
        moving = self._head.moving(now)
        pan_tilt = "MOVING" if moving["pan"] or moving["tilt"] else "IDLE"
        zoom = "MOVING" if moving["zoom"] else "IDLE"
        status = (
            f"<tt:Position>{_vector(self._head.position(now))}</tt:Position>"
            f"<tt:MoveStatus><tt:PanTilt>{pan_tilt}</tt:PanTilt><tt:Zoom>{zoom}</tt:Zoom></tt:MoveStatus>"
            f"<tt:UtcTime>{utc_text(self._camera.now())}</tt:UtcTime>"
        )
        return f"<tptz:GetStatusResponse><tptz:PTZStatus>{status}</tptz:PTZStatus></tptz:GetStatusResponse>"

    def _continuous_move(self, call: Call) -> str:
        self._check_profile(call)
        timeout_s = min(duration_s(call.text("Timeout"), _LONGEST_MOVE_S), _LONGEST_MOVE_S)
        self._head.continuous(_position(call, "Velocity"), timeout_s, asyncio.get_running_loop().time())
        return "<tptz:ContinuousMoveResponse/>"

    def _relative_move(self, call: Call) -> str:
        self._check_profile(call)
        way, speed = _position(call, "Translation"), _position(call, "Speed")
        self._head.relative(way, speed, asyncio.get_running_loop().time())
        return "<tptz:RelativeMoveResponse/>"

    def _absolute_move(self, call: Call) -> str:
        self._check_profile(call)
        position, speed = _position(call, "Position"), _position(call, "Speed")
        if any(not AXES[axis][0] <= value <= AXES[axis][1] for axis, value in position.items()):
            raise SoapFault(400, "ter:InvalidPosition", "The requested position is out of bounds.")
        self._head.absolute(position, speed, asyncio.get_running_loop().time())
        return "<tptz:AbsoluteMoveResponse/>"

    def _stop(self, call: Call) -> str:
        """Both where neither is named (ONVIF PTZ, 5.3.5)."""
        self._check_profile(call)
        axes = {axis for axis, (kind, _) in _ATTRIBUTES.items() if call.text(kind) != "false"}
        self._head.stop(axes, asyncio.get_running_loop().time())
        return "<tptz:StopResponse/>"

    def _presets(self, call: Call) -> str:
        self._check_profile(call)
        presets = "".join(
            f'<tptz:Preset token="{escape(token)}"><tt:Name>{escape(name)}</tt:Name>'
            f"<tt:PTZPosition>{_vector(position)}</tt:PTZPosition></tptz:Preset>"
            for token, (name, position) in self._head.presets.items()
        )
        return f"<tptz:GetPresetsResponse>{presets}</tptz:GetPresetsResponse>"

    def _set_preset(self, call: Call) -> str:
        self._check_profile(call)
        token = call.text("PresetToken")
        if token and token not in self._head.presets:
            raise SoapFault(400, "ter:NoToken", "The requested preset token does not exist.")
        if not token and len(self._head.presets) >= _MOST_PRESETS:
            raise SoapFault(400, "ter:TooManyPresets", "Maximum number of presets reached.")
        token = self._head.set_preset(token, call.text("PresetName"), asyncio.get_running_loop().time())
        return f"<tptz:SetPresetResponse><tptz:PresetToken>{token}</tptz:PresetToken></tptz:SetPresetResponse>"

    def _goto_preset(self, call: Call) -> str:
        self._check_profile(call)
        _, position = self._head.presets[self._preset_of(call)]
        self._head.absolute(position, _position(call, "Speed"), asyncio.get_running_loop().time())
        return "<tptz:GotoPresetResponse/>"

    def _remove_preset(self, call: Call) -> str:
        self._check_profile(call)
        del self._head.presets[self._preset_of(call)]
        return "<tptz:RemovePresetResponse/>"

    def _preset_of(self, call: Call) -> str:
        token = call.text("PresetToken")
        if token not in self._head.presets:
            raise SoapFault(400, "ter:NoToken", "The requested preset token does not exist.")
        return token

    def _check_profile(self, call: Call) -> None:
        if call.text("ProfileToken").removeprefix("profile-") not in self._camera.streams:
            raise SoapFault(400, "ter:NoProfile", "The requested profile token does not exist.")


def _position(call: Call, name: str) -> Position:
    """A vector of the request; axes that it does not name are left out."""
    found: Position = {}
    for axis, (kind, attribute) in _ATTRIBUTES.items():
        element = call.find(name, kind)
        text = element.get(attribute) if element is not None else None
        try:
            if text is not None:
                found[axis] = float(text)
        except ValueError as error:
            raise SoapFault(400, "ter:InvalidArgVal", f"{text} is no number.") from error
    return found


def _spaces() -> str:
    """The generic spaces in which it is moved (ONVIF PTZ, 5.8)."""
    kinds = (("Absolute", "Position"), ("Relative", "Translation"), ("Continuous", "Velocity"))
    signed, shares = "<tt:Min>-1</tt:Min><tt:Max>1</tt:Max>", "<tt:Min>0</tt:Min><tt:Max>1</tt:Max>"
    found = []
    for move, space in kinds:
        zoom = shares if move == "Absolute" else signed
        found.append(
            f"<tt:{move}PanTilt{space}Space><tt:URI>{_SPACES}/PanTiltSpaces/{space}GenericSpace</tt:URI>"
            f"<tt:XRange>{signed}</tt:XRange><tt:YRange>{signed}</tt:YRange></tt:{move}PanTilt{space}Space>"
            f"<tt:{move}Zoom{space}Space><tt:URI>{_SPACES}/ZoomSpaces/{space}GenericSpace</tt:URI>"
            f"<tt:XRange>{zoom}</tt:XRange></tt:{move}Zoom{space}Space>"
        )
    return "".join(found)


def _vector(position: Position) -> str:
    return (
        f'<tt:PanTilt x="{position["pan"]:.4f}" y="{position["tilt"]:.4f}" space="{_POSITION}"/>'
        f'<tt:Zoom x="{position["zoom"]:.4f}"/>'
    )
