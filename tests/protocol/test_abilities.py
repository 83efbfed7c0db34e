"""What viewers say they decode: names, limits, and words for what is none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wtgateway.errors import ProtocolError
from wtgateway.media import Rendition
from wtgateway.protocol.abilities import (
    ASSUMED,
    EVERYTHING,
    MAX_CHARACTERS,
    MAX_ENTRIES,
    ability_name,
    parse_abilities,
)
from wtgateway.protocol.codes import CloseCode


def rendition(codec: str, width: int = 1280, height: int = 720, fps: float = 30) -> Rendition:
    return Rendition(id=0, codec=codec, width=width, height=height, fps=fps)


@pytest.mark.parametrize(
    ("codec", "name"),
    [
        ("avc1.42C01F", "avc1"),
        ("avc1.64001f", "avc1"),
        ("avc3.4D401E", "avc1"),
        ("avc1.6E0028", "avc1.6E"),
        ("avc1.7A0028", "avc1.7A"),
        ("avc1.F4001F", "avc1.F4"),
        ("hvc1.1.6.L93.90", "hvc1"),
        ("hev1.1.6.L93.B0", "hvc1"),
        ("hvc1.2.4.L120.90", "hvc1.2"),
        ("hvc1.4.10.L93.9E.8", "hvc1.4"),
        ("av01.0.08M.08", "av01"),
        ("av01.0.08M.10.0.110.09.16.09.0", "av01.0.10"),
        ("av01.1.08M.08", "av01.1.08"),
        ("vp09.00.31.08", "vp09"),
        ("vp09.01.31.08.03", "vp09.01"),
        ("vp09.02.31.10", "vp09.02"),
        ("opus", "opus"),
        ("mp4a.40.2", "mp4a"),
        ("mp4a.40.29", "mp4a.40.29"),
        ("av01", "av01"),
        ("vp8", "vp8"),
    ],
)
def test_the_name_of_a_codec_string(codec: str, name: str) -> None:
    assert ability_name(codec) == name
    assert parse_abilities(ability_name(codec)).can_decode(rendition(codec))


@pytest.mark.parametrize(
    "codec", ["hvc1.1.6.L93.90", "av01.0.08M.08", "vp09.00.31.08", "avc1.F4001F", "mp4a.40.2"]
)
def test_who_says_nothing_decodes_plain_h264_only(codec: str) -> None:
    assert ASSUMED.can_decode(rendition("avc1.640028"))
    assert ASSUMED.can_decode(Rendition(id=0, codec="opus"))
    assert not ASSUMED.can_decode(rendition(codec))
    assert EVERYTHING.can_decode(rendition(codec))


def test_a_plain_name_is_not_its_further_profiles_nor_the_reverse() -> None:
    plain, deep = parse_abilities("vp09"), parse_abilities("vp09.02")
    assert plain.can_decode(rendition("vp09.00.31.08"))
    assert not plain.can_decode(rendition("vp09.02.31.10"))
    assert deep.can_decode(rendition("vp09.02.31.10"))
    assert not deep.can_decode(rendition("vp09.00.31.08"))


def test_limits_of_size_and_rate() -> None:
    some = parse_abilities("avc1:1920x1080@30,av01")
    assert some.can_decode(rendition("avc1.640028", 1920, 1080, 30))
    assert some.can_decode(rendition("avc1.640028", 1080, 1920, 29.97)), "upright is as large"
    assert not some.can_decode(rendition("avc1.640028", 2560, 1440, 30))
    assert not some.can_decode(rendition("avc1.640028", 1280, 720, 60))
    assert some.can_decode(rendition("av01.0.13M.08", 3840, 2160, 60)), "no limit was given"


def test_nothing_and_everything() -> None:
    assert not parse_abilities("").can_decode(rendition("avc1.42C01F"))
    assert parse_abilities("all") == EVERYTHING


@pytest.mark.parametrize(
    "text",
    [
        "avc1,",
        "AVC1",
        "avc1:1920x1080",
        "avc1:x@",
        "avc1:99999999x1@1",
        "avc1 ",
        "av01.0.10.9",
        "é",
        ",".join(f"a{i}" for i in range(MAX_ENTRIES + 1)),
        "a" * (MAX_CHARACTERS + 1),
    ],
)
def test_what_makes_no_sense_is_refused_in_words(text: str) -> None:
    with pytest.raises(ProtocolError) as caught:
        parse_abilities(text)
    assert caught.value.code == CloseCode.MALFORMED


@given(st.text(max_size=80))
def test_any_text_is_abilities_or_the_one_error(text: str) -> None:
    try:
        found = parse_abilities(text)
    except ProtocolError as error:
        assert error.code == CloseCode.MALFORMED
    else:
        assert found.can_decode(rendition("avc1.42C01F")) in (True, False)
