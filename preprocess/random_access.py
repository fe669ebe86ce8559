"""Which packets decoding may start from, and which it may leave out, without any other picture coming out differently."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from av.packet import Packet

_KEYFRAME_IS_ENOUGH = frozenset({"vp8", "vp9", "av1", "libdav1d", "libvpx-vp9", "mpeg1video", "mpeg2video", "mpeg4"})
"""Codecs whose key frame resets every reference: pictures shown at or after it cannot depend on what came before.
Containers mark H.264 recovery points as key frames, too, which promise less; so H.264 and H.265 are looked into."""

_H264_IDR = 5
_H264_SLICES = (1, 2, 3, 4, 5)
_HEVC_IRAP = frozenset(range(16, 22))  # BLA, IDR and CRA: ITU-T H.265, table 7-1


def is_random_access(codec: str, packet: "Packet[Any]", extradata: bytes | None) -> bool:
    """Whether the packet is such a point by its codec's standard; False wherever that is not known."""
    if not packet.is_keyframe or packet.is_corrupt:
        return False
    if codec in _KEYFRAME_IS_ENOUGH:
        return True
    if codec == "h264":
        return any(header & 0x1F == _H264_IDR for header in _nal_headers(bytes(packet), _length_size(extradata, 4)))
    if codec == "hevc":
        return any((header >> 1) & 0x3F in _HEVC_IRAP for header in _nal_headers(bytes(packet), _length_size(extradata, 21)))
    return False


def is_disposable(codec: str, packet: "Packet[Any]", extradata: bytes | None) -> bool:
    """Whether no other picture refers to this one, so that it need not be decoded unless it is wanted itself.

    Told for H.264 only, by nal_ref_idc (ITU-T H.264, 7.4.1): half of an ordinary file's B pictures.
    """
    if codec != "h264" or packet.is_keyframe or packet.is_corrupt:
        return False
    slices = [header for header in _nal_headers(bytes(packet), _length_size(extradata, 4)) if header & 0x1F in _H264_SLICES]
    return bool(slices) and all(header & 0x60 == 0 for header in slices)


def _length_size(extradata: bytes | None, at: int) -> int | None:
    """Bytes of a NAL unit's length prefix by the avcC or hvcC record; None: start codes (Annex B)."""
    if not extradata or len(extradata) <= at or extradata[0] != 1:
        return None
    return (extradata[at] & 3) + 1


def _nal_headers(data: bytes, length_size: int | None) -> list[int]:
    """First byte of each NAL unit of an access unit."""
    headers = []
    if length_size is None:
        at = data.find(b"\0\0\1")
        while 0 <= at < len(data) - 3:
            headers.append(data[at + 3])
            at = data.find(b"\0\0\1", at + 3)
        return headers
    at = 0
    while at + length_size < len(data):
        size = int.from_bytes(data[at : at + length_size], "big")
        headers.append(data[at + length_size])
        at += length_size + size
    return headers
