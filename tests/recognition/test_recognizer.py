import numpy as np
import pytest

from mindface import Recognizer, golden, similarity_matrix
from mindface.errors import AlignmentError, ModelError
from mindface.recognition.recognizer import batch_sizes


@pytest.fixture(scope="session")
def recognizer(exported):
    return Recognizer(exported.recognizer, engine="onnxruntime")


@pytest.mark.parametrize(
    ("count", "sizes", "batches"),
    [
        (0, (8, 1), []),
        (1, (8, 1), [1]),
        (19, (8, 1), [8, 8, 1, 1, 1]),
        (87, (64, 16, 4, 1), [64, 16, 4, 1, 1, 1]),
    ],
)
def test_batches_have_few_sizes(count, sizes, batches):
    assert batch_sizes(count, sizes) == batches


@pytest.mark.shared
def test_embeddings_have_unit_length_and_the_records_size(recognizer):
    crops = golden.crops(recognizer.template)
    vectors = recognizer.embed(crops, aligned=True)
    assert vectors.shape == (4, recognizer.embedding_size) == (4, 128)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


@pytest.mark.shared
def test_a_face_is_like_its_mirror_image_and_unlike_another(recognizer):
    collins, hopper, mirrored_collins, mirrored_hopper = recognizer.embed(
        golden.crops(recognizer.template), aligned=True
    )
    assert collins @ mirrored_collins > 0.8
    assert hopper @ mirrored_hopper > 0.8
    assert collins @ hopper < 0.4


@pytest.mark.shared
def test_a_batch_is_its_faces_one_by_one(recognizer):
    rng = np.random.default_rng(0)
    faces = golden.crops(recognizer.template)
    noise = rng.integers(-20, 20, (27, *faces.shape[1:]))
    crops = np.clip(faces[rng.integers(0, 4, 27)] + noise, 0, 255).astype(np.uint8)
    together = recognizer.embed(crops, aligned=True)
    alone = np.concatenate([recognizer.embed(crop[None], aligned=True) for crop in crops])
    np.testing.assert_allclose(together, alone, atol=1e-6)


@pytest.mark.shared
def test_images_with_landmarks_are_aligned_first(recognizer):
    portraits = golden.portraits()
    vectors = recognizer.embed(
        [face.image for face in portraits], np.stack([face.landmarks for face in portraits])
    )
    expected = recognizer.embed(golden.crops(recognizer.template)[:2], aligned=True)
    np.testing.assert_array_equal(vectors, expected)


@pytest.mark.shared
def test_nothing_gives_nothing(recognizer):
    assert recognizer.embed([], aligned=True).shape == (0, 128)


@pytest.mark.shared
@pytest.mark.parametrize(
    "crop",
    [
        np.zeros((112, 112, 3), np.uint8),
        np.zeros((112, 96, 3), np.float32),
        np.zeros((112, 96), np.uint8),
    ],
)
def test_what_is_no_aligned_crop_is_refused(recognizer, crop):
    with pytest.raises(ValueError, match="aligned uint8"):
        recognizer.embed([crop], aligned=True)


@pytest.mark.shared
def test_whether_a_face_is_aligned_is_said_and_never_guessed(recognizer):
    crops = golden.crops(recognizer.template)
    for arguments in ({}, {"landmarks": np.zeros((4, 5, 2)), "aligned": True}):
        with pytest.raises(ValueError, match=r"FaceAnalyzer\.embed takes photos"):
            recognizer.embed(crops, **arguments)


@pytest.mark.shared
def test_impossible_landmarks_give_no_embedding(recognizer):
    with pytest.raises(AlignmentError):
        recognizer.embed([np.zeros((200, 200, 3), np.uint8)], np.zeros((1, 5, 2)))


@pytest.mark.shared
def test_a_detector_is_no_recogniser(exported):
    with pytest.raises(ModelError, match="recogni"):
        Recognizer(exported.detector)


def test_similarities_are_cosines():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(5, 16)), rng.normal(size=(3, 16))
    expected = [[x @ y / np.linalg.norm(x) / np.linalg.norm(y) for y in b] for x in a]
    np.testing.assert_allclose(similarity_matrix(a, b), expected, atol=1e-6)
    assert similarity_matrix(a[0], b[0]).shape == (1, 1)


def test_embeddings_of_different_models_are_not_compared():
    with pytest.raises(ValueError, match="different models"):
        similarity_matrix(np.zeros((1, 128)), np.zeros((1, 512)))
