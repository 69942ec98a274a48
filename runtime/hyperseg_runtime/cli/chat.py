"""`hyperseg-trt chat`: an answer as text."""

import os
from pathlib import Path
from time import perf_counter
from typing import Annotated

import typer

from hyperseg_runtime import console
from hyperseg_runtime.calls.timing import recorded
from hyperseg_runtime.calls.tracing import traced
from hyperseg_runtime.cli import options
from hyperseg_runtime.contracts.sampling import Sampling
from hyperseg_runtime.errors import InputError
from hyperseg_runtime.files.results import refuse_own_result
from hyperseg_runtime.images.reading import load_image
from hyperseg_runtime.llm.answers import Finish, as_shown


def chat(
    bundle: options.BundleArgument,
    words: Annotated[
        list[str], typer.Argument(metavar="[IMAGE] QUESTION", help="Image file, if any, and the question about it.")
    ],
    max_tokens: Annotated[
        int | None, typer.Option(min=1, help="Longest answer in tokens; default 128, less where the context ends.")
    ] = None,
    temperature: Annotated[float, typer.Option(help="0 (default) always takes the likeliest token.")] = 0.0,
    top_p: Annotated[float, typer.Option(help="Draw from the likeliest tokens with this much probability.")] = 1.0,
    seed: Annotated[int | None, typer.Option(help="Same seed, same answer.")] = None,
    threads: options.ThreadsOption = None,
    native: options.NativeOption = False,
    backend: options.BackendOption = "onnxruntime",
    low_memory: options.LowMemoryOption = False,
    bf16: options.Bf16Option = False,
    verify_hashes: options.VerifyHashesOption = False,
    accept_unmeasured: options.UnmeasuredOption = False,
    engines: options.EnginesOption = None,
    weights_gb: options.WeightsOption = None,
    trace: options.TraceOption = None,
    as_json: options.JsonOption = False,
) -> None:
    """Answer QUESTION about IMAGE, or without one; the answer appears as it is made."""
    if len(words) > 2:
        raise InputError("chat takes IMAGE and QUESTION; put a question of several words into quotes")
    image, question = (Path(words[0]) if len(words) == 2 else None), words[-1]
    if image is None and os.path.isfile(question):  # noqa: PTH113  (Path.is_file raises for texts that are too long)
        raise InputError(f"{question} is a file: what is the question about it?")
    options.require_texts([question])
    if image is not None:
        refuse_own_result(image)
    sampling = Sampling(temperature, top_p, seed)
    pixels = None if image is None else load_image(image)
    chosen = options.backend_options(
        threads, native, accept_unmeasured, engines, weights_gb, low_memory, bf16, verify_hashes
    )
    with (
        options.opened_pipeline(bundle, backend, **chosen) as pipeline,
        traced(trace),
        pipeline.open(pixels) as session,
    ):
        answer = session.ask(question, sampling, max_tokens)
        started = perf_counter()
        first_s = 0.0
        with recorded() as spans_ms:
            for piece in as_shown(answer):
                first_s = first_s or perf_counter() - started
                if not as_json:
                    console.out.print(piece, end="", markup=False)
        whole_s = perf_counter() - started
    if as_json:
        told = {"text": answer.text, "finish": answer.finish, "tokens": len(answer.token_ids), **answer.details}
        times = {"first_piece": first_s * 1000, "whole": whole_s * 1000, **spans_ms}
        console.print_json({**told, "timings_ms": {name: round(ms, 3) for name, ms in times.items()}})
        return
    console.out.print()
    if answer.finish is Finish.LENGTH:
        console.err.print(
            f"(stopped after {len(answer.token_ids)} tokens; --max-tokens allows more, as far as the context reaches)"
        )
