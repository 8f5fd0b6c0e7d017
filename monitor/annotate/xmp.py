"""What an annotated picture says of itself wherever it is copied: XMP, which image viewers and tools show.

The namespace is this program's own. `dc:description` has the gist in one line, for viewers that show no
other.
"""

from collections.abc import Iterable
from xml.etree import ElementTree

from monitor.records import Region

NAMESPACE = "https://defect-monitor.invalid/xmp/1/"
_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_DC = "http://purl.org/dc/elements/1.1/"
_META = "adobe:ns:meta/"
_MOST = 500  # boxes, so that the packet fits into one JPEG segment of 64 kB


def xmp_packet(event_id: str, label: str, score: float, regions: Iterable[Region]) -> bytes:
    """The packet: event id, label, score (0..1), and boxes as `x,y,width,height` in pixels of the frame.

    Strongest first as they come, 500 at most.
    """
    boxes = [f"{it.box.left},{it.box.top},{it.box.width},{it.box.height}" for it in regions][:_MOST]
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
