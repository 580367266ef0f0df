import itertools

import cv2
import numpy as np
import pytest

from mindface.datasets import synth
from mindface.datasets.synth import synth_faces


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.jpg")}


def decoded(content):
    return cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    """Photos `(6, 12, 256, 256, 3)` of six people."""
    folder = tmp_path_factory.mktemp("synth") / "people"
    synth_faces(folder, people=6, pictures=12)
    photos = [decoded(content) for _, content in sorted(contents(folder).items())]
    return np.stack(photos).reshape(6, 12, 256, 256, 3)


def test_a_photo_depends_on_seed_person_and_picture_alone(tmp_path):
    few, many, others = tmp_path / "few", tmp_path / "many", tmp_path / "others"
    synth_faces(few, people=2, pictures=2, seed=3)
    synth_faces(many, people=3, pictures=3, seed=3)
    synth_faces(others, people=2, pictures=2, seed=4)
    names = [f"person_000{person}/0{picture}.jpg" for person in (0, 1) for picture in (0, 1)]
    assert sorted(contents(few)) == names
    assert len(contents(many)) == len(set(contents(many).values())) == 9
    assert contents(few).items() <= contents(many).items()
    assert not set(contents(few).values()) & set(contents(others).values())


@pytest.mark.parametrize("threads", [1, 4])
def test_a_photo_does_not_depend_on_the_number_of_threads(threads, tmp_path):
    before = cv2.getNumThreads()
    synth_faces(tmp_path / "usual", people=2, pictures=1)
    try:
        cv2.setNumThreads(threads)
        synth_faces(tmp_path / "set", people=2, pictures=1)
    finally:
        cv2.setNumThreads(before)
    assert contents(tmp_path / "usual") == contents(tmp_path / "set")


@pytest.mark.parametrize("size", [64, 320])
def test_photos_have_the_wanted_size(size, tmp_path):
    synth_faces(tmp_path / "people", people=2, pictures=1, size=size)
    for content in contents(tmp_path / "people").values():
        assert decoded(content).shape == (size, size, 3)


def test_people_are_shown_as_they_are_made(tmp_path):
    seen = []
    synth_faces(
        tmp_path / "a", 3, 1, progress=lambda numbers: (seen.append(n) or n for n in numbers)
    )
    assert seen == [0, 1, 2]


def test_new_and_empty_folders_are_filled(tmp_path):
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "empty", tmp_path / "new" / "people"):
        synth_faces(folder, people=1, pictures=1)
        assert list(contents(folder)) == ["person_0000/00.jpg"]
        assert [path.name for path in folder.parent.glob("*.tmp")] == []


def test_a_folder_with_something_in_it_is_refused_and_left_alone(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep")
    with pytest.raises(FileExistsError, match=r"not empty: name a new one.*mine"):
        synth_faces(tmp_path / "mine")
    assert [path.name for path in tmp_path.rglob("*")] == ["mine", "notes.txt"]


def test_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("keep")
    with pytest.raises(NotADirectoryError):
        synth_faces(tmp_path / "file")
    assert (tmp_path / "file").read_text() == "keep"


@pytest.mark.parametrize("there", [False, True])
def test_nothing_is_left_of_broken_off_work(there, tmp_path):
    folder = tmp_path / "people"
    if there:
        folder.mkdir()

    def break_off_at_the_second(numbers):
        yield next(iter(numbers))
        assert len(contents(tmp_path)) == 2
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        synth_faces(folder, people=3, pictures=2, progress=break_off_at_the_second)
    assert list(tmp_path.rglob("*")) == [folder] * there


def test_a_folder_that_was_filled_meanwhile_is_left_alone(tmp_path):
    def fill_meanwhile(numbers):
        yield from numbers
        (tmp_path / "people").mkdir()
        (tmp_path / "people" / "mine.jpg").touch()

    with pytest.raises(OSError, match="not empty"):
        synth_faces(tmp_path / "people", people=1, pictures=1, progress=fill_meanwhile)
    assert [path.name for path in tmp_path.rglob("*")] == ["people", "mine.jpg"]


@pytest.mark.parametrize(
    ("name", "value"), [("people", 0), ("pictures", 0), ("seed", -1), ("size", 63)]
)
def test_numbers_out_of_range_are_refused(name, value, tmp_path):
    with pytest.raises(ValueError, match=f"{name} must be .* at least, not {value}"):
        synth_faces(tmp_path / "people", **{name: value})
    assert not list(tmp_path.iterdir())


def test_people_of_one_portrait_differ_more_than_photos_of_one_person(people):
    """The places of a face average out over the photos; what is left is the person."""
    faces = people[:, :, 64:192, 64:192].astype(float)
    first, second = faces[:, ::2].mean(1), faces[:, 1::2].mean(1)
    apart = np.abs(first[:, None] - second).mean((2, 3, 4))
    number = np.arange(len(people))
    others = (number[:, None] != number) & (number[:, None] % 2 == number % 2)
    assert np.diag(apart).mean() < 0.8 * apart[others].mean()


def test_photos_of_a_person_differ(people):
    for photos in people.astype(float):
        apart = [np.abs(a - b).mean() for a, b in itertools.combinations(photos, 2)]
        assert min(apart) > 5


@pytest.mark.parametrize("traits", [synth.BUILD, synth.MOTION], ids=["build", "motion"])
def test_warps_never_fold(traits):
    for seed in range(100):
        warp = synth._warped(traits, np.random.default_rng(seed)) / synth.STEP
        (xy, xx), (yy, yx) = np.gradient(warp[..., 0]), np.gradient(warp[..., 1])
        assert (xx * yy - xy * yx).min() > 0.2


@pytest.mark.shared
def test_models_find_the_faces_and_tell_people_apart(analyzer, tmp_path):
    synth_faces(tmp_path / "people", people=12, pictures=4)
    found = [analyzer.analyze(content) for _, content in sorted(contents(tmp_path).items())]
    assert all(found)
    assert sum(len(faces) == 1 for faces in found) >= 46
    embeddings = np.stack([max(faces, key=lambda face: face.score).embedding for faces in found])
    person = np.repeat(np.arange(12), 4)
    rows, columns = np.triu_indices(len(person), 1)
    similarity = (embeddings @ embeddings.T)[rows, columns]
    same = person[rows] == person[columns]
    one_portrait = person[rows] % 2 == person[columns] % 2
    genuine, impostor = similarity[same], similarity[~same & one_portrait]
    assert (genuine[:, None] > impostor).mean() > 0.9
