"""A picture says which event it belongs to, in XMP that other programs read."""

from xml.etree import ElementTree

import cv2
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from monitor.imaging.jpeg import NAMESPACE, encode_jpeg, xmp_packet
from monitor.records import Box, Region

PICTURE = np.random.default_rng(1).integers(0, 255, (48, 64, 3), np.uint8)


RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"


def region(left: int, top: int, right: int, bottom: int) -> Region:
    return Region(Box(left, top, right, bottom), (0.0, 0.0), (0.0, 0.0), 1.0, 1, ())


def segments(jpeg: bytes) -> list[tuple[int, bytes]]:
    """Marker and content of each segment before the picture's data."""
    found, at = [], 2
    while jpeg[at + 1] != 0xDA:
        length = int.from_bytes(jpeg[at + 2 : at + 4], "big")
        found.append((jpeg[at + 1], jpeg[at + 4 : at + 2 + length]))
        at += 2 + length
    return found


def packet_in(jpeg: bytes) -> ElementTree.Element:
    (packet,) = [
        content.removeprefix(b"http://ns.adobe.com/xap/1.0/\0")
        for marker, content in segments(jpeg)
        if marker == 0xE1 and content.startswith(b"http://ns.adobe.com/xap/1.0/\0")
    ]
    return ElementTree.fromstring(packet)


@given(
    st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Cn")), max_size=60),
    st.floats(0, 1),
    st.lists(st.tuples(*[st.integers(0, 60_000)] * 2), max_size=700),
)
def test_what_is_written_is_read_again(label: str, score: float, places: list[tuple[int, int]]) -> None:
    regions = [region(x, y, x + 5, y + 7) for x, y in places]
    jpeg = encode_jpeg(PICTURE, 85, xmp_packet("top-20261123T040506000789Z-3", label, score, regions))
    packet = packet_in(jpeg)
    assert packet.findtext(f".//{{{NAMESPACE}}}eventId") == "top-20261123T040506000789Z-3"
    assert (packet.findtext(f".//{{{NAMESPACE}}}label") or "") == label
    assert abs(float(packet.findtext(f".//{{{NAMESPACE}}}score") or "nan") - score) < 1e-6
    boxes = packet.find(f".//{{{NAMESPACE}}}boxes")
    assert boxes is not None
    assert [it.text for it in boxes.iter(f"{RDF}li")] == [f"{x},{y},5,7" for x, y in places[:500]]


def test_the_picture_is_the_same_with_and_without() -> None:
    plain, said = encode_jpeg(PICTURE, 85), encode_jpeg(PICTURE, 85, xmp_packet("a", "defect", 0.9, []))
    pictures = [cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) for data in (plain, said)]
    assert np.array_equal(pictures[0], pictures[1])
