"""Bits of parameter sets, and the codes that H.264 and H.265 write them in (7.2 and 9.1 or 9.2 of either)."""

from __future__ import annotations

from mediasrv.errors import ProtocolError


def bad_sps() -> ProtocolError:
    return ProtocolError("The sequence parameter set makes no sense.", code="sps_invalid")


class Bits:
    """A bit string read from its front. Reading past the end or out of range is a ProtocolError."""

    __slots__ = ("_left", "_value")

    def __init__(self, data: bytes) -> None:
        self._value = int.from_bytes(data, "big")
        self._left = len(data) * 8

    def u(self, count: int) -> int:
        self._left -= count
        if self._left < 0:
            raise bad_sps()
        return (self._value >> self._left) & ((1 << count) - 1)

    def ue(self, most: int = 0xFFFF_FFFE) -> int:
        zeros = 0
        while not self.u(1):
            zeros += 1
            if zeros > 32:
                raise bad_sps()
        value = (1 << zeros) - 1 + self.u(zeros)
        if value > most:
            raise bad_sps()
        return value

    def se(self) -> int:
        code = self.ue()
        return (code + 1) // 2 if code & 1 else -(code // 2)
