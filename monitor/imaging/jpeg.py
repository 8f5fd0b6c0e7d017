"""Encode images as JPEG, with the event's metadata as XMP."""

from collections.abc import Iterable
from xml.etree import ElementTree

import cv2
import numpy as np

from monitor.errors import ImageError
from monitor.records import Image, Region

_XMP_SEGMENT = b"http://ns.adobe.com/xap/1.0/\0"
"""Header of an XMP packet in a JPEG (XMP specification part 3, 1.1.3); OpenCV does not write it."""


def encode_jpeg(image: Image, quality: int = 85, xmp: bytes | None = None) -> bytes:
    """Encode an image as JPEG, `quality` 1..100, with an optional XMP packet (up to 65,502 bytes).

    Raises ImageError for an image that JPEG cannot hold (a side above 65,535 pixels).
    """
    parameters = [cv2.IMWRITE_JPEG_QUALITY, quality]
    try:
        if xmp is None:
            done, data = cv2.imencode(".jpg", image, parameters)
        else:
            chunk = np.frombuffer(_XMP_SEGMENT + xmp, np.uint8)
            done, data = cv2.imencodeWithMetadata(
                ".jpg", image, [cv2.IMAGE_METADATA_XMP], [chunk], parameters
            )
    except cv2.error as error:
        raise ImageError(f"an image of shape {image.shape} cannot be encoded as JPEG") from error
    if not done:
        raise ImageError(f"an image of shape {image.shape} cannot be encoded as JPEG")
    return data.tobytes()


NAMESPACE = "https://defect-monitor.invalid/xmp/1/"


_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"


_DC = "http://purl.org/dc/elements/1.1/"


_META = "adobe:ns:meta/"


_MAX_BOXES = 500  # so that the packet fits into one JPEG segment of 64 kB


def xmp_packet(event_id: str, label: str, score: float, regions: Iterable[Region]) -> bytes:
    """Return an XMP packet with event id, label, score (0..1) and boxes.

    A box is `x,y,width,height` in pixels of the frame. The packet holds the first 500 boxes.
    """
    boxes = [f"{one.box.left},{one.box.top},{one.box.width},{one.box.height}" for one in regions][:_MAX_BOXES]
    meta = ElementTree.Element(f"{{{_META}}}xmpmeta")
    rdf = ElementTree.SubElement(meta, f"{{{_RDF}}}RDF")
    about = ElementTree.SubElement(rdf, f"{{{_RDF}}}Description", {f"{{{_RDF}}}about": ""})
    for name, text in (("eventId", event_id), ("label", label), ("score", f"{score:.6f}")):
        ElementTree.SubElement(about, f"{{{NAMESPACE}}}{name}").text = text
    listed = ElementTree.SubElement(ElementTree.SubElement(about, f"{{{NAMESPACE}}}boxes"), f"{{{_RDF}}}Seq")
    for box in boxes:
        ElementTree.SubElement(listed, f"{{{_RDF}}}li").text = box
    described = ElementTree.SubElement(
        ElementTree.SubElement(about, f"{{{_DC}}}description"), f"{{{_RDF}}}Alt"
    )
    line = ElementTree.SubElement(described, f"{{{_RDF}}}li", {"xml:lang": "x-default"})
    line.text = f"{label} {score:.3f}, event {event_id}"
    body: bytes = ElementTree.tostring(meta, encoding="utf-8")
    begin = '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'.encode()
    return begin + body + b'<?xpacket end="r"?>'
