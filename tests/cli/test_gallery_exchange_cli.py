"""Export, import, reindex and XMP on the command line."""

import csv
import json
from types import SimpleNamespace

import numpy as np
import pytest
from pictured_people import SIZE, Reader, face, photo, recognizer

from mindface.cli.options import ModelOptions
from mindface.enrolment.regions import NamedFace, named_faces, write_names
from mindface.gallery import Gallery

NEW = "e" * 64


@pytest.fixture
def opened(monkeypatch):
    """Replaces the models; the names of recognisers that commands open are listed."""
    names = []

    def open_recognizer(self, calibration=None):
        names.append(self.recognizer)
        if self.recognizer != "new":
            return recognizer()
        return SimpleNamespace(
            record=SimpleNamespace(contract=NEW, name="new"),
            embedding_size=3,
            template="arcface_112x112",
            features=lambda images, *, aligned: np.array([np.mean(i, (0, 1)) for i in images]),
        )

    monkeypatch.setattr("mindface.analyzer.FaceAnalyzer", Reader)
    monkeypatch.setattr(ModelOptions, "open_detector", lambda self, **options: None)
    monkeypatch.setattr(ModelOptions, "open_recognizer", open_recognizer)
    return names


@pytest.fixture
def run(mindface, opened, monkeypatch, tmp_path):
    """Runs a command on the gallery that the environment names, in which there are two people."""
    monkeypatch.setenv("MINDFACE_GALLERY", str(tmp_path / "people.db"))
    for who, name in enumerate(("Ada Lovelace", "Zoë 张")):
        for look in range(2):
            photo(tmp_path / "people" / name / f"{look}.jpg", face(who, look=look, likeness=0.9))
    assert mindface("enroll", "--folders", tmp_path / "people").code == 0
    return mindface


def test_a_gallery_is_exported_and_imported(run, tmp_path):
    done = run("gallery", "export", tmp_path / "backup")
    assert (done.code, done.err) == (0, "")
    assert done.out == f"{tmp_path}/backup: 2 people, 4 faces, 4 crops, 4 entries\n"
    copy = tmp_path / "copy.db"
    done = run("gallery", "import", tmp_path / "backup", "--gallery", copy, "--json")
    assert json.loads(done.out) == {"people": 2, "faces": 4, "crops": 4, "entries": 4}
    lists = [run("gallery", "list", "--gallery", each) for each in (tmp_path / "people.db", copy)]
    assert lists[0] == lists[1]
    again = run("gallery", "export", tmp_path / "backup")
    assert (again.code, "is there already" in again.err) == (15, True)
    (tmp_path / "backup" / "crops" / "000000" / "1.jpg").write_bytes(b"another")
    altered = run("gallery", "import", tmp_path / "backup", "--gallery", tmp_path / "none.db")
    assert (altered.code, "its sha256 differs" in altered.err) == (5, True)
    assert run("gallery", "import", tmp_path / "none").code == 15


def test_a_gallery_is_reindexed(run, opened, tmp_path):
    with Gallery(tmp_path / "people.db") as gallery:
        before = gallery.people()
        gallery.enroll("Vector", np.eye(SIZE, dtype=np.float32)[:1])
    refused = run("gallery", "reindex", "--model", "new")
    assert refused.code == 15
    assert "missing: face 5 of Vector (no path): it has no crop" in refused.err
    assert "1 faces cannot be recomputed, so nothing was changed" in refused.err
    done = run("gallery", "reindex", "--model", "new", "--drop-missing")
    assert (done.code, done.out) == (0, f"{tmp_path}/people.db: 4 faces by new, 1 removed\n")
    assert opened[-1] == "new"
    with Gallery(tmp_path / "people.db") as gallery:
        assert (gallery.backend.contract, gallery.people()[:2]) == (NEW, before)
    done = run("gallery", "reindex", "--model", "new", "--json")
    assert json.loads(done.out) == {"switched": True, "faces": 4, "missing": []}
    assert run("gallery", "reindex").code == 2


def test_names_go_to_sidecars(run, tmp_path):
    folder = tmp_path / "photos"
    party = photo(
        folder / "party.jpg", face(1, look=9, likeness=0.9), face(7, x=150), size=(300, 200)
    )
    (folder / "broken.jpg").write_bytes(b"no photo")
    before = party.read_bytes()
    done = run("gallery", "faces-to-xmp", folder)
    assert (done.code, done.out) == (0, f"{party}.xmp: Zoë 张\n")
    assert "1 of 2 photos skipped" in done.err
    (found,) = named_faces(party)
    assert found.name == "Zoë 张"
    np.testing.assert_allclose(found.box, [60, 40, 140, 120], atol=1e-3)
    assert party.read_bytes() == before
    again = run("gallery", "faces-to-xmp", party, "--json")
    assert json.loads(again.out) == {
        "path": str(party),
        "sidecar": f"{party}.xmp",
        "added": [],
        "kept": ["Zoë 张"],
    }
    (folder / "party.jpg.xmp").unlink()
    assert run("gallery", "faces-to-xmp", folder / "broken.jpg").code == 4


def test_names_come_from_sidecars(run, tmp_path):
    folder = tmp_path / "photos"
    alone = photo(folder / "alone.jpg", face(3))
    pair = photo(folder / "pair.jpg", face(3, x=10), face(4, x=130))
    photo(folder / "nobody.jpg")
    box = np.array([60, 40, 140, 120])
    write_names(alone, [NamedFace("Eve, the third", box)])
    write_names(pair, [NamedFace("Eve", box - 50), NamedFace("Bob", box + 50)])
    done = run("gallery", "names-from-xmp", folder)
    assert done.code == 0
    rows = list(csv.reader(done.out.splitlines()))
    assert rows == [["path", "name"], [str(alone), "Eve, the third"]]
    assert "pair.jpg: has 2 face regions" in done.err
    table = tmp_path / "people.csv"
    table.write_text(done.out)
    assert run("enroll", "--csv", table).out.endswith("1 of 1 photos enrolled\n")
    lines = run("gallery", "names-from-xmp", folder, "--json").out.splitlines()
    assert [len(json.loads(line)["faces"]) for line in lines] == [1, 0, 2]
