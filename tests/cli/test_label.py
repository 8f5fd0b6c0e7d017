"""`defect-monitor label`: answers from the command line."""

import base64
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from monitor.cli.label import label as label_command
from monitor.delivery.sinks.redis import RedisSink
from monitor.errors import DeliveryError, MonitorError, UsageError
from monitor.events.labels import Label
from tests.support.daemon_process import defect_monitor
from tests.support.events import deliver, make_event, make_parcel


def run(*arguments: str) -> str:
    app = typer.Typer()
    app.command()(label_command)
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout


def labels(client: Any) -> list[Label]:
    return [Label.from_json(fields[b"label"]) for _, fields in client.xrange("defects:labels")]


@pytest.fixture
def event_id(valkey: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("DEFECT_MONITOR_REDIS_URL", valkey)
    sink = RedisSink(valkey)
    deliver(sink, [make_parcel(0)])
    sink.close()
    return make_event(0).id


def test_an_answer_with_kind_box_and_mask_is_stored_and_undone(
    valkey: str, client: Any, event_id: str, tmp_path: Path
) -> None:
    painted = np.zeros((48, 64, 3), np.uint8)
    painted[10:20, 5:9] = 40
    cv2.imwrite(str(tmp_path / "mask.png"), painted)
    options = [
        "--kind",
        "scratch",
        "--box",
        "1,2,3,4",
        "--box",
        "9,9,2,2",
        "--mask",
        str(tmp_path / "mask.png"),
    ]
    printed = run(event_id, "defect", *options, "--author", "ann")
    (label,) = labels(client)
    assert printed.strip() == label.id
    assert (label.subject.id, label.answer, label.defect_kind, label.author) == (
        event_id,
        "defect",
        "scratch",
        "ann",
    )
    assert [(box.x, box.y, box.width, box.height) for box in label.boxes] == [(1, 2, 3, 4), (9, 9, 2, 2)]
    assert label.mask_png is not None
    mask = cv2.imdecode(np.frombuffer(base64.b64decode(label.mask_png), np.uint8), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(mask > 0, painted[:, :, 0] > 0)
    run(event_id, "undo", "--author", "ann")
    assert labels(client)[1].withdraws == label.id
    with pytest.raises(MonitorError, match=f"ann has no answer about {event_id} that could be withdrawn"):
        run(event_id, "undo", "--author", "ann")
    assert len(labels(client)) == 2


def test_an_event_that_is_gone_is_one_sentence_and_exit_code_1(valkey: str) -> None:
    done = defect_monitor("label", "top-gone-1", "good", "--url", valkey)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert done.stderr.startswith(
        "defect-monitor: no event or sample 'top-gone-1' in Redis: it was never there"
    )


@pytest.mark.parametrize(
    ("arguments", "refusal", "sentence"),
    [
        (["defect", "--box", "1,2,3"], UsageError, "--box 1,2,3: give four whole numbers"),
        (["defect", "--box", "60,0,30,3"], UsageError, "reaches beyond the frame"),
        (["defect", "--mask", "/nowhere.png"], UsageError, "--mask /nowhere.png: No such file"),
        (["defect", "--mask", "{black}"], UsageError, "the mask is empty: every pixel is black"),
        (["defect", "--mask", "{text}"], UsageError, "the mask is not an image"),
        (["defect", "--mask", "{small}"], UsageError, "the mask is 9 x 9 pixels, the frame 64 x 48"),
        (["good", "--kind", "scratch"], UsageError, "belong to the answer `defect` only"),
        (["defect", "--url", "redis://127.0.0.1:1"], DeliveryError, "cannot be reached"),
    ],
)
def test_what_is_refused_is_one_sentence_and_stores_nothing(
    client: Any,
    event_id: str,
    tmp_path: Path,
    *,
    arguments: list[str],
    refusal: type[MonitorError],
    sentence: str,
) -> None:
    masks = {name: str(tmp_path / f"{name}.png") for name in ("black", "text", "small")}
    cv2.imwrite(masks["black"], np.zeros((48, 64), np.uint8))
    cv2.imwrite(masks["small"], np.ones((9, 9), np.uint8))
    Path(masks["text"]).write_text("no image")
    with pytest.raises(refusal, match=sentence) as refused:
        run(event_id, *(text.format(**masks) for text in arguments))
    assert "\n" not in str(refused.value)
    assert client.xlen("defects:labels") == 0
