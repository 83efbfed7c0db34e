"""What a viewer can decode, in the one text form that CONNECT and the abilities message share.

``avc1:3840x2160@60,av01,vp09.02:1920x1080@30,opus``: a name, and the largest picture and rate if there
is a limit. A bare family means 8-bit 4:2:0; further profiles have names of their own (RFC 6381,
"Codecs Parameter String" of AV1 section 5, VP Codec ISO Media File Format Binding). Imports media
and errors only.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from wtgateway.errors import ProtocolError
from wtgateway.media import Rendition
from wtgateway.protocol.codes import CloseCode

MAX_ENTRIES = 32
MAX_CHARACTERS = 512
_ENTRY = re.compile(
    r"(?P<name>[a-z0-9]{2,8}(?:\.[A-Za-z0-9]{1,8}){0,2})"
    r"(?::(?P<width>\d{1,5})x(?P<height>\d{1,5})@(?P<fps>\d{1,3}))?"
)
# H.264 profiles that every decoder takes: Baseline, Main, Extended, High (ITU-T H.264 annex A).
_PLAIN_AVC = frozenset(("42", "4D", "58", "64"))
_FAMILIES = {"avc3": "avc1", "hev1": "hvc1"}  # the same coding; parameter sets elsewhere


@dataclass(frozen=True, slots=True)
class Limit:
    """The largest picture of a codec: pixels of area, and rate; 0 is no limit."""

    pixels: int = 0
    fps: int = 0

    def admits(self, rendition: Rendition) -> bool:
        """Whether pictures of that size and rate are within it."""
        if self.pixels and rendition.width * rendition.height > self.pixels:
            return False
        return not self.fps or rendition.fps <= self.fps + 1  # 59.94 and 60 are told apart by nobody


@dataclass(frozen=True, slots=True)
class Abilities:
    """The codecs of one viewer, by ability_name. None: it decodes whatever there is.

    ``text`` is how the viewer said so.
    """

    codecs: tuple[tuple[str, Limit], ...] | None
    text: str = field(default="", compare=False)

    def can_decode(self, rendition: Rendition) -> bool:
        """Whether the viewer may be sent that rendition."""
        if self.codecs is None:
            return True
        name = ability_name(rendition.codec)
        return any(name == known and limit.admits(rendition) for known, limit in self.codecs)


EVERYTHING = Abilities(None, "all")
# Of a viewer that has not said yet: every browser with WebCodecs takes these.
ASSUMED = Abilities((("avc1", Limit()), ("opus", Limit())), "avc1,opus")


def ability_name(codec: str) -> str:
    """The name under which a viewer offers a WebCodecs codec string.

    >>> ability_name("avc1.64001F"), ability_name("vp09.02.10.10"), ability_name("av01.0.04M.10")
    ('avc1', 'vp09.02', 'av01.0.10')
    """
    family, *fields = codec.split(".")
    family = _FAMILIES.get(family, family)
    if family == "avc1" and fields:
        profile = fields[0][:2].upper()
        return family if profile in _PLAIN_AVC else f"{family}.{profile}"
    if family == "hvc1" and fields:
        profile = fields[0].lstrip("ABC")
        return family if profile in ("1", "3") else f"{family}.{profile}"
    if family == "av01" and len(fields) >= 3:
        return family if (fields[0], fields[2]) == ("0", "08") else f"{family}.{fields[0]}.{fields[2]}"
    if family == "mp4a" and fields:  # AAC-LC
        return family if fields == ["40", "2"] else codec
    if family == "vp09" and fields:
        return family if fields[0] == "00" else f"{family}.{fields[0]}"
    return family


def parse_abilities(text: str) -> Abilities:
    """Raises ProtocolError (MALFORMED). ``all`` stands for a viewer that decodes whatever there is."""
    if text == "all":
        return EVERYTHING
    if len(text) > MAX_CHARACTERS:
        raise _malformed(f"abilities of {len(text)} characters are over {MAX_CHARACTERS}")
    entries = text.split(",") if text else []
    if len(entries) > MAX_ENTRIES:
        raise _malformed(f"{len(entries)} abilities are over {MAX_ENTRIES}")
    codecs: dict[str, Limit] = {}
    for entry in entries:
        found = _ENTRY.fullmatch(entry)
        if found is None:
            raise _malformed(f"{entry[:40]!r} is no codec such as av01 or avc1:1920x1080@60")
        width, height, fps = (int(found[part] or 0) for part in ("width", "height", "fps"))
        codecs[found["name"]] = Limit(width * height, fps)
    return Abilities(tuple(codecs.items()), text)


def _malformed(message: str) -> ProtocolError:
    return ProtocolError(CloseCode.MALFORMED, message)
