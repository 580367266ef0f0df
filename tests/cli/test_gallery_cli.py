"""The gallery's commands, as an operator and as a photo library's owner use them."""

import io
import json
import sqlite3
import sys
from contextlib import closing
from datetime import UTC, datetime

import pytest
from pictured_people import Reader, embedding, face, photo, recognizer

from mindface import features
from mindface.cli.options import ModelOptions
from mindface.enrolment import Limits, photo_hash
from mindface.gallery import Gallery


@pytest.fixture
def readers(monkeypatch):
    """Replaces the models; the analyzers that commands make are listed."""
    made = []

    class Listed(Reader):
        def __init__(self, detector=None, recognizer=None):
            super().__init__(detector, recognizer)
            made.append(self)

    monkeypatch.setattr("mindface.analyzer.FaceAnalyzer", Listed)
    monkeypatch.setattr(ModelOptions, "open_detector", lambda self, **options: None)
    monkeypatch.setattr(
        ModelOptions, "open_recognizer", lambda self, calibration=None: recognizer()
    )
    return made


@pytest.fixture
def run(mindface, readers, monkeypatch, tmp_path):
    """Runs a command on the gallery that the environment names."""
    monkeypatch.setenv("MINDFACE_GALLERY", str(tmp_path / "people.db"))
    return mindface


@pytest.fixture
def people(tmp_path, run):
    """A gallery of three people with three photos each, enrolled from folders."""
    folder = tmp_path / "people"
    for who, name in enumerate(("Ada Lovelace", "Grace Hopper", "Zoë 张")):
        for look in range(3):
            photo(folder / name / f"{look}.jpg", face(who, look=look, likeness=0.9))
    code, out, err = run("enroll", "--folders", folder)
    assert (code, err) == (0, "")
    assert out == f"{tmp_path}/people.db: 9 of 9 photos enrolled\n"
    return folder


def answers(outcome):
    assert outcome.code == 0, outcome.err
    return [json.loads(line) for line in outcome.out.splitlines()]


def test_who_is_there(run, people):
    (everybody,) = answers(run("gallery", "list", "--json"))
    assert [set(person) for person in everybody] == [{"name", "embeddings", "created"}] * 3
    assert [(person["name"], person["embeddings"]) for person in everybody] == [
        ("Ada Lovelace", 3),
        ("Grace Hopper", 3),
        ("Zoë 张", 3),
    ]
    assert datetime.fromisoformat(everybody[0]["created"]) <= datetime.now(UTC)
    assert run("gallery", "list").out.splitlines()[1].startswith("Grace Hopper\t3\t20")
    shown = run("gallery", "show", "Zoë 张")
    assert str(people / "Zoë 张" / "2.jpg") in shown.out
    assert "quality 20.0" in shown.out


def test_who_is_this(run, people, tmp_path):
    party = photo(
        tmp_path / "party.jpg", face(1, look=9, likeness=0.9), face(7, x=150), size=(300, 200)
    )
    twin = photo(tmp_path / "twin.jpg", face(0, look=9, likeness=0.62))
    nobody = photo(tmp_path / "nobody.jpg")
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no photo")
    outcome = run("identify", party, twin, nobody, broken, "--json")
    found, doubtful, empty, unreadable = answers(outcome)
    assert found["path"] == str(party)
    known, stranger = found["faces"]
    assert set(known) >= {
        *("box", "decision", "person", "similarity", "threshold", "margin", "runner_up"),
    }
    assert known["box"] == [60, 40, 140, 120]
    assert (known["decision"], known["person"]) == ("match", "Grace Hopper")
    assert (stranger["decision"], stranger["person"]) == ("unknown", None)
    assert known["similarity"] >= known["threshold"] == 0.7
    assert doubtful["faces"][0]["decision"] == "uncertain"
    assert empty["faces"] == []
    assert set(unreadable) == {"path", "error"}
    assert "3 people: a match from similarity 0.700 on" in outcome.err
    assert "drawn people" in outcome.err
    assert "1 of 4 photos skipped" in outcome.err
    told = run("identify", party)
    assert "party.jpg: 2 faces\n  1  match  Grace Hopper  similarity 0." in told.out
    assert "  2  unknown  similarity" in told.out
    nobody_has_it = run("identify", party, "--tag", "staff", "--json")
    assert nobody_has_it.out.count('"unknown"') == 2
    assert "0 people: a match from similarity 0.600 on" in nobody_has_it.err


@pytest.mark.parametrize(
    ("search", "module"), [("float16", "numkong"), ("int8", "numkong"), ("hnsw", "usearch")]
)
def test_every_search_answers(run, people, search, module):
    pytest.importorskip(module, reason=f"--search {search} needs the extra search")
    expected = answers(run("identify", people, "--json"))
    assert answers(run("identify", people, "--search", search, "--json")) == expected


def test_corrections_hold_until_they_are_undone(run, people, tmp_path):
    def who(path):
        return answers(run("identify", path, "--json"))[0]["faces"][0]

    seen = photo(tmp_path / "seen.jpg", face(0, look=5, likeness=0.9))
    assert who(seen)["person"] == "Ada Lovelace"
    rejected = run("reject", "Ada Lovelace", seen)
    assert rejected.out == f"entry 10: {seen} does not show Ada Lovelace\n"
    assert who(seen)["decision"] == "unknown"
    assert run("confirm", "Grace Hopper", seen).code == 0
    assert (who(seen)["person"], who(seen)["confirmed"]) == ("Grace Hopper", True)
    (undone,) = answers(run("undo", "--json"))
    assert undone == {"entry": 12, "kind": "undo", "done": "entry 11 (confirm) is taken back"}
    assert run("undo", "10").code == 0
    assert who(seen)["person"] == "Ada Lovelace"
    assert run("rename", "Ada Lovelace", "Ada King").code == 0
    assert who(seen)["person"] == "Ada King"
    assert run("merge", "Zoë 张", "Ada King").code == 0
    assert who(seen)["person"] == "Zoë 张"
    assert "also: Ada King" in run("gallery", "show", "Ada King").out
    faces = answers(run("gallery", "show", "Zoë 张", "--json"))[0]["faces"]
    ids = [each["id"] for each in faces if "Ada Lovelace" in each["path"]]
    assert run("split", "Zoë 张", "Countess", *ids[:2]).code == 0
    assert who(seen)["person"] == "Countess"
    assert run("undo").code == 0
    assert run("undo").code == 0
    assert who(seen)["person"] == "Ada King"


def test_an_enrolled_photo_is_rejected_without_the_models(run, people, readers):
    readers.clear()
    assert run("reject", "Zoë 张", people / "Zoë 张" / "1.jpg").code == 0
    assert readers == []


def test_forgetting_leaves_nothing(run, people, tmp_path):
    gallery = tmp_path / "people.db"
    secrets = [embedding(2, look, 0.9).tobytes() for look in range(3)]
    with Gallery(gallery) as opened:
        crops = [opened.crop(each.id) for each in opened.faces("Zoë 张")]
    secrets += [crop[crop.index(b"\xff\xda") + 16 :] for crop in crops]  # the rest all share
    kept = photo(tmp_path / "seen.jpg", face(2, look=5, likeness=0.9))
    assert run("forget", "Zoë 张").code == 2
    assert len(answers(run("gallery", "list", "--json"))[0]) == 3
    (receipt,) = answers(run("forget", "Zoë 张", "--yes", "--json"))
    assert (receipt["clean"], receipt["faces"], receipt["crops"]) == (True, 3, 3)
    files = [path for path in tmp_path.iterdir() if path.name.startswith("people.db")]
    assert "people.db" in receipt["files"]
    for path in files:
        content = path.read_bytes()
        assert "Zoë 张".encode() not in content
        for secret in secrets:
            windows = [secret[start : start + 32] for start in range(0, len(secret), 32)]
            assert not any(window in content for window in windows)
    assert answers(run("identify", kept, "--json"))[0]["faces"][0]["decision"] == "unknown"
    assert run("forget", "Zoë 张", "--yes").code == 15
    assert "nothing was found" in run("forget", "Grace Hopper", "--yes").out


class Terminal(io.StringIO):
    """Somebody is there, and types."""

    def isatty(self):
        return True


def test_forgetting_empties_the_cache_of_evaluations(run, people, tmp_path, monkeypatch):
    monkeypatch.setenv("MINDFACE_CACHE", str(tmp_path / "cache"))
    gone, kept = (embedding(7, look, 0.5).tobytes() for look in range(2))
    folder = tmp_path / "cache" / "features"
    folder.mkdir(parents=True)
    with closing(sqlite3.connect(folder / "a.sqlite")) as cache, cache:
        cache.execute("PRAGMA journal_mode=WAL")
        cache.execute(features.SCHEMA)
        for name, row in (("Ada Lovelace", gone), ("Grace Hopper", kept)):
            key = photo_hash(people / name / "0.jpg")
            cache.execute("INSERT INTO photo VALUES (?, NULL, ?)", (key, row))
    (receipt,) = answers(run("forget", "Ada Lovelace", "--yes", "--json"))
    assert receipt["cached"] == 1
    files = [path.read_bytes() for path in folder.iterdir()]
    assert any(kept in content for content in files)
    assert not any(gone[:32] in content for content in files)
    assert "cache of evaluations" in run("forget", "Grace Hopper", "--yes").out


def test_a_damaged_cache_is_named_before_anybody_is_forgotten(run, people, tmp_path, monkeypatch):
    monkeypatch.setenv("MINDFACE_CACHE", str(tmp_path / "cache"))
    damaged = tmp_path / "cache" / "features" / "a.sqlite"
    damaged.parent.mkdir(parents=True)
    damaged.write_bytes(b"no database" * 100)
    outcome = run("forget", "Ada Lovelace", "--yes")
    assert outcome.code == 5
    assert str(damaged) in outcome.err
    assert len(answers(run("gallery", "list", "--json"))[0]) == 3


def test_who_is_damaged_is_forgotten_all_the_same(run, people, tmp_path):
    with sqlite3.connect(tmp_path / "people.db") as database:
        database.execute("UPDATE faces SET quality = 1 WHERE id = 1")
    code, out, err = run("forget", "Ada Lovelace", "--yes")
    assert (code, "embeddings 3" in out) == (0, True)
    assert "may keep something of Ada Lovelace" in err
    assert run("gallery", "integrity").code == 0


@pytest.mark.parametrize(("answer", "code", "left"), [("n", 1, 3), ("y", 0, 2)])
def test_forgetting_asks(run, people, monkeypatch, answer, code, left):
    monkeypatch.setattr(sys, "stdin", Terminal(answer + "\n"))
    assert run("forget", "Ada Lovelace").code == code
    assert len(answers(run("gallery", "list", "--json"))[0]) == left


def test_refused_photos_are_explained_and_counted(run, tmp_path):
    folder = tmp_path / "ada"
    photo(folder / "blurred.jpg", face(0, sharpness=9))
    photo(folder / "good.jpg", face(0, look=1))
    photo(folder / "turned.jpg", face(0, yaw=70, sharpness=8))
    (folder / "broken.jpg").write_bytes(b"no photo")
    code, out, err = run("enroll", "Ada", folder)
    assert code == 0
    assert "1 of 4 photos enrolled, 3 refused (sharpness 2, unreadable 1, yaw 1)" in out
    assert f"refused {folder}/blurred.jpg: the face is blurred: sharpness 9, at least 40" in err
    assert "sharpness 8, at least 40; turned to the side by 70 degrees, at most 45" in err
    lines = answers(run("enroll", "Ada", folder, "--force", "--json"))
    assert [line["status"] for line in lines] == ["enrolled", "refused", "present", "enrolled"]
    assert lines[0]["reasons"][0]["limit"] == 40
    assert "forced: sharpness 8 (limit 40), yaw 70 (limit 45)" in run("gallery", "show", "Ada").out
    assert run("enroll", "Ada", folder, "--strict").code == 10


def test_when_no_photo_will_do(run, tmp_path):
    for name in "ab":
        photo(tmp_path / "blurred" / f"{name}.jpg", face(0, sharpness=9))
        photo(tmp_path / "broken" / f"{name}.jpg").write_bytes(b"no photo")
    blurred = run("enroll", "Ada", tmp_path / "blurred")
    assert (blurred.code, "mindface: none of 2 photos will do" in blurred.err) == (15, True)
    broken = run("enroll", "Ada", tmp_path / "broken")
    assert (broken.code, "mindface: none of 2 photos could be read" in broken.err) == (4, True)


def test_a_refused_photo_is_an_exit_code(run, people, tmp_path):
    stranger = photo(tmp_path / "a.jpg", face(0, look=8, likeness=0.95))
    code, _, err = run("enroll", "Somebody", stranger)
    assert code == 15
    assert f"mindface: {stranger}: not enrolled: looks like 'Ada Lovelace': similarity 0.9" in err
    assert run("enroll", "Somebody", stranger, "--force").code == 0
    check = run("gallery", "check")
    assert check.code == 15
    assert "Somebody" in check.out
    assert "reach the threshold" in check.err
    audit = run("gallery", "audit")
    assert "duplicate  Ada Lovelace  and  Somebody" in audit.out
    assert "one photo  Somebody" in audit.out


def test_a_gallery_of_different_people_passes_its_check(run, people):
    code, out, _ = run("gallery", "check", "--json")
    assert code == 0
    found = json.loads(out)
    assert (found["passed"], found["threshold"], len(found["strangers"])) == (True, 0.7, 3)
    assert "a match is from 0.700 on" in run("gallery", "check").out
    assert run("gallery", "audit").out == "nothing found\n"


def test_interrupted_enrolment_goes_on(run, readers, tmp_path, monkeypatch):
    folder = tmp_path / "people"
    for number in range(40):
        photo(folder / f"person {number // 4:02}" / f"{number}.jpg", face(number // 4, look=number))
    whole = Reader.stream

    def interrupted(self, sources, **options):
        for number, analysis in enumerate(whole(self, sources, **options)):
            if number == 17:
                raise KeyboardInterrupt
            yield analysis

    with monkeypatch.context() as patch:
        patch.setattr(Reader, "stream", interrupted)
        assert run("enroll", "-", folder).code == 130
    outcome = run("enroll", "--folders", folder)
    assert outcome.out.endswith("23 of 40 photos enrolled, 17 were there\n")
    assert len(readers[-1].seen) == 23
    (everybody,) = answers(run("gallery", "list", "--json"))
    assert [person["embeddings"] for person in everybody] == [4] * 10
    assert run("enroll", "--folders", folder).out.endswith(
        "0 of 40 photos enrolled, 40 were there\n"
    )


def test_lists_with_tags_and_validity_and_who_expired(run, tmp_path):
    photo(tmp_path / "a.jpg", face(0))
    photo(tmp_path / "b.jpg", face(1))
    table = tmp_path / "people.csv"
    table.write_text(
        "path,name,tags,valid_until\na.jpg,Ada,staff;day,\nb.jpg,Bob,,2020-01-01T00:00Z\n"
    )
    assert run("enroll", "--csv", table, "--tag", "all").code == 0
    ada, bob = [answers(run("gallery", "show", name, "--json"))[0] for name in ("Ada", "Bob")]
    assert (ada["tags"], ada["valid_until"]) == (["day", "staff"], None)
    assert (bob["tags"], bob["valid_until"]) == (["all"], "2020-01-01T00:00:00+00:00")
    assert answers(run("identify", tmp_path / "b.jpg", "--json"))[0]["faces"][0]["person"] is None
    assert run("gallery", "purge").code == 2
    (receipt,) = answers(run("gallery", "purge", "--expired", "--yes", "--json"))
    assert receipt["people"] == 1
    assert run("gallery", "purge", "--expired", "--yes").out == "nobody's time is over\n"
    (everybody,) = answers(run("gallery", "list", "--json"))
    assert [person["name"] for person in everybody] == ["Ada"]


def test_tags_and_validity_are_edited(run, people):
    def shown():
        (facts,) = answers(run("gallery", "show", "Ada Lovelace", "--json"))
        return facts["tags"], facts["valid_from"], facts["valid_until"]

    edit = ("gallery", "edit", "Ada Lovelace")
    assert run(*edit, "--tag", "staff", "--tag", "night").code == 0
    assert shown() == (["night", "staff"], None, None)
    assert run(*edit, "--valid-until", "2027-01-01T00:00Z").code == 0
    assert shown() == (["night", "staff"], None, "2027-01-01T00:00:00+00:00")
    assert run(*edit, "--valid-until", "none", "--valid-from", "2026-01-01T00:00Z").code == 0
    assert run(*edit, "--no-tags").code == 0
    assert shown() == ([], "2026-01-01T00:00:00+00:00", None)
    assert run("undo").code == 0
    assert shown()[0] == ["night", "staff"]
    for wrong in ([], ["--tag", "a", "--no-tags"], ["--valid-from", "soon"]):
        assert run(*edit, *wrong).code == 2
    assert run("gallery", "edit", "Nobody", "--no-tags").code == 15


def test_what_is_not_damaged_is_recovered(run, people, tmp_path):
    assert run("gallery", "integrity") == (0, "nothing is damaged\n", "")
    with sqlite3.connect(tmp_path / "people.db") as database:
        database.execute("UPDATE faces SET quality = 1 WHERE id = 4")
    code, out, err = run("gallery", "integrity")
    assert code == 15
    assert "face 4 of person 2 is damaged" in out
    assert "gallery recover" in err
    faults = run("gallery", "integrity", "--json")
    assert (faults.code, json.loads(faults.out)["faults"]) == (15, [out.strip()])
    saved = tmp_path / "saved.db"
    outcome = run("gallery", "recover", saved)
    assert "3 people, 8 faces, 8 crops" in outcome.out
    assert "lost: faces 4: its checksum is wrong" in outcome.out
    assert run("gallery", "list", "--gallery", saved).out.count("\t3\t") == 2


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["gallery", "list", "--gallery", "{tmp}/none.db"], 15, "no such gallery"),
        (["identify", "{photo}", "--gallery", "{tmp}/none.db"], 15, "no such gallery"),
        (["enroll"], 2, "say whom"),
        (["enroll", "Ada"], 2, "no photo of 'Ada'"),
        (["enroll", "Ada", "{tmp}/none.jpg"], 4, "none.jpg"),
        (["enroll", "Ada", "{photo}", "--folders", "{tmp}"], 2, "say whom"),
        (["enroll", "Ada", "{photo}", "--valid-until", "soon"], 2, "no ISO 8601"),
        (["enroll", "Ada", "{photo}", "--valid-until", "2027-01-01"], 2, "no time zone"),
        (["enroll", "Ada", "{photo}", "--gallery", "mongo://x"], 15, "no such kind"),
        (["identify", "{photo}", "--fpir", "1"], 2, "between 0 and 1"),
        (["identify", "{photo}", "--search", "int4"], 2, "float32, float16, int8, hnsw"),
        (["reject", "Alan", "{photo}"], 15, "nobody named 'Alan'"),
        (["reject", "Ada Lovelace", "{photo}", "--face", "4"], 15, "no face 4"),
        (["merge", "Ada Lovelace", "Alan"], 15, "nobody named 'Alan'"),
        (["rename", "Ada Lovelace", "Zoë 张"], 15, "already"),
        (["split", "Ada Lovelace", "New", "99"], 15, "no face 99"),
        (["undo", "99"], 15, "99"),
        (["gallery", "show", "Alan"], 15, "nobody named 'Alan'"),
        (["gallery", "recover", "{photo}"], 15, "is there already"),
    ],
)
def test_errors_say_what_to_do(run, people, tmp_path, arguments, code, said):
    places = {"{tmp}": str(tmp_path), "{photo}": str(photo(tmp_path / "x.jpg", face(0, look=7)))}
    for name, value in places.items():
        arguments = [argument.replace(name, value) for argument in arguments]
    outcome = run(*arguments)
    assert outcome.code == code
    assert said in outcome.err
    assert not (tmp_path / "none.db").exists()


def test_the_gate_of_the_command_is_the_librarys(run, monkeypatch, tmp_path):
    given = []
    monkeypatch.setattr(
        "mindface.enrolment.enroll_photos",
        lambda *_, limits, **__: given.append(limits) or iter([]),
    )
    run("enroll", "Ada", photo(tmp_path / "a.jpg", face(0)))
    assert given == [Limits()]


def test_no_gallery_was_named(mindface, readers, monkeypatch):
    monkeypatch.delenv("MINDFACE_GALLERY", raising=False)
    outcome = mindface("gallery", "list")
    assert outcome.code == 2
    assert "mindface: which gallery? Say --gallery FILE, or set MINDFACE_GALLERY" in outcome.err


def test_with_the_models_that_ship(mindface, portraits, tmp_path):
    options = ("--gallery", tmp_path / "people.db", "--engine", "onnxruntime")
    enrolled = mindface("enroll", "Grace Hopper", portraits / "more", *options)
    assert enrolled.code == 0, enrolled.err
    assert "1 of 1 photos enrolled" in enrolled.out
    found = answers(mindface("identify", portraits, "--json", *options))
    faces = {line["path"].rpartition("/")[2]: line.get("faces") for line in found}
    (hopper,), (collins,) = faces["hopper.png"], faces["Zoë 张.jpg"]
    assert (hopper["decision"], hopper["person"]) == ("match", "Grace Hopper")
    assert hopper["similarity"] == pytest.approx(1, abs=1e-3)
    assert (collins["decision"], collins["person"]) == ("unknown", None)
    assert faces["nobody.jpg"] == []
    assert faces["broken.jpg"] is None


def test_an_encrypted_gallery_opens_with_its_key_alone(run, tmp_path, monkeypatch):
    key = tmp_path / "people.key"
    assert "keep a copy elsewhere" in run("gallery", "key", key).out
    refused = run("gallery", "key", key)
    assert (refused.code, "is there already" in refused.err) == (15, True)
    ada = photo(tmp_path / "ada.jpg", face(0))
    assert run("enroll", "Ada", ada, "--key-file", key).code == 0
    assert b"SQLite" not in (tmp_path / "people.db").read_bytes()
    for command in (["gallery", "list"], ["identify", ada], ["rename", "Ada", "Eve"]):
        refused = run(*command)
        assert (refused.code, refused.out) == (15, "")
        assert "is encrypted: give its key" in refused.err
    assert run("gallery", "list", "--key-file", key).out.startswith("Ada\t1")
    monkeypatch.setenv("MINDFACE_GALLERY_KEY_FILE", str(key))
    assert run("gallery", "list").out.startswith("Ada\t1")
    assert run("gallery", "recover", tmp_path / "saved.db").code == 0
    monkeypatch.delenv("MINDFACE_GALLERY_KEY_FILE")
    monkeypatch.setenv("MINDFACE_GALLERY_KEY", key.read_text())
    (line,) = answers(run("identify", ada, "--json", "--gallery", tmp_path / "saved.db"))
    assert line["faces"][0]["person"] == "Ada"
    forgotten = run("forget", "Ada", "--yes")
    assert forgotten.code == 0
    assert "the database was written anew (VACUUM)" in forgotten.out
    assert "cannot be promised: that nothing is left in the files" in forgotten.out
    assert run("gallery", "export", tmp_path / "export", "--key-file", key).code == 0
    monkeypatch.setenv("MINDFACE_GALLERY_KEY", "00")
    refused = run("gallery", "list")
    assert (refused.code, "MINDFACE_GALLERY_KEY: no key" in refused.err) == (15, True)
