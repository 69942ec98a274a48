"""From a photograph and a text to a mask, on the tiny bundle."""

import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from hyperseg_export.parity.tolerances import SAME_SCORE
from hyperseg_runtime.backends.onnxruntime import OnnxRuntimeBackend
from hyperseg_runtime.bundle.opening import Bundle
from hyperseg_runtime.contracts.results import Instances, joined
from hyperseg_runtime.errors import BundleError, ImageError, InputError, NumericsError, PromptError
from hyperseg_runtime.session.pipeline import OpenedGraphs, Pipeline

TEXT = "the cup of coffee"
STAGES = [
    "preprocess",
    "clip_encoder",
    "image_encoder",
    "fvp",
    "pixel_decoder",
    "input_embeddings",
    "llm",
    "mask_decoder",
    "best_mask",
]


@pytest.fixture(scope="module")
def photo(coffee: Path) -> Image.Image:
    with Image.open(coffee) as image:
        return image.convert("RGB")


@pytest.mark.parametrize(
    "size_hw", [(400, 600), (600, 400), (50, 50), (256, 256), (1, 1), (1, 300), (300, 1), (3, 2000), (1500, 2000)]
)
def test_masks_have_the_size_of_the_image(pipeline: Pipeline, photo: Image.Image, size_hw: tuple[int, int]) -> None:
    check(pipeline(photo.resize((size_hw[1], size_hw[0])), TEXT), size_hw)


@pytest.mark.parametrize("mode", ["L", "1", "P", "RGBA", "LA", "CMYK", "I;16"])
def test_photographs_of_every_kind(pipeline: Pipeline, photo: Image.Image, tmp_path: Path, mode: str) -> None:
    small = photo.resize((90, 60))
    if mode == "I;16":
        image = Image.fromarray(np.asarray(small.convert("L")).astype(np.uint16) * 257)
    else:
        image = small.convert("L" if mode == "LA" else "RGB").convert(mode)
    path = tmp_path / ("photo.tiff" if mode == "CMYK" else "photo.png")
    image.save(path)
    check(pipeline(path, TEXT), (60, 90))


@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_a_turned_photograph_gives_the_mask_of_the_upright_one(
    pipeline: Pipeline, photo: Image.Image, tmp_path: Path, orientation: int
) -> None:
    turned = photo.resize((90, 60))
    exif = Image.Exif()
    exif[0x0112] = orientation
    turned.save(tmp_path / "photo.png", exif=exif)
    upright = np.rot90(np.asarray(turned), {3: 2, 6: -1, 8: 1}[orientation])
    result = pipeline(tmp_path / "photo.png", TEXT)
    check(result, upright.shape[:2])
    assert same(result, pipeline(upright, TEXT))


def test_path_image_and_array_are_the_same(pipeline: Pipeline, coffee: Path) -> None:
    with Image.open(coffee) as image:
        results = [pipeline(source, TEXT) for source in (coffee, str(coffee), image, np.asarray(image))]
    assert all(same(results[0], other) for other in results[1:])
    check(results[0], (400, 600))


def test_the_result_says_what_was_asked_and_how_long_it_took(pipeline: Pipeline, coffee: Path) -> None:
    result = pipeline(coffee, f" {TEXT} ", "reasoning")
    assert (result.asked, result.labels, result.task) == ((f" {TEXT} ",), (f" {TEXT} ",), "reasoning")
    assert list(result.timings_ms) == STAGES and all(ms > 0 for ms in result.timings_ms.values())
    json.dumps(result.to_json(), allow_nan=False)


def test_text_and_task_matter_and_the_default_task_is_referring(pipeline: Pipeline, coffee: Path) -> None:
    default = pipeline(coffee, TEXT)
    assert same(default, pipeline(coffee, TEXT, "referring")) and default.task == "referring"
    assert not same(default, pipeline(coffee, TEXT, "reasoning"))
    assert not same(default, pipeline(coffee, "a spoon"))


def test_threads_get_what_they_would_get_alone(pipeline: Pipeline, photo: Image.Image) -> None:
    small = photo.resize((90, 60))
    requests = [(small.rotate(90 * turn, expand=True), "cup " * (1 + turn)) for turn in range(4)] * 3
    expected = [pipeline(image, text) for image, text in requests]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda request: pipeline(*request), requests))
    for one, other in zip(found, expected, strict=True):
        assert np.array_equal(one.masks, other.masks)
        assert np.abs(one.scores - other.scores).max() <= SAME_SCORE


def test_one_request_is_served_at_a_time(bundle: Bundle, monkeypatch: pytest.MonkeyPatch, photo: Image.Image) -> None:
    """The caches of the language model belong to one request."""
    together = threading.Barrier(2)
    met: list[bool] = []

    class Meeting:
        def open(self, image: np.ndarray) -> "Meeting":
            return self

        size_bytes = 0

        def segment(self, *arguments: object) -> list[Instances]:
            with suppress(threading.BrokenBarrierError):
                together.wait(timeout=0.3)
                met.append(True)
            return [joined([], (), "none", (4, 6))]

    pipeline = Pipeline(bundle, OnnxRuntimeBackend(1))
    monkeypatch.setattr(pipeline._shared, "model", Meeting())
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda text: pipeline(photo, text), ("a cup", "a spoon")))
    assert not met


@pytest.mark.parametrize("task", ["panoptic", "question", "video", "Referring", " "])
def test_an_unknown_task_is_refused_with_the_known_ones(pipeline: Pipeline, coffee: Path, task: str) -> None:
    with pytest.raises(InputError) as caught:
        pipeline(coffee, TEXT, task)
    known = "HyperSeg knows referring, reasoning, naming"
    assert str(caught.value) == f"unknown task {task!r} for expressions; {known}"


def test_the_pipeline_works_on_after_a_refused_request(pipeline: Pipeline, coffee: Path) -> None:
    expected = pipeline(coffee, TEXT)
    with pytest.raises(PromptError):
        pipeline(coffee, "")
    with pytest.raises(ImageError):
        pipeline(coffee.with_name("none.jpg"), TEXT)
    with pytest.raises(ImageError, match="at most 1000 are read"):
        pipeline(coffee, TEXT, max_pixels=1000)
    assert same(pipeline(coffee, TEXT), expected)


def test_loading_tells_its_progress_and_takes_the_default_backend(tiny_bundle: Path, coffee: Path) -> None:
    counts: list[int] = []
    with Pipeline.load(str(tiny_bundle), on_bytes=counts.append) as pipeline:
        assert sum(counts) == pipeline.bundle.manifest.size_bytes
        check(pipeline(coffee, TEXT), (400, 600))


@pytest.mark.parametrize(
    ("backend", "options", "message"),
    [
        ("cuda", {}, "unknown backend 'cuda'; choose onnxruntime, onnxruntime-cuda, openvino, tensorrt"),
        ("onnxruntime", {"target": "sm90"}, "target goes with the backend tensorrt; onnxruntime takes threads, "),
        (
            "tensorrt",
            {"threads": 2},
            "threads goes with the backend onnxruntime or openvino; tensorrt takes ",
        ),
        ("onnxruntime", {"fast": True}, "fast is an option of no backend; onnxruntime takes threads, "),
    ],
)
def test_a_backend_and_its_options_go_by_name(
    tiny_bundle: Path, backend: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError) as caught:
        Pipeline.load(tiny_bundle, backend, **options)
    assert str(caught.value).startswith(message)


def test_options_that_say_nothing_go_with_every_backend(tiny_bundle: Path) -> None:
    """As a command line gives them."""
    nothing = {"target": None, "accept_unmeasured": False}
    with Pipeline.load(tiny_bundle, threads=1, **nothing) as pipeline:
        assert isinstance(pipeline._backend, OnnxRuntimeBackend) and pipeline._backend.threads == 1


def test_graphs_are_opened_when_first_used_and_once(bundle: Bundle) -> None:
    opened: list[str] = []

    class Counting(OnnxRuntimeBackend):
        def open(self, spec: Any, path: Path) -> Any:
            opened.append(spec.name)
            return super().open(spec, path)

    graphs = OpenedGraphs(bundle, Counting(1))
    assert len(graphs) == 9 and next(iter(graphs)) == "preprocess" and not opened
    assert graphs["llm"] is graphs["llm"] and opened == ["llm"]
    with pytest.raises(BundleError, match="no graph predictor"):
        graphs["predictor"]


def test_loading_opens_what_a_segmentation_needs(bundle: Bundle) -> None:
    opened: list[str] = []

    class Counting(OnnxRuntimeBackend):
        def open(self, spec: Any, path: Path) -> Any:
            opened.append(spec.name)
            return super().open(spec, path)

    pipeline = Pipeline(bundle, Counting(1))
    assert sorted(opened) == ["clip_encoder", "fvp", "image_encoder", "llm", "mask_decoder", "pixel_decoder"]
    pipeline(Image.new("RGB", (40, 30)), TEXT)
    assert len(opened) == 6


def test_another_family_is_refused(bundle_copy: Path) -> None:
    edit(bundle_copy, lambda content: content.update(family="segment-anything"))
    refused(bundle_copy, "the bundle is of family 'segment-anything'; this program knows hyperseg")


@pytest.mark.parametrize("change", [{"width": None}, {"depth": 3}, {"map_shapes": []}, {"map_channels": [1]}], ids=str)
def test_other_dimensions_are_refused(bundle_copy: Path, change: dict[str, Any]) -> None:
    edit(bundle_copy, lambda content: content["dimensions"].update(change))
    refused(bundle_copy, "the bundle's dimensions are not those of HyperSeg")


def test_another_contract_is_refused(bundle_copy: Path) -> None:
    """Dimensions that make sense, but not the ones the graphs were made for."""
    edit(bundle_copy, lambda content: content["dimensions"].update(mask_queries=11))
    refused(bundle_copy, "graph llm of the bundle has another contract than this program; export it again")


def test_a_graph_less_is_refused(bundle_copy: Path) -> None:
    edit(bundle_copy, lambda content: content["graphs"].pop())
    refused(bundle_copy, "graph mask_readout of the bundle has another contract")


@pytest.mark.parametrize("name", ["tokens", "mask_queries", "latents"])
@pytest.mark.parametrize("cut", [np.s_[:-1], np.s_[:, :-1]], ids=["rows", "columns"])
def test_tables_that_do_not_fit_the_dimensions_are_refused(
    bundle_copy: Path, rehash: Callable[[str], None], name: str, cut: Any
) -> None:
    path = bundle_copy / "tables" / f"{name}.npy"
    np.save(path, np.load(path)[cut])
    rehash(f"tables/{name}.npy")
    refused(bundle_copy, name)


def test_a_tokenizer_file_that_is_none_is_refused(bundle_copy: Path, rehash: Callable[[str], None]) -> None:
    (bundle_copy / "tokenizer.json").write_text("{}")
    rehash("tokenizer.json")
    refused(bundle_copy, "tokenizer.json: not a tokenizer file")


def test_a_graph_file_that_is_none_is_refused(bundle_copy: Path, rehash: Callable[[str], None], coffee: Path) -> None:
    (bundle_copy / "graphs" / "llm.onnx").write_bytes(b"not a model")
    rehash("graphs/llm.onnx")
    with pytest.raises(BundleError, match=r"llm\.onnx: ONNX Runtime .* cannot open it"):
        Pipeline.load(bundle_copy)(coffee, TEXT)


@pytest.mark.parametrize("name", ["tokenizer.json", "tables/tokens.npy"])
def test_a_file_the_family_needs_must_be_listed(bundle_copy: Path, name: str) -> None:
    """What is not listed was not verified."""
    edit(bundle_copy, lambda content: content["files"].pop(name))
    refused(bundle_copy, name)


def check(result: Instances, size_hw: tuple[int, ...]) -> None:
    assert result.masks.shape == (1, *size_hw) and result.mask.dtype == np.bool_
    assert 0 <= result.score <= 1 and 0 <= result.instance_details[0]["query"] < 10
    assert 1 <= result.details["queries_evaluated"] <= 10


def same(one: Instances, other: Instances) -> bool:
    return (
        np.array_equal(one.masks, other.masks)
        and np.array_equal(one.scores, other.scores)
        and one.instance_details == other.instance_details
    )


def edit(bundle: Path, change: Callable[[dict[str, Any]], object]) -> None:
    content = json.loads((bundle / "manifest.json").read_bytes())
    change(content)
    (bundle / "manifest.json").write_text(json.dumps(content))


def refused(bundle: Path, message: str) -> None:
    with pytest.raises(BundleError) as caught:
        Pipeline.load(bundle)
    assert message in str(caught.value)


def test_numbers_that_are_none_are_an_error(bundle_copy: Path, coffee: Path, rehash: Callable[[str], None]) -> None:
    """A weight that is NaN ends in a message, not in a mask."""
    table = np.load(bundle_copy / "tables" / "mask_queries.npy")
    table[0] = np.nan
    np.save(bundle_copy / "tables" / "mask_queries.npy", table)
    rehash("tables/mask_queries.npy")
    with Pipeline.load(bundle_copy) as opened, pytest.raises(NumericsError, match="NaN or infinite"):
        opened(coffee, "the cup")
