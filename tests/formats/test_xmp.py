"""Face regions in XMP, as exiftool, Lightroom and digiKam write them, and as they read ours."""

import json
import re
import shutil
import subprocess
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mindface.enrolment.regions import NamedFace, named_faces, sidecars, write_names
from mindface.errors import ImageError
from mindface.formats.xmp import Region, Regions, add_regions, jpeg_xmp, read_regions, turned

SPACES = """xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"
 xmlns:mwg-rs="http://www.metadataworkinggroup.com/schemas/regions/"
 xmlns:stArea="http://ns.adobe.com/xmp/sType/Area#"
 xmlns:stDim="http://ns.adobe.com/xap/1.0/sType/Dimensions#"
 xmlns:dc="http://purl.org/dc/elements/1.1/" """

# exiftool 12.57: exiftool -XMP:RegionInfo='{...}' -XMP-dc:Title='A & "B" <c>' photo.jpg
# exiftool -tagsfromfile photo.jpg -XMP photo.xmp   (padding left out)
EXIFTOOL = f"""<?xpacket begin='\ufeff' id='W5M0MpCehiHzreSzNTczkc9d'?>
<x:xmpmeta xmlns:x='adobe:ns:meta/' x:xmptk='Image::ExifTool 12.57'>
<rdf:RDF {SPACES}>
 <rdf:Description rdf:about=''>
  <dc:title><rdf:Alt>
    <rdf:li xml:lang='x-default'>A &amp; &quot;B&quot; &lt;c&gt;</rdf:li>
  </rdf:Alt></dc:title>
 </rdf:Description>
 <rdf:Description rdf:about=''>
  <mwg-rs:Regions rdf:parseType='Resource'>
   <mwg-rs:AppliedToDimensions rdf:parseType='Resource'>
    <stDim:h>300</stDim:h>
    <stDim:unit>pixel</stDim:unit>
    <stDim:w>400</stDim:w>
   </mwg-rs:AppliedToDimensions>
   <mwg-rs:RegionList>
    <rdf:Bag>
     <rdf:li rdf:parseType='Resource'>
      <mwg-rs:Area rdf:parseType='Resource'>
       <stArea:h>0.2</stArea:h>
       <stArea:unit>normalized</stArea:unit>
       <stArea:w>0.1</stArea:w>
       <stArea:x>0.25</stArea:x>
       <stArea:y>0.4</stArea:y>
      </mwg-rs:Area>
      <mwg-rs:Name>Ada Lovelace</mwg-rs:Name>
      <mwg-rs:Type>Face</mwg-rs:Type>
     </rdf:li>
     <rdf:li rdf:parseType='Resource'>
      <mwg-rs:Area rdf:parseType='Resource'>
       <stArea:h>0.3</stArea:h>
       <stArea:unit>normalized</stArea:unit>
       <stArea:w>0.2</stArea:w>
       <stArea:x>0.75</stArea:x>
       <stArea:y>0.5</stArea:y>
      </mwg-rs:Area>
      <mwg-rs:Type>Face</mwg-rs:Type>
     </rdf:li>
     <rdf:li rdf:parseType='Resource'>
      <mwg-rs:Area rdf:parseType='Resource'>
       <stArea:h>0.3</stArea:h>
       <stArea:w>0.2</stArea:w>
       <stArea:x>0.5</stArea:x>
       <stArea:y>0.5</stArea:y>
      </mwg-rs:Area>
      <mwg-rs:Name>Rex</mwg-rs:Name>
      <mwg-rs:Type>Pet</mwg-rs:Type>
     </rdf:li>
    </rdf:Bag>
   </mwg-rs:RegionList>
  </mwg-rs:Regions>
 </rdf:Description>
</rdf:RDF>
</x:xmpmeta>
<?xpacket end='w'?>"""

# The form in which Lightroom and digiKam write the same: properties as attributes.
ATTRIBUTES = f"""<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF {SPACES}>
 <rdf:Description rdf:about="" dc:note="two&#xA;lines">
  <mwg-rs:Regions rdf:parseType="Resource">
   <mwg-rs:AppliedToDimensions stDim:w="400" stDim:h="300" stDim:unit="pixel"/>
   <mwg-rs:RegionList><rdf:Bag>
     <rdf:li><rdf:Description mwg-rs:Name="Ada Lovelace" mwg-rs:Type="Face">
      <mwg-rs:Area stArea:x="0.25" stArea:y="0.4" stArea:w="0.1" stArea:h="0.2"/>
     </rdf:Description></rdf:li>
     <rdf:li><rdf:Description mwg-rs:Type="Face">
      <mwg-rs:Area stArea:x="0.75" stArea:y="0.5" stArea:w="0.2" stArea:h="0.3"/>
     </rdf:Description></rdf:li>
   </rdf:Bag></mwg-rs:RegionList>
  </mwg-rs:Regions>
 </rdf:Description>
</rdf:RDF></x:xmpmeta>"""

FORMS = [EXIFTOOL.encode(), ATTRIBUTES.encode()]
ADA, SOMEBODY = (0.2, 0.3, 0.3, 0.5), (0.65, 0.35, 0.85, 0.65)


def boxes(regions):
    return [face.box for face in regions.faces]


@pytest.mark.parametrize("xmp", FORMS)
def test_both_forms_are_read(xmp):
    found = read_regions(xmp)
    assert found.size == (400, 300)
    assert [face.name for face in found.faces] == ["Ada Lovelace", None]
    np.testing.assert_allclose(boxes(found), [ADA, SOMEBODY], atol=1e-12)


@pytest.mark.parametrize("xmp", FORMS)
def test_what_is_there_stays_byte_by_byte(xmp):
    _, unnamed = read_regions(xmp).faces
    new = Regions(None, (Region('Zoë <&> "王"', (0, 0.5, 0.5, 1)), Region("Bob", unnamed.box)))
    more = add_regions(xmp, new)
    found = read_regions(more)
    assert [face.name for face in found.faces] == ["Ada Lovelace", "Bob", 'Zoë <&> "王"']
    np.testing.assert_allclose(boxes(found), [ADA, SOMEBODY, (0, 0.5, 0.5, 1)], atol=1e-6)
    added = re.sub(rb"<mwg-rs:Name xmlns[^>]*>Bob</mwg-rs:Name>", b"", more)
    added = re.sub(rb"  <rdf:li [^>]*xmlns.*?</rdf:li>\n", b"", added, flags=re.DOTALL)
    assert added == xmp


def test_a_packet_without_regions_gets_some():
    other = f"<rdf:RDF {SPACES}><!-- kept --><rdf:Description dc:a='&#xA;'/></rdf:RDF>".encode()
    for xmp in (None, other):
        made = add_regions(xmp, Regions((400, 300), (Region("Ada", ADA), Region(None, SOMEBODY))))
        found = read_regions(made)
        assert found.size == (400, 300)
        assert [face.name for face in found.faces] == ["Ada", None]
        np.testing.assert_allclose(boxes(found), [ADA, SOMEBODY], atol=1e-6)
    assert other[:-10] in made
    assert read_regions(other) == Regions()


BOMB = "<!DOCTYPE x [<!ENTITY a 'aaaa'><!ENTITY b '&a;&a;'>]><x>&b;</x>"


@pytest.mark.parametrize(
    ("xmp", "sentence"),
    [
        (BOMB, "document type"),
        ('<!DOCTYPE x SYSTEM "file:///etc/passwd"><x/>', "document type"),
        ("", "cannot be read"),
        ("<x>", "cannot be read"),
        ("<x>&e;</x>", "cannot be read"),
        ("<a>" * 200 + "</a>" * 200, "nested more than"),
        ("<a>" + " " * (1 << 24) + "</a>", "larger than"),
    ],
)
def test_what_is_no_safe_xml_is_refused(xmp, sentence):
    for function in (read_regions, lambda data: add_regions(data, Regions())):
        with pytest.raises(ImageError, match=sentence):
            function(xmp.encode())


@pytest.mark.parametrize(
    ("xmp", "sentence"),
    [
        ("<x/>", "no rdf:RDF"),
        (f"<x><rdf:RDF {SPACES}/></x>", "no rdf:RDF"),
        (ATTRIBUTES.replace("rdf:Bag", "rdf:Alt"), "cannot be added to"),
        (re.sub("<rdf:Bag>.*</rdf:Bag>", "<rdf:Bag/>", ATTRIBUTES, flags=re.S), "cannot be added"),
    ],
)
def test_what_cannot_be_added_to_is_refused(xmp, sentence):
    with pytest.raises(ImageError, match=sentence):
        add_regions(xmp.encode(), Regions((4, 3), (Region("Ada", ADA),)))
    with pytest.raises(ImageError, match="not in UTF-8"):
        add_regions(ATTRIBUTES.encode("utf-16"), Regions((4, 3), (Region("Ada", ADA),)))
    with pytest.raises(ImageError, match="XML cannot hold"):
        add_regions(None, Regions((4, 3), (Region("a\0b", ADA),)))


@pytest.mark.parametrize("value", ["nan", "inf", "-1", "x", "", "1e999"])
def test_places_that_cannot_be_are_left_out(value):
    xmp = ATTRIBUTES.replace('stArea:w="0.1"', f'stArea:w="{value}"').encode()
    assert [face.name for face in read_regions(xmp).faces] == [None]
    unsized = ATTRIBUTES.replace('stDim:w="400"', f'stDim:w="{value}"').encode()
    assert read_regions(unsized).size is None


@given(st.binary(max_size=200) | st.text(max_size=100).map(str.encode))
def test_garbage_is_an_error_or_nothing(data):
    with suppress(ImageError):
        assert read_regions(data) == Regions()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_boxes_turn_as_pictures_do(tmp_path, orientation):
    from PIL import ImageOps

    stored = np.zeros((30, 40), np.uint8)
    stored[3:9, 8:12] = 255
    picture = Image.fromarray(stored)
    exif = picture.getexif()
    exif[274] = orientation
    picture.save(tmp_path / "a.png", exif=exif)
    with Image.open(tmp_path / "a.png") as opened:
        upright = np.asarray(ImageOps.exif_transpose(opened))
    rows, columns = (np.flatnonzero(upright.any(axis=axis)) for axis in (1, 0))
    seen = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1] / np.tile(upright.shape[::-1], 2)
    box = (8 / 40, 3 / 30, 12 / 40, 9 / 30)
    np.testing.assert_allclose(turned(box, orientation), seen, atol=1e-12)
    back = {6: 8, 8: 6}.get(orientation, orientation)
    np.testing.assert_allclose(turned(turned(box, orientation), back), box, atol=1e-12)


def photo(path, orientation=6, **options):
    """A stored picture of 400 x 300 pixels."""
    picture = Image.new("RGB", (400, 300), "gray")
    exif = picture.getexif()
    exif[274] = orientation
    picture.save(path, exif=exif, **options)
    return path


UPRIGHT_ADA = [150, 80, 210, 120]  # of 300 x 400; exiftool's rotate_regions.config agrees


def test_sidecars_and_embedded_regions_are_read_upright(tmp_path):
    path = photo(tmp_path / "a.jpg", xmp=EXIFTOOL.encode())
    with path.open("rb") as file:
        assert jpeg_xmp(file) == EXIFTOOL.encode()
    embedded = named_faces(path)
    (tmp_path / "a.xmp").write_text(ATTRIBUTES.replace("Ada", "Countess"))
    beside = named_faces(path)
    (tmp_path / "a.jpg.xmp").write_text(EXIFTOOL.replace("Ada", "Lady"))
    first = named_faces(path)
    (tmp_path / "a.jpg.xmp").write_text("<x/>")
    for found, name in [(embedded, "Ada"), (beside, "Countess"), (first, "Lady")]:
        assert [face.name for face in found] == [f"{name} Lovelace", None]
        np.testing.assert_allclose(found[0].box, UPRIGHT_ADA, atol=1e-3)
    assert [face.name for face in named_faces(path)] == ["Countess Lovelace", None]
    assert named_faces(photo(tmp_path / "none.png")) == []


def test_regions_of_the_upright_picture_are_known_by_their_size(tmp_path):
    path = photo(tmp_path / "a.jpg")
    upright = EXIFTOOL.replace("h>300", "h>800").replace("w>400", "w>600")
    (tmp_path / "a.xmp").write_text(upright)
    np.testing.assert_allclose(named_faces(path)[0].box, [60, 120, 90, 200], atol=1e-3)
    (tmp_path / "a.xmp").write_text(EXIFTOOL.replace("w>400", "w>500"))
    with pytest.raises(ImageError, match="of a picture of 500 x 300"):
        named_faces(path)


def test_names_go_into_sidecars_and_never_into_photos(tmp_path):
    path = photo(tmp_path / "a.jpg", xmp=EXIFTOOL.encode())
    before = path.read_bytes()
    faces = [
        NamedFace("Somebody Else", np.array([152, 78, 212, 118])),  # where Ada is
        NamedFace("Bob", np.array([105, 260, 195, 340])),  # where nobody is named
        NamedFace("Eve", np.array([0, 0, 30, 40])),
    ]
    done = write_names(path, faces)
    assert (done.added, done.kept) == (("Bob", "Eve"), ("Ada Lovelace",))
    assert done.sidecar == sidecars(path)[0] == tmp_path / "a.jpg.xmp"
    found = named_faces(path)
    assert [face.name for face in found] == ["Ada Lovelace", "Bob", "Eve"]
    np.testing.assert_allclose(found[0].box, UPRIGHT_ADA, atol=1e-3)
    np.testing.assert_allclose(found[2].box, [0, 0, 30, 40], atol=1e-3)
    written = done.sidecar.read_bytes()
    again = write_names(path, faces)
    assert (again.added, again.kept) == ((), ("Ada Lovelace", "Bob", "Eve"))
    assert (done.sidecar.read_bytes(), path.read_bytes()) == (written, before)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["a.jpg", "a.jpg.xmp"]


def test_an_existing_sidecar_is_added_to(tmp_path):
    path = photo(tmp_path / "a.jpg")
    sidecar = tmp_path / "a.xmp"
    sidecar.write_text(f"<rdf:RDF {SPACES}><rdf:Description dc:a='kept'/></rdf:RDF>")
    assert write_names(path, []).added == ()
    write_names(path, [NamedFace("Ada", np.array(UPRIGHT_ADA))])
    assert "dc:a='kept'" in sidecar.read_text()
    assert [face.name for face in named_faces(path)] == ["Ada"]
    sidecar.write_text("<x>")
    with pytest.raises(ImageError, match=r"a\.xmp: the XMP cannot be read"):
        write_names(path, [NamedFace("Bob", np.array([0, 0, 9, 9]))])
    assert sidecar.read_text() == "<x>"


@pytest.mark.skipif(shutil.which("exiftool") is None, reason="exiftool is not installed")
def test_exiftool_and_we_read_each_other(tmp_path):
    def exiftool(*arguments):
        done = subprocess.run(["exiftool", *map(str, arguments)], capture_output=True, check=True)
        return done.stdout

    path = photo(tmp_path / "a.jpg")
    area = "Area={X=0.25,Y=0.4,W=0.1,H=0.2,Unit=normalized},Name=Ada,Type=Face"
    info = f"{{AppliedToDimensions={{W=400,H=300,Unit=pixel}},RegionList=[{{{area}}}]}}"
    exiftool("-q", "-overwrite_original", f"-XMP:RegionInfo={info}", path)
    (face,) = named_faces(path)
    assert face.name == "Ada"
    np.testing.assert_allclose(face.box, UPRIGHT_ADA, atol=1e-3)
    done = write_names(path, [NamedFace("Zoë 王", np.array([15, 40, 75, 120]))])
    (said,) = json.loads(exiftool("-json", "-struct", "-RegionInfo", "-warning", done.sidecar))
    assert "Warning" not in said
    found = said["RegionInfo"]
    assert found["AppliedToDimensions"] == {"W": 400, "H": 300, "Unit": "pixel"}
    ours = found["RegionList"][1]
    assert (ours["Name"], ours["Type"], ours["Area"]["Unit"]) == ("Zoë 王", "Face", "normalized")
    place = [ours["Area"][name] for name in "XYWH"]
    np.testing.assert_allclose(place, [0.2, 0.85, 0.2, 0.2], atol=1e-6)
