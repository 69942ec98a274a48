"""A checkpoint with the parts that only the paper describes: graphs against definitions in numpy, and masks."""

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from hyperseg_export.checkpoint.folder import Checkpoint
from hyperseg_export.checkpoint.weights import ModuleWeights, materialise
from hyperseg_export.export import ExportOptions, export_bundle, write_graph
from hyperseg_export.families.hyperseg.config import HypersegConfig
from hyperseg_export.families.hyperseg.definition import DEFINITION
from hyperseg_export.families.hyperseg.graphs import MaskDecoderParts
from hyperseg_export.families.hyperseg.layout import tensor_layout
from hyperseg_export.families.hyperseg.random_models import SMALL
from hyperseg_export.families.hyperseg.tiny import MADE
from hyperseg_export.families.hyperseg.training.initial import initial_tensors
from hyperseg_export.families.mask_queries.golden import Tables
from hyperseg_export.model import SourceModel, bind_model
from hyperseg_export.opening import open_checkpoint
from hyperseg_export.parity.compare import worst_error
from hyperseg_export.parity.golden import ProbedGraphs, module_maker, onnx_maker
from hyperseg_export.parity.probes import Probed
from hyperseg_export.parity.recording import Call, RecordingGraphs
from hyperseg_export.parity.tolerances import FEATURE
from hyperseg_export.precision.typed import choose_precisions, typed_model
from hyperseg_runtime.backends.base import Graph
from hyperseg_runtime.backends.onnxruntime import OnnxRuntimeBackend
from hyperseg_runtime.contracts.graph_spec import GraphSpec
from hyperseg_runtime.contracts.precision import Precision
from hyperseg_runtime.contracts.requests import Classes, Expressions, Regions
from hyperseg_runtime.contracts.results import Instances
from hyperseg_runtime.errors import CheckpointError
from hyperseg_runtime.families.hyperseg.prompts import class_prompt
from hyperseg_runtime.families.hyperseg.spec import HypersegDimensions
from hyperseg_runtime.families.hyperseg.stages import HypersegStages
from hyperseg_runtime.families.hyperseg.state import HypersegImage
from hyperseg_runtime.families.hyperseg.video import HypersegVideo
from hyperseg_runtime.families.mask_queries.graph_specs import STRIDES
from hyperseg_runtime.families.mask_queries.listed import ListTask, list_prompts, read_list
from hyperseg_runtime.llm.tokenizer import TOKENIZER_FILE, Tokenizer
from hyperseg_runtime.session.pipeline import Pipeline

FRAMES = 3
SIZES = replace(SMALL, gated_perceiver=True, prompt_frames=FRAMES, reidentification=True)
IMAGES = np.random.default_rng(0).integers(0, 256, (5, 60, 90, 3), np.uint8)
OF_THE_PAPER = ("fvp", "mask_decoder")
Weights = Mapping[str, np.ndarray]
Graphs = Mapping[str, Graph]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("paper")
    MADE.write(folder, SIZES, seed=0)
    return folder


@pytest.fixture(scope="module")
def weights(checkpoint: Path) -> Weights:
    """By the checkpoint's names, float64."""
    opened = Checkpoint.open(checkpoint)
    return {name: opened.tensor(name).double().numpy() for name in opened.shapes}


@pytest.fixture(scope="module")
def source(checkpoint: Path) -> SourceModel:
    return open_checkpoint(checkpoint).model


@pytest.fixture(scope="module")
def paper_graphs(source: SourceModel, backend: OnnxRuntimeBackend, tmp_path_factory: pytest.TempPathFactory) -> Graphs:
    """The exported graphs that differ from the release's, in ONNX Runtime; of the others the torch modules."""
    exported, module = onnx_maker(backend, tmp_path_factory.mktemp("graphs")), module_maker(backend)

    def make(probed: Probed, spec: GraphSpec, values: ModuleWeights) -> Graph:
        return (exported if spec.name in OF_THE_PAPER else module)(probed, spec, values)

    return ProbedGraphs(source.weights, {spec.name: spec for spec in source.specs}, source.module, {}, make)


@pytest.fixture
def recorded_graphs(paper_graphs: Graphs) -> RecordingGraphs:
    return RecordingGraphs(paper_graphs)


@pytest.fixture
def stages(source: SourceModel, recorded_graphs: RecordingGraphs, backend: OnnxRuntimeBackend) -> HypersegStages:
    dims = HypersegDimensions.model_validate(source.dimensions.model_dump())
    return HypersegStages(dims, recorded_graphs, Tables(source.weights), backend)


@pytest.fixture
def tokenizer(source: SourceModel, tmp_path: Path) -> Tokenizer:
    (tmp_path / TOKENIZER_FILE).write_bytes(source.definition.files[TOKENIZER_FILE])
    return Tokenizer(tmp_path / TOKENIZER_FILE)


@pytest.fixture
def video(stages: HypersegStages, tokenizer: Tokenizer) -> HypersegVideo:
    return HypersegVideo(stages, tokenizer)


def linear(weights: Weights, name: str, rows: np.ndarray) -> np.ndarray:
    bias = weights.get(f"{name}.bias", np.zeros(1))
    result: np.ndarray = rows @ weights[f"{name}.weight"].T + bias
    return result


def norm(weights: Weights, name: str, rows: np.ndarray) -> np.ndarray:
    centred = rows - rows.mean(-1, keepdims=True)
    scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
    result: np.ndarray = scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]
    return result


def perceived(weights: Weights, maps: list[np.ndarray], latents: np.ndarray) -> np.ndarray:
    """Equations 5 and 6 for one image: maps (c, h, w), latents (F, E) -> rows of the language model (F, D)."""
    erf = np.vectorize(math.erf)
    for index, feature in enumerate(maps):
        layer = f"mgvp_layers.layers.{index}"
        project = weights[f"local_project.{index}.weight"][:, :, 0, 0]
        media = feature.reshape(len(feature), -1).T @ project.T + weights[f"local_project.{index}.bias"]
        media = media + weights["level_embed.weight"][index]
        y = norm(weights, f"{layer}.0.norm_latents", latents)
        rows = np.concatenate([norm(weights, f"{layer}.0.norm_media", media), y])
        keys, values = np.split(linear(weights, f"{layer}.0.to_kv", rows), 2, axis=1)
        heads = [
            np.split(x, SIZES.perceiver_heads, axis=1) for x in (linear(weights, f"{layer}.0.to_q", y), keys, values)
        ]
        found = []
        for query, key, value in zip(*heads, strict=True):
            likeness = np.exp(query @ key.T / math.sqrt(query.shape[1]))
            found.append(likeness / likeness.sum(1, keepdims=True) @ value)
        attended = linear(weights, f"{layer}.0.to_out", np.concatenate(found, axis=1))
        hidden = linear(weights, f"{layer}.gate.0", attended)
        gate = linear(weights, f"{layer}.gate.2", hidden * (1 + erf(hidden / math.sqrt(2))) / 2)
        latents = latents + np.tanh(gate) * attended
    return linear(weights, "expanded_seg_query_project", norm(weights, "mgvp_layers.norm", latents))


def condition(inputs: Mapping[str, np.ndarray]) -> np.ndarray:
    """Mean of the hidden states of the prompt's only condition, float64."""
    start, end = inputs["condition_spans"][0, 0]
    mean: np.ndarray = inputs["hidden_states"][0, start:end].astype(np.float64).mean(0)
    return mean


def alone(call: Call, embedding: np.ndarray) -> dict[str, np.ndarray]:
    """Inputs of the mask decoder as for a single image whose condition has this embedding (D,)."""
    hidden = np.concatenate([call.inputs["hidden_states"], embedding[None, None].astype(np.float32)], axis=1)
    rows = hidden.shape[1]
    first = {
        "hidden_states": hidden,
        "condition_spans": np.array([[[rows - 1, rows]]]),
        "earlier_conditions": np.zeros_like(call.inputs["earlier_conditions"]),
        "frame_weights": np.array([[0, 0, 1]], np.float32),
    }
    return {**call.inputs, **first}


@pytest.mark.slow
def test_a_video_follows_the_papers_equations(
    video: HypersegVideo, recorded_graphs: RecordingGraphs, backend: OnnxRuntimeBackend, weights: Weights
) -> None:
    """Two texts through five frames, every array that the equations give."""
    for frame in IMAGES:
        (ready,) = video.push(frame, Expressions(("the cup", "a spoon"), "video"))
        assert all(isinstance(one, Instances) and one.masks.shape == (1, 60, 90) for one in ready.results)
    fvp, decoder = recorded_graphs.calls["fvp"], [*recorded_graphs.calls["mask_decoder"]]
    assert (len(fvp), len(decoder)) == (len(IMAGES), 2 * len(IMAGES))
    latents = weights["temporal_query"]
    for number, call in enumerate(fvp):
        assert worst_error(call.inputs["latents"][0], latents) < FEATURE
        maps = [call.inputs[name][0].astype(np.float64) for name in ("res3", "res4", "res5")]
        tokens = perceived(weights, maps, call.inputs["latents"][0].astype(np.float64))  # equations 5 and 6
        assert worst_error(call.outputs["fvp_tokens"][0], tokens) < FEATURE
        first = decoder[2 * number].inputs
        hidden = first["hidden_states"][0][first["remembered_rows"][0]].astype(np.float64)
        latents = linear(weights, "temporal_query_project", hidden)  # equation 8
    for text in range(2):
        own = [condition(call.inputs) for call in decoder[text::2]]
        for number, call in enumerate(decoder[text::2]):
            mean = np.mean(own[max(0, number + 1 - FRAMES) : number + 1], axis=0)  # equation 7
            inputs = {name: backend.upload(array) for name, array in alone(call, mean).items()}
            found = recorded_graphs["mask_decoder"].run(inputs)["score_logits"].to_host()
            assert worst_error(call.outputs["score_logits"], found) < FEATURE
            assert worst_error(call.outputs["later_conditions"][0, -1, 0], own[number]) < FEATURE


@pytest.mark.slow
def test_a_text_that_was_not_asked_before_begins_anew(video: HypersegVideo, recorded_graphs: RecordingGraphs) -> None:
    for texts in (("the cup",), ("the cup", "a spoon"), ("a spoon",), ("the cup",)):
        video.push(IMAGES[0], Expressions(texts, "video"))
    weights = [call.inputs["frame_weights"][0] for call in recorded_graphs.calls["mask_decoder"]]
    assert [np.count_nonzero(row) for row in weights] == [1, 2, 1, 2, 1]
    assert all(abs(row.sum() - 1) < 1e-6 for row in weights)


@pytest.mark.slow
def test_a_class_list_is_averaged_name_by_name(video: HypersegVideo, recorded_graphs: RecordingGraphs) -> None:
    for frame in IMAGES[:2]:
        video.push(frame, Classes(("cup", "a spoon"), "tracking"))
    first, second = recorded_graphs.calls["mask_decoder"]
    assert first.outputs["later_conditions"].shape == (1, FRAMES - 1, 3, SIZES.width)  # the last for "none of them"
    assert np.array_equal(second.inputs["earlier_conditions"], first.outputs["later_conditions"])


@pytest.mark.slow
def test_objects_are_told_apart_by_the_releases_own_head(
    stages: HypersegStages,
    tokenizer: Tokenizer,
    recorded_graphs: RecordingGraphs,
    source: SourceModel,
    weights: Weights,
) -> None:
    """Three layers on the states of the mask queries before the decoder's last norm (hyperseg-spec 6.7)."""
    request, image = Classes(("cup", "a spoon")), HypersegImage(stages, IMAGES[0])
    asked = list_prompts(
        request, lambda names: class_prompt(ListTask.INSTANCE, names, tokenizer, stages.dims), tokenizer, stages.dims
    )
    read = read_list(stages, image, asked, lambda maps, one: stages.decode(maps, one.hidden_states, [one.prompt]))
    (call,) = recorded_graphs.calls["mask_decoder"]
    assert np.array_equal(read.embeddings, call.outputs["reid_embeddings"][0])

    given = {name: torch.from_numpy(array) for name, array in call.inputs.items()}
    module = source.module("mask_decoder")
    decoder = materialise(module, source.weights.of_module(module))
    assert isinstance(decoder, MaskDecoderParts)
    with torch.inference_mode():
        queries = decoder.query_projector(given["hidden_states"][:, given["query_rows"][0]])
        pyramid, encoded = ([given[f"{kind}_s{stride}"] for stride in STRIDES] for kind in ("mask_features", "encoded"))
        states, _ = decoder.mask_decoder(queries, encoded, pyramid)
    expected = states[0].double().numpy()
    for layer in range(3):
        expected = linear(weights, f"predictor.reid_embed_head.layers.{layer}", expected)
        expected = np.maximum(expected, 0) if layer < 2 else expected
    assert worst_error(read.embeddings, expected) < FEATURE


@pytest.mark.full
def test_a_bundle_gives_masks_for_every_request(checkpoint: Path, tmp_path: Path) -> None:
    """Each graph is compared with its module at the export."""
    export_bundle(checkpoint, tmp_path / "bundle", ExportOptions())
    with Pipeline.load(tmp_path / "bundle", threads=1) as pipeline, pipeline.open(IMAGES[0]) as session:
        (pointed,) = session.run(Regions(points_xy=((20, 30),)))
        for found in (session.segment("the cup"), session.segment_classes(["cup", "a spoon"], "instance"), pointed):
            assert isinstance(found, Instances) and found.masks.shape[1:] == IMAGES.shape[1:3]
        followed = pipeline.open_video()
        for frame in IMAGES[:2]:
            (ready,) = followed.push(frame, ["the cup"])
            assert isinstance(ready.results[0], Instances) and ready.results[0].masks.shape == (1, 60, 90)


@pytest.mark.full
@pytest.mark.parametrize("precision", [Precision.FP16, Precision.BF16])
def test_graphs_in_half_precision_pass_the_lint(source: SourceModel, precision: Precision, tmp_path: Path) -> None:
    typed = typed_model(source, choose_precisions(source.specs, precision))
    for graph in OF_THE_PAPER:
        write_graph(typed, typed.spec(graph), tmp_path, {}, precision)


def test_dimensions_are_those_of_the_release_where_nothing_is_on() -> None:
    shapes = {name: shape for name, shape, _ in tensor_layout(SMALL)}
    config = HypersegConfig.from_checkpoint(SMALL.config(), shapes)
    dimensions, options = config.dimensions(1, 0), {"prompt_frames", "reidentification"}
    assert not config.fvp.gated and not options & SMALL.config()["hyperseg_trt"].keys()
    assert not options & dimensions.model_dump(mode="json").keys()
    assert HypersegDimensions.model_validate(dimensions.model_dump()) == dimensions


def test_training_begins_with_closed_gates() -> None:
    made = initial_tensors(SIZES, seed=0)
    gates = {name: tensor for name, tensor in made.items() if ".gate." in name}
    assert len(gates) == 12 and not any(tensor.any() for name, tensor in gates.items() if ".gate.2." in name)
    assert all(tensor.any() for name, tensor in gates.items() if name.endswith(".gate.0.weight"))


def test_a_gate_in_some_layers_is_an_error() -> None:
    source = MADE.tensors(SIZES, 0)
    del source.shapes["mgvp_layers.layers.1.gate.0.weight"]
    config = HypersegConfig.from_checkpoint(SIZES.config(), source.shapes)
    with pytest.raises(CheckpointError, match=r"mgvp_layers\.layers\.1\.gate\.0\.weight"):
        bind_model("hyperseg", DEFINITION.of(config, seg=1, eos=0, files={}), source)
