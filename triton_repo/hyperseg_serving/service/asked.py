"""What a request from outside asks, as requests of the family: its own words refuse what it does not answer."""

from dataclasses import replace

from hyperseg_runtime.contracts.requests import Classes, Expressions, Question
from hyperseg_runtime.contracts.requests import Request as FamilyRequest
from hyperseg_runtime.contracts.sampling import Sampling
from hyperseg_runtime.families.family import FamilySpec
from hyperseg_serving.service.requests import Request


def asked_of(family: FamilySpec, request: Request) -> list[FamilyRequest]:
    """A question first, then expressions, then classes, each in one of the family's tasks.

    `options.task` goes to the kinds of requests that have such a task. Raises InputError where the family does not
    answer a kind of request, or where none that is asked has that task.
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
    in_task = [one for one in asked if options.task in family.answers(type(one))] if options.task else []
    if options.task and not in_task:
        in_task = asked  # and is refused below
    return [family.with_task(replace(one, task=options.task) if one in in_task else one) for one in asked]


def asked_of_frame(family: FamilySpec, request: Request) -> Expressions:
    """The same for a frame of a video."""
    options = request.options
    return family.with_video_task(Expressions(request.texts, options.task, options.max_tokens))
