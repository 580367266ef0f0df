"""`mindface cluster` and `mindface evaluate clustering`, as a photo library's owner uses them."""

import json
import shutil
from types import SimpleNamespace

import pytest
from pictured_people import Reader, face, photo, recognizer

from mindface.cli.options import ModelOptions
from mindface.detection.detector import Thresholds

WHO, STRANGER = (0, 2, 3), 9  # whose directions are far from each other


class Looker(Reader):
    """A `Reader` that can be stopped, and whose detector has a record."""

    stop_after = None
    sha256 = "d" * 64

    def __init__(self, detector=None, recognizer=None):
        super().__init__(detector, recognizer)
        self.detector = SimpleNamespace(
            record=SimpleNamespace(sha256=self.sha256),
            scales=(1.0,),
            closer=None,
            input_size=None,
            thresholds=Thresholds(),
        )

    def stream(self, sources, *, batch_size=32, quality=False):
        for analysis in super().stream(sources, batch_size=batch_size, quality=quality):
            if self.stop_after is not None and len(self.seen) > self.stop_after:
                raise KeyboardInterrupt
            yield analysis


@pytest.fixture
def lookers(monkeypatch):
    """Replaces the models; the analyzers that commands make are listed."""
    made = []

    class Listed(Looker):
        def __init__(self, detector=None, recognizer=None):
            super().__init__(detector, recognizer)
            made.append(self)

    monkeypatch.setattr("mindface.analyzer.FaceAnalyzer", Listed)
    monkeypatch.setattr("mindface.album.store.clear_norm", lambda analyzer: 20.0)
    monkeypatch.setattr(ModelOptions, "open_detector", lambda self, **options: None)
    monkeypatch.setattr(
        ModelOptions, "open_recognizer", lambda self, calibration=None: recognizer()
    )
    return made


@pytest.fixture
def run(mindface, lookers, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return mindface


@pytest.fixture
def album(tmp_path):
    """Three people with four photos each, a stranger, an empty photo and a broken one."""
    folder = tmp_path / "photos"
    for who in range(3):
        for look in range(4):
            photo(folder / f"{who}_{look}.jpg", face(WHO[who], look=look, likeness=0.9))
    photo(folder / "more" / "stranger.jpg", face(STRANGER, likeness=0.9))
    photo(folder / "nobody.jpg")
    (folder / "broken.jpg").write_bytes(b"no photo")
    return folder


def lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def people_of(found):
    """The names of photos by person; those of nobody by themselves."""
    groups = {}
    for each in found:
        key = each["path"] if each["person"] is None else each["person"]
        groups.setdefault(key, set()).add(each["path"].rpartition("/")[2])
    return {frozenset(group) for group in groups.values()}


PLANTED = {frozenset(f"{who}_{look}.jpg" for look in range(4)) for who in range(3)}


def test_a_folder_becomes_people(run, album, tmp_path):
    done = run("cluster", "photos", "--output", "people.jsonl")
    assert done.code == 0, done.err
    found = lines(tmp_path / "people.jsonl")
    assert people_of(found) == {*PLANTED, frozenset(["stranger.jpg"])}
    assert set(found[0]) == {
        *("path", "face", "box", "person", "name", "decision", "confidence", "doubtful"),
        "clear",
    }
    assert {each["path"] for each in found} >= {"photos/0_0.jpg", "photos/more/stranger.jpg"}
    assert found[-1]["person"] is None
    assert found[-1]["confidence"] is None
    assert found[0]["box"] == [60, 40, 140, 120]
    assert "people.jsonl: 13 faces of 14 photos are 3 people; 1 faces are nobody's" in done.out
    assert "1 of 15 photos skipped" in done.err
    assert "broken.jpg: not an image" in done.err
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        *("people.jsonl", "people.jsonl-faces", "photos"),
    ]
    assert (tmp_path / "people.jsonl-faces").stat().st_mode & 0o777 == 0o600


def test_the_same_photos_in_another_order_are_the_same_people(run, album, tmp_path):
    assert run("cluster", "photos", "--output", "a.jsonl").code == 0
    for number, path in enumerate(sorted(album.rglob("*.jpg"), reverse=True)):
        path.rename(album / f"renamed_{number:02}.jpg")
    assert run("cluster", "photos", "--output", "b.jsonl").code == 0
    a, b = (
        {each["face"]: (each["person"], each["confidence"]) for each in lines(tmp_path / name)}
        for name in ("a.jsonl", "b.jsonl")
    )
    assert a == b


def test_new_photos_join_old_people_and_old_ones_are_not_looked_at(run, lookers, album, tmp_path):
    output = tmp_path / "people.jsonl"
    run("cluster", "photos", "--output", output)
    before = output.read_bytes()
    old = {each["face"]: each["person"] for each in lines(output)}
    assert run("cluster", "photos", "--output", output).code == 0
    assert output.read_bytes() == before
    assert [path.name for path in lookers[-1].seen] == ["broken.jpg"]
    photo(album / "1_new.jpg", face(WHO[1], look=8, likeness=0.9))
    photo(album / "more" / "again.jpg", face(STRANGER, look=3, likeness=0.9))
    (album / "0_0.jpg").unlink()
    shutil.move(album / "2_2.jpg", album / "more" / "moved.jpg")
    assert run("cluster", "photos", "--output", output).code == 0
    assert {path.name for path in lookers[-1].seen} == {"broken.jpg", "1_new.jpg", "again.jpg"}
    found = {each["path"].rpartition("/")[2]: each for each in lines(output)}
    assert "0_0.jpg" not in found
    assert found["1_new.jpg"]["person"] == found["1_0.jpg"]["person"]
    assert found["moved.jpg"]["person"] == found["2_0.jpg"]["person"]
    assert found["again.jpg"]["person"] == found["stranger.jpg"]["person"] == 3
    for each in found.values():
        assert old.get(each["face"]) in (None, each["person"])


def test_photos_of_another_folder_are_added(run, album, tmp_path):
    output = tmp_path / "people.jsonl"
    run("cluster", "photos", "--output", output)
    photo(tmp_path / "second" / "0_x.jpg", face(WHO[0], look=8, likeness=0.9))
    shutil.rmtree(album)  # as where a disk is not connected
    assert run("cluster", "second", "--output", output).code == 0
    found = lines(output)
    assert len(found) == 14
    assert len({each["person"] for each in found if "0_" in each["path"]}) == 1


def test_rebuild_gives_what_all_at_once_gives(run, album, tmp_path):
    for path in album.glob("*_[23].jpg"):
        shutil.move(path, tmp_path)
    run("cluster", "photos", "--output", "people.jsonl")
    for path in tmp_path.glob("*_[23].jpg"):
        shutil.move(path, album)
    for arguments in (("people.jsonl",), ("people.jsonl", "--rebuild"), ("once.jsonl",)):
        assert run("cluster", "photos", "--output", *arguments).code == 0
    assert (tmp_path / "people.jsonl").read_bytes() == (tmp_path / "once.jsonl").read_bytes()


def test_what_was_stopped_goes_on(run, lookers, album, tmp_path, monkeypatch):
    monkeypatch.setattr("mindface.album.store.BATCH", 4)
    monkeypatch.setattr(Looker, "stop_after", 9)
    assert run("cluster", "photos", "--output", "people.jsonl").code == 130
    assert not (tmp_path / "people.jsonl").exists()
    monkeypatch.setattr(Looker, "stop_after", None)
    assert run("cluster", "photos", "--output", "people.jsonl").code == 0
    assert len(lookers[-1].seen) == 15 - 8
    run("cluster", "photos", "--output", "whole.jsonl")
    assert (tmp_path / "people.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()


def test_a_gallery_names_people_and_is_obeyed(run, album, tmp_path):
    photo(tmp_path / "ada.jpg", face(WHO[0], look=9, likeness=0.9))
    photo(tmp_path / "zoe.jpg", face(WHO[1], look=9, likeness=0.9))
    for name, path in (("Ada", "ada.jpg"), ("Zoë", "zoe.jpg")):
        assert run("enroll", name, path, "--gallery", "people.db").code == 0
    command = ("cluster", "photos", "--output", "people.jsonl", "--gallery", "people.db")
    done = run(*command)
    assert "3 people, 2 of them named" in done.out
    found = {each["path"][7:]: each for each in lines(tmp_path / "people.jsonl")}
    assert {found[f"0_{look}.jpg"]["name"] for look in range(4)} == {"Ada"}
    assert {found[f"1_{look}.jpg"]["name"] for look in range(4)} == {"Zoë"}
    assert found["0_0.jpg"]["decision"] in ("match", None)
    assert found["2_0.jpg"]["name"] is None

    assert run("reject", "Ada", "photos/0_1.jpg", "--gallery", "people.db").code == 0
    assert run("confirm", "Zoë", "photos/more/stranger.jpg", "--gallery", "people.db").code == 0
    for rebuild in ((), ("--rebuild",)):
        assert run(*command, *rebuild).code == 0
        again = {each["path"][7:]: each for each in lines(tmp_path / "people.jsonl")}
        assert again["0_1.jpg"]["name"] is None
        assert again["0_1.jpg"]["person"] != again["0_0.jpg"]["person"]
        assert again["more/stranger.jpg"]["person"] == again["1_0.jpg"]["person"]
        assert again["more/stranger.jpg"]["decision"] == "confirmed"
        assert not again["more/stranger.jpg"]["doubtful"]

    before = (tmp_path / "people.jsonl").read_bytes()
    assert run(*command).code == 0
    assert (tmp_path / "people.jsonl").read_bytes() == before
    assert run("rename", "Zoë", "Zoë 张", "--gallery", "people.db").code == 0
    assert run("forget", "Ada", "--yes", "--gallery", "people.db").code == 0
    assert run(*command).code == 0
    last = {each["path"][7:]: each for each in lines(tmp_path / "people.jsonl")}
    assert {each["name"] for each in last.values()} == {None, "Zoë 张"}
    for path in ("0_0.jpg", "1_0.jpg", "more/stranger.jpg"):
        assert last[path]["person"] == again[path]["person"]


def test_the_report_shows_everybody(run, album, tmp_path):
    command = ("cluster", "photos", "--output", "people.jsonl", "--report", "sheets")
    assert run(*command).code == 0
    page = (tmp_path / "sheets" / "index.html").read_text(encoding="utf-8")
    pictures = sorted(path.name for path in (tmp_path / "sheets" / "faces").iterdir())
    assert len(pictures) == 12
    assert all(f'src="faces/{name}"' in page for name in pictures)
    assert "Person 2" in page
    assert "http" not in page.replace("http-equiv", "")
    assert "<script" not in page
    for look in range(3):
        (album / f"0_{look}.jpg").unlink()
    assert run(*command).code == 0
    assert len(list((tmp_path / "sheets" / "faces").iterdir())) == 9


def test_json_has_everything(run, album, tmp_path):
    done = run("cluster", "photos", "--output", "people.jsonl", "--json")
    facts = json.loads(done.out)
    assert (facts["people"], facts["faces"], facts["alone"]) == (3, 13, 1)
    assert facts["threshold"] == 0.7
    assert [each["path"].rpartition("/")[2] for each in facts["skipped"]] == ["broken.jpg"]
    scores = [each["similarity"] for each in facts["doubtful_joins"]]
    assert scores == sorted(scores)
    stricter = run("cluster", "photos", "--output", "b.jsonl", "--json", "--chance", "0.001")
    assert json.loads(stricter.out)["threshold"] > 0.7


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--chance", "0"), 2, "between 0 and 1"),
        (("--strict",), 10, "broken.jpg: not an image"),
        (("--gallery", "none.db"), 15, "no such gallery"),
    ],
)
def test_what_cannot_be_is_refused(run, album, tmp_path, arguments, code, words):
    done = run("cluster", "photos", "--output", "people.jsonl", *arguments)
    assert done.code == code
    assert words in done.err
    assert not (tmp_path / "people.jsonl").exists()


def test_another_model_looks_at_everything_again_or_not_at_all(run, album, tmp_path, monkeypatch):
    run("cluster", "photos", "--output", "people.jsonl")
    monkeypatch.setattr(Looker, "sha256", "e" * 64)
    refused = run("cluster", "photos", "--output", "people.jsonl")
    assert refused.code == 5
    assert "say --rebuild" in refused.err
    assert run("cluster", "photos", "--output", "people.jsonl", "--rebuild").code == 0


def test_a_model_without_a_calibration_is_refused(run, album, monkeypatch):
    monkeypatch.setattr(
        ModelOptions, "open_recognizer", lambda self, calibration=None: recognizer(False)
    )
    done = run("cluster", "photos", "--output", "people.jsonl")
    assert done.code == 11
    assert "run  mindface calibrate" in done.err


@pytest.mark.parametrize(
    ("name", "content", "code", "words"),
    [
        ("people.jsonl", b"{}\n", 2, "line 1: is no line of a people.jsonl"),
        ("people.jsonl", b"\xff\n", 2, "line 1"),
        ("people.jsonl-faces", b"no database" * 100, 5, "remove it"),
    ],
)
def test_damaged_files_are_named_and_left(run, album, tmp_path, name, content, code, words):
    (tmp_path / name).write_bytes(content)
    done = run("cluster", "photos", "--output", "people.jsonl")
    assert done.code == code
    assert words in done.err
    assert (tmp_path / name).read_bytes() == content


def test_people_are_compared_with_the_truth(run, album, tmp_path):
    run("cluster", "photos", "--output", "people.jsonl")
    rows = [f"photos/{who}_{look}.jpg,person {who}" for who in range(3) for look in range(4)]
    truth = tmp_path / "truth.csv"
    truth.write_text("\n".join(["path,person", *rows, "photos/nobody.jpg,person 1"]))
    told = run("evaluate", "clustering", "people.jsonl", "--truth", truth)
    assert told.code == 0, told.err
    assert "12 faces of 3 people, found as 3 people and 0 faces of nobody" in told.out
    assert "missed: 1 photos" in told.out
    figures = json.loads(
        run("evaluate", "clustering", "people.jsonl", "--truth", truth, "--json").out
    )
    assert figures["pairwise"] == figures["b_cubed"] == {"f": 1, "precision": 1, "recall": 1}
    assert (figures["purity"], figures["completeness"]) == (1, 1)
    assert [path.rpartition("/")[2] for path in figures["missed"]] == ["nobody.jpg"]
    assert figures["faces_of_other_photos"] == 1
    wrong = tmp_path / "wrong.csv"
    wrong.write_text("path,person\nelsewhere.jpg,somebody\n")
    refused = run("evaluate", "clustering", "people.jsonl", "--truth", wrong)
    assert refused.code == 2
    assert "are they the same files?" in refused.err


def test_a_folder_a_person_is_the_truth(run, tmp_path):
    for who in range(2):
        for look in range(3):
            faces = [face(who, look=look, likeness=0.9), face(9 + look, x=150, side=30)]
            photo(tmp_path / "photos" / f"p{who}" / f"{look}.jpg", *faces, size=(300, 200))
    run("cluster", "photos", "--output", "people.jsonl")
    done = run("evaluate", "clustering", "people.jsonl", "--truth", "photos", "--json")
    figures = json.loads(done.out)
    assert (figures["faces"], figures["people"], figures["found"]) == (6, 2, 2)
    assert figures["other_faces"] == 6
    assert figures["purity"] == 1


def test_unclear_faces_are_nobody(run, album, tmp_path, monkeypatch):
    monkeypatch.setattr("mindface.album.store.clear_norm", lambda analyzer: 40.0)
    done = run("cluster", "photos", "--output", "people.jsonl")
    assert "are 0 people; 13 faces are nobody's (13 of them unclear)" in done.out
    assert {each["clear"] for each in lines(tmp_path / "people.jsonl")} == {False}
