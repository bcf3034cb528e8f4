"""Measured light levels in the coded stream itself: HEVC SEI messages and AV1 metadata OBUs.

Encoders want MaxCLL and MaxFALL before the first frame, when nobody knows them. They write placeholders of the same
size, which are replaced here while the packets are copied. Sources: Rec. ITU-T H.265 annex D (SEI payload 144), AV1
bitstream specification 5.8.3 (metadata_hdr_cll).
"""

from __future__ import annotations

import struct

_PREFIX_SEI = 39
_CONTENT_LIGHT_LEVEL = 144
_OBU_METADATA = 5
_METADATA_HDR_CLL = 1


def patch_hevc_packet(packet: bytes, max_cll: int, max_fall: int) -> bytes:
    """A packet of 4-byte length-prefixed NAL units with the levels of every SEI message 144 replaced."""
    patched, position = bytearray(), 0
    while position + 4 <= len(packet):
        unit, position = _patch_unit(packet, position, 4, max_cll, max_fall)
        patched += unit
    return bytes(patched)


def patch_hevc_extradata(extradata: bytes, max_cll: int, max_fall: int) -> bytes:
    """An HEVCDecoderConfigurationRecord (ISO/IEC 14496-15) with the levels of its SEI arrays replaced."""
    patched, position = bytearray(extradata[:23]), 23
    for _ in range(extradata[22]):
        patched += extradata[position : position + 3]
        count = int.from_bytes(extradata[position + 1 : position + 3], "big")
        position += 3
        for _ in range(count):
            unit, position = _patch_unit(extradata, position, 2, max_cll, max_fall)
            patched += unit
    return bytes(patched)


def _patch_unit(stream: bytes, position: int, prefix: int, max_cll: int, max_fall: int) -> tuple[bytes, int]:
    """The NAL unit at `position`, patched, behind its length in `prefix` bytes; and where the next one is."""
    begin = position + prefix
    end = begin + int.from_bytes(stream[position:begin], "big")
    nal = _patch_nal(stream[begin:end], max_cll, max_fall)
    return len(nal).to_bytes(prefix, "big") + nal, end


def _patch_nal(nal: bytes, max_cll: int, max_fall: int) -> bytes:
    if len(nal) < 3 or (nal[0] >> 1) & 63 != _PREFIX_SEI:
        return nal
    payload, position = bytearray(_unescaped(nal[2:])), 0
    while position + 2 < len(payload):
        kind, position = _sei_number(payload, position)
        size, position = _sei_number(payload, position)
        if kind == _CONTENT_LIGHT_LEVEL and size == 4:
            payload[position : position + 4] = struct.pack(">HH", max_cll, max_fall)
        position += size
    return nal[:2] + _escaped(bytes(payload))


def _sei_number(payload: bytearray, position: int) -> tuple[int, int]:
    number = 0
    while payload[position] == 255:
        number, position = number + 255, position + 1
    return number + payload[position], position + 1


def _unescaped(payload: bytes) -> bytes:
    """Without the emulation prevention bytes of H.265 7.4.2."""
    out, zeros = bytearray(), 0
    for byte in payload:
        if zeros >= 2 and byte == 3:
            zeros = 0
            continue
        out.append(byte)
        zeros = zeros + 1 if byte == 0 else 0
    return bytes(out)


def _escaped(payload: bytes) -> bytes:
    out, zeros = bytearray(), 0
    for byte in payload:
        if zeros >= 2 and byte <= 3:
            out.append(3)
            zeros = 0
        out.append(byte)
        zeros = zeros + 1 if byte == 0 else 0
    return bytes(out)


def patch_av1_packet(packet: bytes, max_cll: int, max_fall: int) -> bytes:
    """A temporal unit of OBUs with size fields, with the levels of every metadata_hdr_cll replaced."""
    patched, position = bytearray(packet), 0
    while position < len(packet):
        header = packet[position]
        kind, has_extension, has_size = (header >> 3) & 15, header & 4, header & 2
        position += 2 if has_extension else 1
        if not has_size:
            break
        size, position = _leb128(packet, position)
        if kind == _OBU_METADATA:
            metadata, payload = _leb128(packet, position)
            if metadata == _METADATA_HDR_CLL:
                patched[payload : payload + 4] = struct.pack(">HH", max_cll, max_fall)
        position += size
    return bytes(patched)


def _leb128(packet: bytes, position: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        byte = packet[position]
        number |= (byte & 127) << shift
        position, shift = position + 1, shift + 7
        if not byte & 128:
            return number, position
