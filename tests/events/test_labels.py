"""What people answer: what a label may be, and which of several answers count."""

import base64
import json
from typing import Any

import cv2
import jsonschema
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from monitor.events.labels import Label, joint_answer, png_size, standing_labels
from monitor.events.samples import Sample
from monitor.events.schemas import (
    LABEL_SCHEMA_FILE,
    SAMPLE_SCHEMA_FILE,
    label_schema,
    sample_schema,
    schema_text,
)
from tests.support.events import make_event
from tests.support.labels import make_label, make_mask, make_sample

LABEL_SCHEMA = json.loads(LABEL_SCHEMA_FILE.read_text(encoding="utf-8"))


def test_the_schemas_that_ship_are_those_of_the_code() -> None:
    assert LABEL_SCHEMA_FILE.read_text(encoding="utf-8") == schema_text(label_schema())
    assert SAMPLE_SCHEMA_FILE.read_text(encoding="utf-8") == schema_text(sample_schema())


def test_a_sample_reads_back_and_is_valid_against_its_schema() -> None:
    event = make_event()
    schema = json.loads(SAMPLE_SCHEMA_FILE.read_text(encoding="utf-8"))
    for sample in (make_sample(), Sample.of_event(event, "defects:sample:1")):
        jsonschema.validate(json.loads(sample.to_json()), schema)
        assert Sample.from_json(sample.to_json()) == sample
    assert (sample.id, sample.reason, sample.score) == (event.id, "flagged", event.score)


@pytest.mark.parametrize(
    "label",
    [
        make_label("good"),
        make_label("unsure", author="Jörg, second shift"),
        make_label("defect", defect_kind="Öl fleck", boxes=[(1, 2, 3, 4)], mask_png=make_mask(64, 48)),
        make_label(None, withdraws="0" * 8 + "-0000-0000-0000-" + "0" * 12),
    ],
)
def test_a_label_reads_back_and_is_valid_against_its_schema(label: Label) -> None:
    jsonschema.validate(json.loads(label.to_json()), LABEL_SCHEMA)
    assert Label.from_json(label.to_json()) == label
    label.check_fits(64, 48)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"answer": None}, "either has an answer or withdraws"),
        ({"withdraws": "x"}, "either has an answer or withdraws"),
        ({"answer": "good", "defect_kind": "scratch"}, "belong to the answer `defect` only"),
        ({"answer": "unsure", "boxes": [{"x": 0, "y": 0, "width": 1, "height": 1}]}, "`defect` only"),
        ({"answer": "bad"}, "answer"),
        ({"defect_kind": "Good"}, "another meaning in a folder"),
        ({"defect_kind": "../up"}, "defect_kind"),
        ({"defect_kind": " "}, "defect_kind"),
        ({"defect_kind": "a/b"}, "defect_kind"),
        ({"boxes": [{"x": -1, "y": 0, "width": 1, "height": 1}]}, "boxes.0.x"),
        ({"boxes": [{"x": 0, "y": 0, "width": 0, "height": 1}]}, "boxes.0.width"),
        ({"mask_png": "no base64!"}, "not base64"),
        ({"mask_png": base64.b64encode(b"\xff\xd8 no PNG").decode()}, "not a PNG"),
        ({"mask_png": "A" * 400_004}, "at most 400000"),
        ({"author": ""}, "author"),
        ({"author": "a\nb"}, "author"),
        ({"subject": {"kind": "frame", "id": "1"}}, "subject.kind"),
        ({"subject": {"kind": "event", "id": "a b"}}, "subject.id"),
    ],
)
def test_what_is_no_label_is_refused(change: dict[str, Any], reason: str) -> None:
    document = json.loads(make_label("defect").to_json()) | change
    with pytest.raises(ValidationError) as refused:
        Label.from_json(json.dumps(document))
    assert reason in str(refused.value)


@given(st.integers(1, 3000), st.integers(1, 3000))
def test_the_size_of_a_mask_is_read_from_its_header(width: int, height: int) -> None:
    done, png = cv2.imencode(".png", np.zeros((height % 200 + 1, width % 200 + 1), np.uint8))
    assert done
    assert png_size(base64.b64encode(png).decode()) == (width % 200 + 1, height % 200 + 1)


def test_what_does_not_fit_the_frame_is_refused() -> None:
    label = make_label("defect", boxes=[(60, 40, 4, 8)], mask_png=make_mask(64, 48))
    label.check_fits(64, 48)
    with pytest.raises(ValueError, match="box 60,40,4,8 reaches beyond the frame, which is 63 x 48 pixels"):
        label.check_fits(63, 48)
    with pytest.raises(ValueError, match="mask is 64 x 48 pixels, the frame 65 x 48"):
        label.check_fits(65, 48)


def test_an_author_corrects_and_undoes_and_others_keep_their_answers() -> None:
    first = make_label("defect", author="ann", seconds=0)
    second = make_label("good", author="ann", seconds=1)
    other = make_label("unsure", author="ben", seconds=2)
    foreign = make_label(None, author="ben", withdraws=second.id, seconds=3)
    undo = make_label(None, author="ann", withdraws=second.id, seconds=4)
    frame = first.subject.id
    assert standing_labels([first, second, other, foreign])[frame] == (second, other)
    assert standing_labels([first, second, other, foreign, undo])[frame] == (first, other)
    undone = make_label(None, author="ann", withdraws=first.id, seconds=5)
    assert standing_labels([first, second, other, undo, undone])[frame] == (other,)
    assert standing_labels([first, undone]) == {}


@given(st.data())
def test_which_answers_count_depends_on_their_times_alone(data: st.DataObject) -> None:
    labels: list[Label] = []
    for seconds in range(data.draw(st.integers(0, 12))):
        author = data.draw(st.sampled_from(["ann", "ben"]))
        if labels and data.draw(st.booleans()):
            labels.append(
                make_label(
                    None,
                    author=author,
                    withdraws=data.draw(st.sampled_from(labels)).id,
                    seconds=seconds,
                )
            )
        else:
            answer = data.draw(st.sampled_from(["defect", "good", "unsure"]))
            frame = data.draw(st.sampled_from(["a", "b"]))
            labels.append(make_label(answer, frame=frame, author=author, seconds=seconds))
    standing = standing_labels(labels)
    shuffled = data.draw(st.permutations(labels + labels[:2]))
    assert {frame: set(its) for frame, its in standing_labels(shuffled).items()} == {
        frame: set(its) for frame, its in standing.items()
    }
    for frame, its in standing.items():
        assert len({it.author for it in its}) == len(its) > 0
        for it in its:
            later = [
                other
                for other in labels
                if (other.author, other.subject.id) == (it.author, frame)
                and other.labelled_at > it.labelled_at
                and other.answer is not None
            ]
            withdrawn = {label.withdraws for label in labels if label.author == it.author}
            assert it.id not in withdrawn
            assert all(other.id in withdrawn for other in later)


@pytest.mark.parametrize(
    ("answers", "joint"),
    [
        ([], None),
        (["good"], "good"),
        (["unsure"], "unsure"),
        (["unsure", "defect"], "defect"),
        (["good", "good"], "good"),
        (["good", "defect"], "disputed"),
        (["good", "unsure", "defect"], "disputed"),
    ],
)
def test_several_authors_agree_or_their_answers_are_disputed(answers: list[Any], joint: str | None) -> None:
    labels = [make_label(answer, author=str(number)) for number, answer in enumerate(answers)]
    assert joint_answer(labels) == joint
