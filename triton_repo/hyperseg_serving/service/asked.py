"""What a request from outside asks, as requests of the family: its own words refuse what it does not answer."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from hyperseg_runtime.contracts.requests import Classes, Expressions, Question, Regions
from hyperseg_runtime.contracts.requests import Request as FamilyRequest
from hyperseg_runtime.contracts.sampling import Sampling
from hyperseg_runtime.families.family import FamilySpec, VideoRequest
from hyperseg_runtime.families.mask_queries.answering import ANSWER_TOKENS
from hyperseg_serving.contract import Limits, PointedAt
from hyperseg_serving.refusals import Reason, RefusalError
from hyperseg_serving.service.requests import NOTHING_ASKED, Request


def bounded(request: Request, limits: Limits) -> Request:
    """With the longest answer that is allowed, where the caller names none and the families' default is longer."""
    if request.options.max_tokens is not None or limits.max_answer_tokens >= ANSWER_TOKENS:
        return request
    return replace(request, options=request.options.model_copy(update={"max_tokens": limits.max_answer_tokens}))


def asked_of(family: FamilySpec, request: Request) -> list[FamilyRequest]:
    """A question first, then expressions, classes and regions, each in one of the family's tasks. Pictures in regions
    are left out, see `with_pictures`.

    `options.task` goes to the kinds of requests that have such a task. Raises InputError where the family does not
    answer a kind of request, where none that is asked has that task, and for a least score of classes without scores.
    """
    options = request.options
    asked: list[FamilyRequest] = []
    if request.question is not None:
        sampling = Sampling(options.temperature, options.top_p, options.seed)
        asked.append(Question(request.question, sampling, options.max_tokens))
    if request.texts:
        asked.append(Expressions(request.texts, max_tokens=options.max_tokens))
    if request.classes:
        asked.append(Classes.of(request.classes, things=options.things))
    if request.regions:
        asked.append(_regions(request.regions))
    if not asked:
        raise RefusalError(Reason.REQUEST, NOTHING_ASKED)
    in_task = [one for one in asked if options.task in family.answers(type(one))] if options.task else []
    if options.task and not in_task:
        in_task = asked  # and is refused below
    found = [family.with_task(replace(one, task=options.task) if one in in_task else one) for one in asked]
    for one in found:
        if isinstance(one, Classes):
            family.require_scores(one, options.min_score)
    return found


def asked_of_frame(family: FamilySpec, request: Request) -> VideoRequest:
    """The same for a frame of a video. One that asks nothing goes on with the regions of those before it."""
    options = request.options
    if request.texts:
        return family.with_video_task(Expressions(request.texts, options.task, options.max_tokens))
    if request.classes:
        return family.with_video_task(Classes.of(request.classes, options.task, options.things))
    if not request.regions and not family.video_answers(Regions):
        raise RefusalError(Reason.REQUEST, "nothing is asked of this frame: send TEXT or CLASSES")
    return family.with_video_task(replace(_regions(request.regions or PointedAt()), task=options.task))


def with_pictures(asked: Regions, pointed_at: PointedAt | None, opened: Callable[[str], np.ndarray]) -> Regions:
    """Regions with the scribbles and masks too; `opened` gives the (H, W) bool of a picture in base64."""
    if pointed_at is None:
        return asked
    scribbles, masks = (tuple(map(opened, files)) for files in (pointed_at.scribbles, pointed_at.masks))
    return replace(asked, scribbles=scribbles, masks=masks)


def _regions(pointed_at: PointedAt) -> Regions:
    return Regions(points_xy=pointed_at.points, boxes_xyxy=pointed_at.boxes)
