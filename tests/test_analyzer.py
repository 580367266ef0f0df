import io
import random
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import count

import cv2
import hostile_images
import numpy as np
import pytest
from PIL import Image

from mindface import FaceAnalyzer, golden
from mindface.crops import cut_faces
from mindface.detection.detector import Opened
from mindface.errors import ImageError, MissingExtraError, NoFaceError, SkippedInputsError
from mindface.geometry import align
from mindface.imaging import open_image

pytestmark = pytest.mark.shared


@pytest.fixture
def portraits():
    return [face.image for face in golden.portraits()]


def encoded(image, kind="JPEG", **options):
    file = io.BytesIO()
    Image.fromarray(image).save(file, kind, **options)
    return file.getvalue()


def test_a_face_comes_with_its_embedding(analyzer, portraits):
    (face,) = analyzer.analyze(portraits[0])
    assert face.embedding.shape == (128,)
    expected = analyzer.recognizer.embed([portraits[0]], face.landmarks[None])[0]
    assert face.embedding @ expected > 0.9999


def test_verify_tells_people_apart(analyzer, portraits):
    mirrored = np.ascontiguousarray(portraits[0][:, ::-1])
    same = analyzer.verify(portraits[0], mirrored, threshold=0.4)
    different = analyzer.verify(portraits[0], portraits[1], threshold=0.4)
    assert (same.same, different.same) == (True, False)
    assert same.similarity > 0.8 > 0.4 > different.similarity
    assert same.to_dict()["attack_check"] is False


def test_without_a_calibration_there_is_no_verdict(analyzer, portraits):
    result = analyzer.verify(*portraits)
    nothing = (result.same, result.threshold, result.false_match_rate, result.calibration)
    assert nothing == (None,) * 4
    assert result.model == "mobilefacenet_112x96"


def test_of_several_faces_the_largest_is_compared_and_said(analyzer, portraits):
    small = cv2.resize(portraits[1], (256, 300), interpolation=cv2.INTER_AREA)
    group = np.zeros((512, 768, 3), np.uint8)
    group[:, :512] = portraits[0]
    group[:300, 512:] = small
    result = analyzer.verify(group, portraits[0], threshold=0.4)
    assert result.candidates == (2, 1)
    assert result.same is bool(result.faces[0].box[0] < 512)


def test_no_face_is_an_error_and_never_an_embedding(analyzer, portraits):
    blank = np.full((200, 200, 3), 90, np.uint8)
    assert analyzer.analyze(blank) == []
    assert len(analyzer.embed([blank, portraits[0]])) == 1
    with pytest.raises(NoFaceError, match="no face found"):
        analyzer.verify(portraits[0], blank)


def test_a_stream_is_its_photos_one_by_one(analyzer, photos, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"\x89PNG no more")
    mixed = [*photos[:20], broken, *photos[20:40]]
    results = list(analyzer.stream(mixed, batch_size=7))
    assert [result.faces.path for result in results] == [str(path) for path in mixed]
    assert [result.error is None for result in results] == [path != broken for path in mixed]
    for path, together in zip(mixed, results, strict=True):
        if path == broken:
            continue
        alone = analyzer.analyze(path)
        assert len(alone) == len(together.faces)
        for face, box, vector in zip(alone, together.faces.boxes, together.embeddings, strict=True):
            np.testing.assert_array_equal(face.box, box)
            np.testing.assert_allclose(face.embedding, vector, atol=2e-6)


def test_a_stream_takes_photos_only_as_it_needs_them(analyzer, portraits):
    taken = count()
    endless = (portraits[next(taken) % 2] for _ in iter(int, 1))
    stream = analyzer.stream(endless, batch_size=2)
    for _ in range(3):
        next(stream)
    stream.close()
    assert next(taken) <= 8


def test_embed_gives_a_row_a_face_or_a_row_a_photo(analyzer, photos):
    some = photos[:60]
    every, largest = analyzer.embed(some), analyzer.embed(some, largest=True)
    assert len(largest) == len(some) - len(largest.skipped)
    assert len(set(largest.paths)) == len(largest)
    assert len(every) >= len(largest)
    assert every.embeddings.shape == (len(every), 128)
    assert every.contract == analyzer.recognizer.record.contract
    assert [face.embedding is not None for face in every.faces] == [True] * len(every)


def test_aligned_faces_are_embedded_as_they_are(analyzer, portraits, tmp_path):
    """Crops on the template, wider ones whose sides are cut off, larger ones, and what is none."""
    narrow, square = golden.crops("arcface_112x96")[0], golden.crops("arcface_112x112")[0]
    large = align(portraits[0], golden.portraits()[0].landmarks, size=(160, 160))
    expected = analyzer.recognizer.embed([narrow], aligned=True)[0]
    found = analyzer.embed([narrow, square, large, portraits[1], tmp_path / "no.png"], aligned=True)
    assert len(found) == 3
    assert (found.embeddings @ expected >= [0.99999, 0.999, 0.99]).all()
    assert found.boxes.tolist() == [[0, 0, 96, 112], [0, 0, 112, 112], [0, 0, 160, 160]]
    np.testing.assert_allclose(found.landmarks[2], found.landmarks[1] * (160 / 112), atol=1e-3)
    np.testing.assert_allclose(found.landmarks[1] - found.landmarks[0], [[8, 0]] * 5, atol=1e-5)
    assert [skip.reason.split(":")[0] for skip in found.skipped] == [
        "512 x 600 pixels are no aligned face",
        "cannot be read",
    ]


def test_strict_stops_at_the_first_unreadable_photo(analyzer, portraits, tmp_path):
    missing = tmp_path / "missing.jpg"
    assert analyzer.embed([missing, portraits[0]]).skipped[0].path == str(missing)
    with pytest.raises(SkippedInputsError, match=r"missing\.jpg"):
        analyzer.embed([missing, portraits[0]], strict=True)
    with pytest.raises(ImageError):
        analyzer.analyze(missing)


def test_a_photo_that_changes_while_it_is_worked_on_is_skipped(analyzer, portraits, tmp_path):
    """Its face needs more pixels than the detector saw, and by then the file is another."""
    large = np.full((1600, 1600, 3), 120, np.uint8)
    large[1000:1512, 1000:1512] = portraits[0]
    path = tmp_path / "photo.jpg"
    path.write_bytes(encoded(large, quality=95))
    opened = analyzer.detector.open(path)
    path.write_bytes(encoded(large[:800], quality=95))
    (result,) = analyzer._analyze([opened], largest=True)
    assert result.error == "the file changed while it was read"
    assert result.name == str(path)


def test_a_kind_whose_extra_is_missing_is_skipped_among_many(
    analyzer, portraits, tmp_path, monkeypatch
):
    path = tmp_path / "photo.heic"
    path.write_bytes(hostile_images.heic((20, 10)))
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    found = analyzer.embed([path, portraits[0]])
    assert len(found) == 1
    assert "pip install 'mindface[heic]'" in found.skipped[0].reason
    assert found.skipped[0].path == str(path)
    with pytest.raises(MissingExtraError):
        analyzer.analyze(path)


def test_a_small_face_in_a_large_jpeg_gets_its_pixels(analyzer, portraits, monkeypatch):
    """The detector sees the photo at half its size; the face is cut from a better decoding."""
    monkeypatch.setattr(analyzer.detector, "closer", None)
    large = np.full((1600, 1600, 3), 120, np.uint8)
    large[1000:1512, 1000:1512] = portraits[0]
    photo = open_image(encoded(large, quality=95))
    seen = photo.read(640)
    assert seen.shape[0] == 800
    (face,) = analyzer.analyze(encoded(large, quality=95))
    (alone,) = analyzer.analyze(portraits[0])
    (blurred,) = cut_faces(
        Opened(open_image(seen), seen), face.landmarks[None] / 2, "arcface_112x96"
    )
    assert face.embedding @ alone.embedding > 0.9
    assert (
        face.embedding @ alone.embedding
        > analyzer.recognizer.embed([blurred], aligned=True)[0] @ alone.embedding
    )


def test_several_threads_share_one_analyzer(analyzer, photos):
    expected = [analyzer.analyze(path) for path in photos[:8]]
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(analyzer.analyze, photos[:8] * 3))
    for index, faces in enumerate(results):
        for face, alone in zip(faces, expected[index % 8], strict=True):
            np.testing.assert_array_equal(face.box, alone.box)
            np.testing.assert_array_equal(face.embedding, alone.embedding)


def test_defaults_agree_with_the_reference(exported, analyzer, photos):
    """The fastest engine and precision of this machine against ONNX Runtime in fp32."""
    fast = FaceAnalyzer(*exported)
    for reference, result in zip(
        analyzer.stream(photos[:40], largest=True),
        fast.stream(photos[:40], largest=True),
        strict=True,
    ):
        assert float((reference.embeddings * result.embeddings).sum(1).min()) > 0.999


def test_verification_accuracy_on_real_people(exported, shared, long):
    """Ten folds of 6,000 pairs drawn by a fixed seed: at least 92%."""
    folders = sorted((shared / "data" / "celeba200" / "photos").iterdir())
    if not long:
        folders = random.Random(0).sample(folders, 60)
    files = [path for folder in folders for path in sorted(folder.iterdir())]
    fast = FaceAnalyzer(*exported)
    people: dict[str, list[np.ndarray]] = {}
    for path, result in zip(files, fast.stream(files, largest=True), strict=True):
        if len(result.faces):
            people.setdefault(path.parent.name, []).append(result.embeddings[0])
    rng = random.Random(0)
    names = sorted(name for name, vectors in people.items() if len(vectors) > 1)
    pairs = [rng.sample(people[rng.choice(names)], 2) for _ in range(3000)]
    strangers = [rng.sample(names, 2) for _ in range(3000)]
    pairs += [[rng.choice(people[a]), rng.choice(people[b])] for a, b in strangers]
    similarity = np.array([float(a @ b) for a, b in pairs]).reshape(2, 10, 300)
    accuracy = []
    thresholds = np.arange(-1, 1, 0.005)[:, None, None]
    for fold in range(10):
        rest = np.delete(similarity, fold, axis=1).reshape(2, 1, -1)
        right = (rest[0] >= thresholds[..., 0]).mean(1) + (rest[1] < thresholds[..., 0]).mean(1)
        best = thresholds[np.argmax(right), 0, 0]
        accuracy.append(
            ((similarity[0, fold] >= best).mean() + (similarity[1, fold] < best).mean()) / 2
        )
    assert np.mean(accuracy) >= 0.92, f"{100 * np.mean(accuracy):.2f}% over {len(names)} people"
