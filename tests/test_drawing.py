import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mindface import drawing
from mindface.drawing import close_up, contact_sheet, draw_faces
from mindface.results import Face

POINTS = np.array([[40, 50], [60, 50], [50, 60], [43, 70], [57, 70]], np.float32)
FACE = Face(np.array([30, 35, 70, 85], np.float32), 0.875, POINTS)
GRAY = np.full((120, 160, 3), 128, np.uint8)


def changed(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    return (before != after).any(-1)


def test_a_face_is_framed_and_dotted_and_the_image_left_alone():
    image = GRAY.copy()
    drawn = draw_faces(image, [FACE])
    assert (image == GRAY).all()
    assert drawn.shape == image.shape
    assert drawn.dtype == np.uint8
    marks = changed(image, drawn)
    for x, y in POINTS.astype(int):
        assert marks[y, x]
    assert marks[60, 30]  # the frame's sides
    assert marks[60, 70]
    assert marks[85, 50]
    assert not marks[60, 36]  # nothing inside but the points
    assert not marks[100:, :].any()
    assert not marks[:, 90:].any()


def test_no_faces_change_nothing():
    assert (draw_faces(GRAY, []) == GRAY).all()


def test_labels_replace_scores_and_may_be_empty():
    scored, named, bare = (draw_faces(GRAY, [FACE], text) for text in (None, ["Ada"], [""]))
    assert changed(scored, named).any()
    assert (draw_faces(GRAY, [FACE], ["0.88"]) == scored).all()
    assert changed(scored, bare)[:33].any()
    assert not changed(GRAY, bare)[:33].any()


def test_lines_grow_with_the_image():
    def marked(scale: int) -> float:
        image = np.full((120 * scale, 160 * scale, 3), 128, np.uint8)
        face = Face(FACE.box * scale, FACE.score, FACE.landmarks * scale)
        row = changed(image, draw_faces(image, [face], [""]))[78 * scale]
        return float(row.sum())

    assert marked(30) > 3 * marked(5)


@pytest.mark.parametrize("value", [0, 128, 255])
def test_marks_stand_out_on_any_background(value: int):
    image = np.full((400, 400, 3), value, np.uint8)
    face = Face(FACE.box * 3, FACE.score, FACE.landmarks * 3)
    drawn = draw_faces(image, [face]).astype(int)
    assert np.abs(drawn - value).max(-1).max() >= 120
    label = drawn[60:104, 92:160].reshape(-1, 3).sum(-1)
    assert label.max() - label.min() > 700  # white on black


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.floats(-500, 500, width=32), min_size=4, max_size=4),
    st.text(max_size=20),
    st.integers(1, 200),
    st.integers(1, 200),
)
def test_anything_may_lie_anywhere(box, text, height, width):
    face = Face(np.array(box, np.float32), 0.5, POINTS - 60)
    drawn = draw_faces(np.zeros((height, width, 3), np.uint8), [face], [text])
    assert drawn.shape == (height, width, 3)


def test_names_beyond_ascii_without_any_font_of_the_system(monkeypatch):
    monkeypatch.setattr(drawing, "FONTS", ["no such font.ttf"])
    assert changed(GRAY, draw_faces(GRAY, [FACE], ["\u674e\u534e"]))[:33].any()


def test_another_number_of_labels_is_refused():
    with pytest.raises(ValueError, match="2 labels for 1 faces"):
        draw_faces(GRAY, [FACE], ["a", "b"])


def test_a_contact_sheet_fits_every_image_into_its_square():
    colors = [(200, 0, 0), (0, 200, 0), (0, 0, 200), (90, 90, 90), (200, 200, 0)]
    shapes = [(10, 10), (300, 100), (20, 400), (64, 64), (99, 999)]
    images = [np.full((*shape, 3), c, np.uint8) for shape, c in zip(shapes, colors, strict=True)]
    sheet = contact_sheet(images, ["a", "b" * 90, "", "two\nlines", "e"], columns=3, size=64)
    assert sheet.shape[1] == 4 + 3 * 68
    for index, color in enumerate(colors):
        row, column = divmod(index, 3)
        height = (sheet.shape[0] - 4) // 2
        x, y = 4 + column * 68 + 32, 4 + row * height + 32
        assert np.abs(sheet[y, x].astype(int) - color).max() <= 2
        assert (sheet[y, [x - 34, x + 34]] == 255).all()
    assert contact_sheet(images[:1], ["a"], columns=8, size=64).shape[1] == 72


@pytest.mark.parametrize(
    ("count", "captions", "columns", "size"),
    [(0, 0, 1, 64), (2, 1, 1, 64), (1, 1, 0, 64), (1, 1, 1, 8)],
)
def test_impossible_sheets_are_refused(count, captions, columns, size):
    with pytest.raises(ValueError, match=r"captions for|at least one"):
        contact_sheet([GRAY] * count, ["x"] * captions, columns, size)


def test_a_close_up_shows_the_box_in_its_frame():
    image = np.zeros((100, 200, 3), np.uint8)
    image[40:60, 150:170] = 200
    shown = close_up(image, [150, 40, 20, 20], size=80)
    assert shown.shape == (80, 80, 3)
    assert (shown[25:55, 25:55] == 200).all()
    assert not shown[:18].any()
    assert shown[20, 40].tolist() == [80, 255, 120]
    assert not close_up(image, [190, 90, 40, 10], size=80)[60:, 60:].any(), "beyond the image"
