import io

import cv2
import numpy as np
import pytest
from PIL import Image

from mindface import Detector, golden
from mindface.detection.detector import (
    Candidates,
    Look,
    Opened,
    Thresholds,
    decode,
    grouped,
    merge,
    to_input,
)
from mindface.errors import ImageError, ModelError
from mindface.geometry import iou
from mindface.imaging import open_image
from mindface.zoo.record import Preprocessing, RetinaFaceHead

BGR = Preprocessing(color="bgr", mean=(104, 117, 123), std=(1, 1, 1))
RGB = Preprocessing(color="rgb", mean=(127.5, 120, 110), std=(128, 64, 32))


@pytest.fixture(scope="session")
def detector(exported):
    return Detector(exported.detector, engine="onnxruntime")


@pytest.fixture
def opened():
    return lambda image: Opened(open_image(image), image)


@pytest.fixture
def collins():
    return golden.portraits()[0]


@pytest.mark.parametrize(
    ("shape", "scale", "size", "input_shape"),
    [
        ((400, 266), 1.0, (640, 426), (640, 448)),
        ((266, 400), 1.0, (426, 640), (448, 640)),
        ((3000, 4000), 0.25, (120, 160), (128, 160)),
        ((1, 5000), 1.0, (1, 640), (32, 640)),
    ],
)
def test_inputs_come_in_few_shapes(opened, shape, scale, size, input_shape):
    look = Look.at(opened(np.zeros((*shape, 3), np.uint8)), 640, scale)
    assert (look.size, look.shape) == (size, input_shape)
    np.testing.assert_allclose(look.enlargement * size[::-1], shape[::-1], rtol=1e-6)


def test_one_shape_comes_after_the_other():
    shapes = [(32, 64), (64, 64), (32, 64), (64, 64), (64, 64)]
    assert grouped(shapes, 2) == [[1, 3], [4], [0, 2]]


@pytest.mark.parametrize("facts", [BGR, RGB], ids=["bgr", "rgb"])
def test_pixels_are_normalised_as_the_record_says(opened, facts):
    image = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    batch = to_input([Look(opened(image), (20, 30), (32, 64))], facts)
    pixels = image[..., ::-1] if facts.color == "bgr" else image
    expected = (pixels.astype(float) - facts.mean) / facts.std
    assert batch.shape == (1, 3, 32, 64)
    np.testing.assert_allclose(batch[0, :, :20, :30], expected.transpose(2, 0, 1), atol=1e-5)
    assert not batch[0, :, 20:].any(), "what the image leaves free is the mean colour"
    assert not batch[0, :, :, 30:].any()


def test_decode_keeps_what_is_above_the_threshold():
    rng = np.random.default_rng(1)
    scores = np.stack([np.linspace(1, 0, 1260), np.linspace(0, 1, 1260)], 1, dtype=np.float32)
    outputs = [rng.normal(size=(1260, n)).astype(np.float32) for n in (4, 10)]
    head = RetinaFaceHead(outputs=("scores", "boxes", "landmarks"))
    found = decode([scores, *outputs], (160, 192), head, 0.9)
    assert len(found.scores) == (scores[:, 1] >= 0.9).sum()
    assert (np.diff(found.scores) <= 0).all()


def test_scales_are_merged_and_limited():
    box = np.array([[10, 10, 50, 50]], np.float32)
    points = np.zeros((1, 5, 2), np.float32)
    parts = [
        Candidates(box, np.array([0.7], np.float32), points),
        Candidates(box + 1, np.array([0.9], np.float32), points),
        Candidates(box + 100, np.array([0.8], np.float32), points),
        Candidates(box * 0.1, np.array([0.95], np.float32), points),
    ]
    found = merge(parts, Thresholds(min_face=10))
    assert found.scores.tolist() == pytest.approx([0.9, 0.8])
    assert len(merge(parts, Thresholds(max_faces=1)).scores) == 1


@pytest.mark.parametrize(
    "options",
    [
        {"score_threshold": 1.5},
        {"nms_threshold": -0.1},
        {"input_size": 8},
        {"scales": ()},
        {"scales": (0,)},
        {"closer": 0.9},
        {"max_faces": 0},
    ],
)
@pytest.mark.shared
def test_impossible_options_are_refused(exported, options):
    with pytest.raises(ValueError, match="must"):
        Detector(exported.detector, **options)


@pytest.mark.shared
def test_a_recogniser_is_no_detector(exported):
    with pytest.raises(ModelError, match="detect"):
        Detector(exported.recognizer)


@pytest.mark.shared
def test_portraits_are_found_where_they_are(detector):
    for portrait in golden.portraits():
        faces = detector.detect(portrait.image)
        assert len(faces) == 1
        assert faces[0].score > 0.99
        assert (faces.height, faces.width) == portrait.image.shape[:2]
        eyes = np.linalg.norm(portrait.landmarks[1] - portrait.landmarks[0])
        assert np.abs(faces[0].landmarks - portrait.landmarks).max() < 0.05 * eyes


@pytest.mark.shared
def test_nothing_is_found_where_there_is_nothing(detector):
    noise = np.random.default_rng(0).integers(0, 256, (300, 500, 3), np.uint8)
    for image in (noise, np.zeros((64, 64, 3), np.uint8), np.full((1, 1, 3), 255, np.uint8)):
        faces = detector.detect(image)
        assert len(faces) == 0
        assert faces.landmarks.shape == (0, 5, 2)


@pytest.mark.shared
def test_close_up_and_distant_faces_are_both_found(detector, collins):
    """One photo enlarged until the face fills the frame, padded and shrunk until it is tiny."""
    (left, top), (right, bottom) = collins.landmarks.min(0) - 28, collins.landmarks.max(0) + 28
    face = collins.image[int(top) : int(bottom), int(left) : int(right)]
    close = cv2.resize(face, None, fx=8, fy=8, interpolation=cv2.INTER_CUBIC)
    assert len(detector.detect(close)) == 1, "a face that fills the frame"
    assert len(detector.detect(cv2.copyMakeBorder(close, *[40] * 4, cv2.BORDER_REPLICATE))) == 1
    for side in (14, 20, 40, 90, 200, 400):
        ratio = side / 95
        small = cv2.resize(collins.image, None, fx=ratio, fy=ratio, interpolation=cv2.INTER_AREA)
        corner = np.maximum(0, (collins.landmarks.mean(0) * ratio - 320).astype(int))
        small = small[corner[1] :, corner[0] :][:640, :640]
        frame = np.full((640, 640, 3), 110, np.uint8)
        frame[: small.shape[0], : small.shape[1]] = small
        found = detector.detect(frame)
        assert len(found), f"a face {side} pixels wide in a frame of 640"
        expected = collins.landmarks * ratio - corner
        error = np.abs(found[0].landmarks - expected).max()
        allowed = max(2.5, 0.2 * np.ptp(expected[:2, 0]))
        assert error < allowed, f"a face {side} pixels wide: landmarks {error:.1f} pixels off"


@pytest.mark.shared
def test_the_second_scale_finds_what_the_first_misreads(exported):
    """A face larger than the largest anchor: the first scale alone misplaces its landmarks."""
    hopper = golden.portraits()[1]
    eyes = np.linalg.norm(hopper.landmarks[1] - hopper.landmarks[0])
    low, high = hopper.landmarks.min(0) - 0.4 * eyes, hopper.landmarks.max(0) + 0.4 * eyes
    (left, top), (right, bottom) = low.astype(int), high.astype(int)
    close = cv2.resize(hopper.image[top:bottom, left:right], None, fx=6, fy=6)
    expected = (hopper.landmarks - [left, top]) * 6
    first, both = (
        Detector(exported.detector, engine="onnxruntime", scales=scales).detect(close)[0]
        for scales in ((1.0,), (1.0, 0.25))
    )
    assert np.abs(first.landmarks - expected).max() > 0.5 * 6 * eyes
    assert np.abs(both.landmarks - expected).max() < 0.15 * 6 * eyes


def crowd(portrait, sides):
    """A frame of 640 pixels with a row of portraits whose faces are so wide."""
    frame = np.full((640, 640, 3), 110, np.uint8)
    left = 0
    for side in sides:
        small = cv2.resize(portrait.image, None, fx=side / 95, fy=side / 95, interpolation=3)
        height, width = small.shape[:2]
        frame[:height, left : left + width] = small
        left += width
    return frame


@pytest.mark.shared
def test_small_faces_are_looked_at_closer(exported, collins):
    frame = crowd(collins, [11] * 8 + [30])
    plain, closer = (
        Detector(exported.detector, engine="onnxruntime", closer=closer).detect(frame)
        for closer in (None, 2)
    )
    assert len(plain) < 9
    assert len(closer) == 9
    assert closer[0].box[3] < 100, "in pixels of the photo"


@pytest.mark.shared
def test_large_faces_are_not(exported, collins, monkeypatch):
    detector = Detector(exported.detector, engine="onnxruntime")
    frame = crowd(collins, [110])
    monkeypatch.setattr(Opened, "at", None)
    (face,) = detector.detect_opened([Opened(open_image(frame), frame)])[0]
    assert face.score > 0.9


@pytest.mark.shared
def test_a_photo_that_is_gone_stays_as_it_was_seen(exported, collins, tmp_path):
    path = tmp_path / "crowd.png"
    Image.fromarray(crowd(collins, [11] * 8 + [30])).save(path)
    detector = Detector(exported.detector, engine="onnxruntime")
    opened = detector.open(path)
    whole = detector.detect(path)
    path.unlink()
    assert 0 < len(detector.detect_opened([opened])[0]) < len(whole)


@pytest.mark.shared
def test_a_batch_is_its_photos_one_by_one(detector, photos):
    batch = detector.detect_batch(photos[:24])
    for path, together in zip(photos[:24], batch, strict=True):
        alone = detector.detect(path)
        assert together.path == str(path)
        assert (together.width, together.height) == (alone.width, alone.height)
        np.testing.assert_array_equal(together.boxes, alone.boxes)
        np.testing.assert_array_equal(together.landmarks, alone.landmarks)


@pytest.mark.shared
def test_an_accelerator_gets_photos_of_one_shape_together(detector, collins):
    """On a processor each photo is a run of its own; here one run takes three."""
    images = [collins.image, collins.image[:, ::-1].copy(), np.zeros_like(collins.image)]
    looks = [Look.at(detector.open(image), 640, 1.0) for image in images]
    session = detector._sessions.alone
    for together, look in zip(detector._run(session, looks), looks, strict=True):
        (alone,) = detector._run(session, [look])
        np.testing.assert_allclose(together.boxes, alone.boxes, atol=1e-3)
        np.testing.assert_allclose(together.landmarks, alone.landmarks, atol=1e-3)


@pytest.mark.shared
def test_a_stream_keeps_order_and_goes_on_after_broken_photos(detector, photos, tmp_path):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no picture")
    mixed = [photos[0], broken, photos[1], tmp_path / "missing.jpg", photos[2]]
    results = list(detector.stream(mixed, batch_size=2))
    assert [isinstance(found, ImageError) for found in results] == [False, True, False, True, False]
    assert [found.path for found in results] == [str(path) for path in mixed]


@pytest.mark.shared
def test_a_large_jpeg_gives_the_boxes_of_its_full_size(detector, collins):
    large = cv2.resize(collins.image, None, fx=7, fy=7, interpolation=cv2.INTER_CUBIC)
    file = io.BytesIO()
    Image.fromarray(large).save(file, "JPEG", quality=90)
    reduced, full = detector.detect(file.getvalue()), detector.detect(large)
    assert (reduced.width, reduced.height) == (3584, 3584)
    assert iou(reduced.boxes[:1], full.boxes[:1])[0, 0] > 0.95


@pytest.mark.shared
@pytest.mark.parametrize("orientation", range(1, 9))
def test_faces_stand_upright_whatever_exif_says(detector, collins, orientation):
    stored = {
        1: lambda x: x,
        2: np.fliplr,
        3: lambda x: np.rot90(x, 2),
        4: np.flipud,
        5: lambda x: x.transpose(1, 0, 2),
        6: lambda x: np.rot90(x, 1),
        7: lambda x: np.rot90(x.transpose(1, 0, 2), 2),
        8: lambda x: np.rot90(x, -1),
    }[orientation](collins.image[:, :400])
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(stored)).save(file, "JPEG", quality=95, exif=exif)
    faces = detector.detect(file.getvalue())
    assert (faces.width, faces.height) == (400, 512)
    assert np.abs(faces[0].landmarks - collins.landmarks).max() < 3


@pytest.mark.shared
def test_almost_every_photo_of_a_person_shows_a_face(exported, photos):
    """At least 99.5% of 500 photos that a fixed seed chose."""
    detector = Detector(exported.detector)
    found = sum(len(faces) > 0 for faces in detector.stream(photos[:500]))
    assert found / 500 >= 0.995
