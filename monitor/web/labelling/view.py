"""Show a frame with its question, take the answer, undo it."""

import base64
import getpass
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Literal, get_args

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from monitor.errors import ImageError, UsageError
from monitor.events.labels import MAX_MASK_CHARACTERS, Answer, Label, joint_answer
from monitor.imaging.masks import encode_mask
from monitor.redis_streams.labelling import (
    FrameMissingError,
    build_label,
    build_withdrawal,
    find_target,
)
from monitor.web.context import PageContext, context
from monitor.web.images import shrink
from monitor.web.labelling.queue import LabelFrame, order_by_information
from monitor.web.login import read_form
from monitor.web.rendering import address
from monitor.web.texts import translate

Shown = Literal["unlabelled", "second"]
"""Frames that nobody has labelled, or those that others have and the visitor has not."""

_RECENT = 12
_ASKED_AT_ONCE = 100
_MAX_FORM = 2 * MAX_MASK_CHARACTERS
_FOREVER = {"Cache-Control": "private, max-age=86400, immutable"}


def label(request: Request) -> Response:
    """Answer the frame that the address names, else the next one of the queue."""
    page, author = context(request), _author(request)
    shown = request.query_params.get("show") or "unlabelled"
    if shown not in get_args(Shown):
        raise HTTPException(400)
    camera = request.query_params.get("camera") or None
    every, standing = page.labels.frames(), page.labels.standing()
    frames = [it for it in every if camera in (None, it.target.camera)]
    wanted = request.query_params.get("frame")
    left = 0
    if wanted is None:
        queue = order_by_information(it for it in frames if _is_open(standing.get(it.id, ()), shown, author))
        frame = next(_with_image(page, queue), None)
        left = 0 if frame is None else len(queue) - 1 - queue.index(frame)
    else:
        frame = next((it for it in every if it.id == wanted), None)
        if frame is None:
            return _problem(request, 404, "label.gone")
    labelled = request.query_params.get("last")
    return page.renderer.page(
        request,
        "label.html",
        view="label",
        frame=frame,
        left=left,
        wanted=wanted,
        shown=shown,
        camera=camera,
        cameras=sorted({it.target.camera for it in every}),
        kinds=sorted({it.defect_kind for its in standing.values() for it in its if it.defect_kind}),
        has_clean=frame is not None and _clean_image(page, frame.id) is not None,
        has_heat=frame is not None and page.history.image(page.history.keys.frame(frame.id)) is not None,
        answers=answers_about(standing, wanted),
        labelled=labelled,
        last_answers=answers_about(standing, labelled),
        can_undo=any(it.author == author for it in standing.get(labelled or wanted or "", ())),
        recent=_recent_clean(page, standing, frames),
    )


async def answer(request: Request) -> Response:
    """Take an answer, or undo the last one about a frame, and show the next frame."""
    _permit(request)
    form = await read_form(request, _MAX_FORM)
    return await run_in_threadpool(_take, request, form)


def frame_image(request: Request) -> Response:
    """Answer an image of a frame: `clean` as the camera gave it, `heat` with the explanation, or `small`."""
    _permit(request)
    page, frame, kind = context(request), request.path_params["frame_id"], request.path_params["kind"]
    found = (
        page.history.image(page.history.keys.frame(frame)) if kind == "heat" else _clean_image(page, frame)
    )
    if found is None:
        raise HTTPException(404)
    if kind == "small":
        found = shrink(found)
    media_type = "image/png" if found.startswith(b"\x89PNG") else "image/jpeg"
    return Response(found, media_type=media_type, headers=_FOREVER)


def answers_about(standing: Mapping[str, Sequence[Label]], frame_id: str | None) -> dict[str, object]:
    """Return what a page shows of the answers about a frame: labels that count, and their joint answer."""
    labels = standing.get(frame_id or "", ())
    return {"labels": labels, "joint": joint_answer(labels)}


def _take(request: Request, form: Mapping[str, str]) -> Response:
    page, author, frame = context(request), _author(request), form.get("frame", "")
    back = {"show": form.get("show"), "camera": form.get("camera")}
    try:
        if form.get("answer") == "undo":
            labels = page.labels.standing().get(frame, ())
            entry = build_withdrawal(labels, frame, author)
            if entry is None:
                return _problem(request, 404, "label.nothing_to_undo")
            back["frame"] = frame
        else:
            entry = build_label(
                find_target(page.history, frame),
                _read_answer(form),
                author,
                defect_kind=form.get("kind", "").strip() or None,
                boxes=_read_boxes(form.get("boxes", "")),
                mask_png=form.get("mask") or None,
            )
            if entry.mask_png is not None:  # its size is that of the frame: decoding cannot fill the memory
                mask = encode_mask(base64.b64decode(entry.mask_png))
                entry = entry.model_copy(update={"mask_png": mask})
            back["last"] = frame
    except FrameMissingError:
        return _problem(request, 404, "label.gone")
    except (UsageError, ImageError) as error:
        return page.renderer.page(request, "problem.html", status=400, view="label", sentence=str(error))
    page.history.add_label(entry)
    return RedirectResponse(address("/label", **back), 303)


def _read_answer(form: Mapping[str, str]) -> Answer:
    for known in get_args(Answer):
        if form.get("answer") == known:
            return known  # type: ignore[no-any-return]  # one of the literal's values
    raise HTTPException(400)


def _read_boxes(text: str) -> list[tuple[int, int, int, int]]:
    """Return boxes such as `10,20,30,40; 5,5,8,8`."""
    boxes = []
    for part in text.replace("\n", ";").split(";"):
        if not part.strip():
            continue
        try:
            x, y, width, height = (int(number) for number in part.split(","))
        except ValueError:
            raise UsageError(f"the box {part.strip()!r}: give four whole numbers, x,y,width,height") from None
        boxes.append((x, y, width, height))
    return boxes


def _is_open(labels: Sequence[Label], shown: str, author: str) -> bool:
    """Return whether the author still has to answer about a frame with these labels."""
    if shown == "unlabelled":
        return not labels
    return bool(labels) and all(it.author != author for it in labels)


def _with_image(page: PageContext, frames: Sequence[LabelFrame]) -> Iterator[LabelFrame]:
    """Yield the frames of which an image is still in Redis."""
    for start in range(0, len(frames), _ASKED_AT_ONCE):
        part = frames[start : start + _ASKED_AT_ONCE]
        have_images = page.history.have_images([frame.id for frame in part])
        yield from (frame for frame, has_image in zip(part, have_images, strict=True) if has_image)


def _clean_image(page: PageContext, frame_id: str) -> bytes | None:
    """Return the frame as the camera gave it: the sample, else the raw JPEG of its event."""
    keys = page.history.keys
    return page.history.image(keys.sample(frame_id)) or page.history.image(keys.raw(frame_id))


def _recent_clean(
    page: PageContext, standing: Mapping[str, Sequence[Label]], frames: Sequence[LabelFrame]
) -> list[LabelFrame]:
    """Return the newest frames that were not flagged and that nobody has labelled."""
    clean = [it for it in reversed(frames) if it.reason != "flagged" and it.id not in standing]
    return list(islice(_with_image(page, clean), _RECENT))


def _author(request: Request) -> str:
    """Return who answers: the page's user, on a page without users that of this machine."""
    _permit(request)
    return request.state.visitor.name or getpass.getuser()


def _permit(request: Request) -> None:
    if not request.state.visitor.may("operator"):
        raise HTTPException(403)


def _problem(request: Request, status: int, key: str) -> Response:
    sentence = translate(request.state.language, key)
    return context(request).renderer.page(
        request, "problem.html", status=status, view="label", sentence=sentence
    )
