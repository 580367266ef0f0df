"""Face regions in XMP: read from any packet, added to one without touching the rest of it.

Regions are `mwg-rs:Regions` of the Metadata Working Group ("Guidelines for Handling Image
Metadata", version 2.0, section 5.9): a region's centre and sides as shares of the picture's, as it
is stored, before its EXIF orientation is applied; `AppliedToDimensions` is its size in pixels.
Packets, and where a JPEG holds one: XMP specification, parts 1 and 3 (ISO 16684-1).

A packet with a document type is refused, so no entity is ever expanded.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from struct import unpack
from typing import BinaryIO
from xml.parsers import expat
from xml.sax.saxutils import escape

from mindface.errors import ImageError

RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
RS = "http://www.metadataworkinggroup.com/schemas/regions/"
AREA = "http://ns.adobe.com/xmp/sType/Area#"
DIMENSIONS = "http://ns.adobe.com/xap/1.0/sType/Dimensions#"
SIGNATURE = b"http://ns.adobe.com/xap/1.0/\0"

MAX_BYTES = 1 << 24
MAX_DEPTH = 100
MAX_SEGMENTS = 1000

Box = tuple[float, float, float, float]

_FORBIDDEN = re.compile("[\0-\x08\x0b-\x1f\ud800-\udfff\ufffe\uffff]")

_NEW = f"""<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/">
 <rdf:RDF xmlns:rdf="{RDF}">
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="w"?>
"""
_SPACES = f'xmlns:rdf="{RDF}" xmlns:mwg-rs="{RS}" xmlns:stArea="{AREA}" xmlns:stDim="{DIMENSIONS}"'


@dataclass(frozen=True)
class Region:
    """A face.

    Attributes:
        name: whose, where it is known.
        box: left, top, right and bottom as shares of the stored picture's sides, 0 to 1.
    """

    name: str | None
    box: Box


@dataclass(frozen=True)
class Regions:
    """The faces of a picture.

    Attributes:
        size: (width, height) of the picture they were drawn on, in pixels, where it is said.
        faces: in their order.
    """

    size: tuple[float, float] | None = None
    faces: tuple[Region, ...] = ()


def read_regions(xmp: bytes) -> Regions:
    """The face regions of an XMP packet; none where it has none.

    Regions of other kinds, and those whose place cannot be, are left out.

    Raises:
        ImageError: it is not XMP, has a document type, or is too large.
    """
    root = _parse(xmp)
    list_of = _regions(root)
    if list_of is None:
        return Regions()
    found = (_face(item) for item in _items(list_of))
    return Regions(_size(list_of), tuple(face for face in found if face is not None))


def add_regions(xmp: bytes | None, regions: Regions) -> bytes:
    """Adds faces to an XMP packet, whose other bytes stay as they are.

    A face whose box is to the bit that of one without a name, as `read_regions` gives it, names
    that one.

    Args:
        xmp: UTF-8; None: a new packet.
        regions: `size` is written where the packet has no regions yet.

    Raises:
        ImageError: it is not XMP in UTF-8, or its regions have a form that cannot be added to.
    """
    xmp = _NEW.encode() if xmp is None else xmp
    root = _parse(xmp)
    if xmp[:2] in (b"\xfe\xff", b"\xff\xfe") or b"\0" in xmp:
        raise ImageError("the XMP is not in UTF-8: save it as such")
    list_of = _regions(root)
    if list_of is None:
        rdf = next((node for node in root.all() if node.tag == f"{RDF} RDF"), None)
        if rdf is None or not rdf.closed(xmp):
            raise ImageError("the XMP has no rdf:RDF that could be added to")
        return _spliced(xmp, [(rdf.end, _whole(regions))])
    found = [(_face(item), item.child(f"{RS} Area")) for item in _items(list_of)]
    unnamed = {face.box: area.start for face, area in found if face and area and not face.name}
    pieces, new = [], []
    for region in regions.faces:
        place = unnamed.pop(region.box, None) if region.name else None
        if place is not None:
            pieces.append((place, _name(region.name, f" {_SPACES}")))
        else:
            new.append(_item(region))
    bag = _bag(list_of)
    if new and (bag is None or not bag.closed(xmp)):
        raise ImageError("the XMP has regions in a form that cannot be added to")
    if new and bag is not None:
        pieces.append((bag.end, "".join(new)))
    return _spliced(xmp, pieces)


def jpeg_xmp(file: BinaryIO) -> bytes | None:
    """The XMP packet of a JPEG, without what it may have in further segments; None: it has none."""
    file.seek(0)
    if file.read(2) != b"\xff\xd8":
        return None
    for _ in range(MAX_SEGMENTS):
        head = file.read(4)
        if len(head) < 4 or head[0] != 0xFF or head[1] in (0xD9, 0xDA):
            return None
        (length,) = unpack(">H", head[2:])
        data = file.read(max(length - 2, 0))
        if head[1] == 0xE1 and data.startswith(SIGNATURE):
            return data.removeprefix(SIGNATURE).rstrip(b"\0")
    return None


def turned(box: Box, orientation: int) -> Box:
    """A box of the stored picture as it lies in the upright one.

    Args:
        box: shares of the sides.
        orientation: EXIF, 1 to 8. The way back is that of 8 for 6, of 6 for 8, and the same else.
    """
    left, top, right, bottom = box
    if orientation in (2, 3, 7, 8):  # of a picture that is first flipped, then transposed
        left, right = 1 - right, 1 - left
    if orientation in (3, 4, 6, 7):
        top, bottom = 1 - bottom, 1 - top
    return (top, left, bottom, right) if orientation >= 5 else (left, top, right, bottom)


@dataclass(eq=False)
class _Node:
    """An element.

    Attributes:
        start: where its start tag begins, in bytes.
        end: where its end tag begins; without one, where its only tag ends.
    """

    tag: str
    attributes: dict[str, str]
    start: int
    end: int = 0
    text: str = ""
    children: list[_Node] = field(default_factory=list)

    def all(self) -> Iterator[_Node]:
        yield self
        for child in self.children:
            yield from child.all()

    def closed(self, xmp: bytes) -> bool:
        """Whether it has an end tag of its own."""
        return bool(self.children) or not xmp[self.start : self.end].endswith(b"/>")

    def child(self, tag: str) -> _Node | None:
        """A property that is an element, of the node or of the rdf:Description in it."""
        found = (node for part in self._parts() for node in part.children if node.tag == tag)
        return next(found, None)

    def value(self, tag: str) -> str | None:
        """A property that is text, as an attribute or an element."""
        for part in self._parts():
            if tag in part.attributes:
                return part.attributes[tag]
        node = self.child(tag)
        return None if node is None else node.text

    def _parts(self) -> list[_Node]:
        return [self, *(node for node in self.children if node.tag == f"{RDF} Description")]


def _parse(xmp: bytes) -> _Node:
    if len(xmp) > MAX_BYTES:
        raise ImageError(f"the XMP is larger than {MAX_BYTES} bytes")
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.buffer_text = True
    root = _Node("", {}, 0)
    path = [root]

    def start(tag: str, attributes: dict[str, str]) -> None:
        if len(path) > MAX_DEPTH:
            raise ImageError(f"the XMP is nested more than {MAX_DEPTH} deep")
        node = _Node(tag, attributes, parser.CurrentByteIndex)
        path[-1].children.append(node)
        path.append(node)

    def end(_: str) -> None:
        path.pop().end = parser.CurrentByteIndex

    def text(data: str) -> None:
        path[-1].text += data

    def refuse(*_: object) -> None:
        raise ImageError("the XMP has a document type, which is not read")

    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = text
    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(xmp, True)
    except expat.ExpatError as error:
        raise ImageError(f"the XMP cannot be read: {error}") from error
    return root


def _regions(root: _Node) -> _Node | None:
    return next((node for node in root.all() if node.tag == f"{RS} Regions"), None)


def _bag(regions: _Node) -> _Node | None:
    faces = regions.child(f"{RS} RegionList")
    kinds = (f"{RDF} Bag", f"{RDF} Seq")
    return next((node for node in faces.children if node.tag in kinds), None) if faces else None


def _items(regions: _Node) -> list[_Node]:
    bag = _bag(regions)
    return [] if bag is None else [node for node in bag.children if node.tag == f"{RDF} li"]


def _face(item: _Node) -> Region | None:
    area = item.child(f"{RS} Area")
    if (item.value(f"{RS} Type") or "").strip() != "Face" or area is None:
        return None
    x, y, w, h = (_number(area.value(f"{AREA} {name}")) for name in "xywh")
    if not (w > 0 and h > 0 and all(map(math.isfinite, (x, y, w, h)))):
        return None
    left, top, right, bottom = (
        min(max(value, 0.0), 1.0) for value in (x - w / 2, y - h / 2, x + w / 2, y + h / 2)
    )
    name = (item.value(f"{RS} Name") or "").strip() or None
    return Region(name, (left, top, right, bottom)) if left < right and top < bottom else None


def _size(regions: _Node) -> tuple[float, float] | None:
    node = regions.child(f"{RS} AppliedToDimensions")
    if node is None:
        return None
    width, height = (_number(node.value(f"{DIMENSIONS} {name}")) for name in "wh")
    return (width, height) if 0 < width < math.inf and 0 < height < math.inf else None


def _number(text: str | None) -> float:
    try:
        return float(text or "nan")
    except ValueError:
        return math.nan


def _whole(regions: Regions) -> str:
    size = ""
    if regions.size is not None:
        width, height = regions.size
        size = (
            ' <mwg-rs:AppliedToDimensions rdf:parseType="Resource">'
            f"<stDim:w>{round(width)}</stDim:w><stDim:h>{round(height)}</stDim:h>"
            "<stDim:unit>pixel</stDim:unit></mwg-rs:AppliedToDimensions>\n"
        )
    return (
        f' <rdf:Description rdf:about="" {_SPACES}>\n <mwg-rs:Regions rdf:parseType="Resource">\n'
        f"{size} <mwg-rs:RegionList><rdf:Bag>\n{''.join(map(_item, regions.faces))}"
        " </rdf:Bag></mwg-rs:RegionList>\n </mwg-rs:Regions>\n </rdf:Description>\n "
    )


def _item(region: Region) -> str:
    left, top, right, bottom = region.box
    x, y, w, h = (left + right) / 2, (top + bottom) / 2, right - left, bottom - top
    values = (("x", x), ("y", y), ("w", w), ("h", h))
    area = "".join(f"<stArea:{key}>{value:.6f}</stArea:{key}>" for key, value in values)
    return (
        f'  <rdf:li rdf:parseType="Resource" {_SPACES}>'
        f'<mwg-rs:Area rdf:parseType="Resource">{area}<stArea:unit>normalized</stArea:unit>'
        f"</mwg-rs:Area>{_name(region.name)}<mwg-rs:Type>Face</mwg-rs:Type></rdf:li>\n"
    )


def _name(name: str | None, spaces: str = "") -> str:
    if not name:
        return ""
    if _FORBIDDEN.search(name):
        raise ImageError(f"the name {name!r:.80} has a character that XML cannot hold")
    return f"<mwg-rs:Name{spaces}>{escape(name)}</mwg-rs:Name>"


def _spliced(xmp: bytes, pieces: Sequence[tuple[int, str]]) -> bytes:
    for place, text in sorted(pieces, reverse=True):
        xmp = xmp[:place] + text.encode() + xmp[place:]
    return xmp
