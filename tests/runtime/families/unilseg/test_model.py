"""UniLSeg's requests: lists whose classes have several names, and texts that hold no word."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from hyperseg_export.families.unilseg.clip_tokenizer import clip_tokenizer
from hyperseg_export.parity.recording import RecordingGraphs
from hyperseg_runtime.backends.onnxruntime import OnnxRuntimeBackend
from hyperseg_runtime.bundle.opening import Bundle
from hyperseg_runtime.contracts.requests import Classes, Expressions, Request
from hyperseg_runtime.contracts.results import Instances
from hyperseg_runtime.errors import PromptError
from hyperseg_runtime.families.unilseg.model import CLASS_LIST, REFERRING, UnilsegModel
from hyperseg_runtime.families.unilseg.published import PUBLISHED
from hyperseg_runtime.session.pipeline import OpenedGraphs
from support import family_bundle

IMAGE = np.random.default_rng(0).integers(0, 256, (60, 90, 3), np.uint8)


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory, backend: OnnxRuntimeBackend) -> UnilsegModel:
    """The published model without graphs: it reads texts."""
    path = tmp_path_factory.mktemp("clip") / "tokenizer.json"
    clip_tokenizer().save(str(path))
    manifest = SimpleNamespace(dimensions=PUBLISHED.model_dump(mode="json"))
    bundle: Any = SimpleNamespace(manifest=manifest, path=lambda name: path)
    return UnilsegModel(bundle, {}, backend)


@pytest.mark.slow  # its bundle takes a minute to make
def test_a_class_has_the_mask_of_its_likeliest_name(shared_dir: Path, backend: OnnxRuntimeBackend) -> None:
    bundle = Bundle.open(family_bundle(shared_dir, "unilseg"))
    graphs = RecordingGraphs(OpenedGraphs(bundle, backend))
    model = UnilsegModel(bundle, graphs, backend)
    request = Classes.of(("couch", "dog"), CLASS_LIST, synonyms=(("sofa", "settee"), ()))
    (found,) = model.segment(model.open(IMAGE), request)
    assert isinstance(found, Instances) and len(graphs.calls["text"]) == len(graphs.calls["mask_decoder"]) == 4
    names = Expressions(("couch", "sofa", "settee", "dog"), REFERRING)
    *couches, dog = (one for one in model.segment(model.open(IMAGE), names) if isinstance(one, Instances))
    expected = {"couch": max(couches, key=lambda one: one.score), "dog": dog}
    assert found.asked == request.names and set(found.labels) == {*request.names}
    for label, mask, score in zip(found.labels, found.masks, found.scores, strict=True):
        assert score == expected[label].score and np.array_equal(mask, expected[label].mask)


def test_every_name_is_checked(reader: UnilsegModel) -> None:
    with pytest.raises(PromptError, match="at most 20000 are read"):
        reader.check(Classes.of(("couch",), synonyms=(("x" * 30_000,),)), with_image=True)


@pytest.mark.parametrize("text", ["\x00", "&nbsp;", "\ufeff", "\u0345", "&amp;nbsp; \x07"])
@pytest.mark.parametrize("ask", [lambda text: Expressions(("the cup", text)), lambda text: Classes(("cup", text))])
def test_a_text_that_holds_no_word_is_refused(reader: UnilsegModel, text: str, ask: Any) -> None:
    """As an empty one: the release reads start and end alone."""
    request: Request = ask(text)
    with pytest.raises(PromptError, match="holds no word to look for; name something"):
        reader.check(request, with_image=True)


def test_texts_of_symbols_hold_something(reader: UnilsegModel) -> None:
    reader.check(Expressions(("!", "?", "人", "\U0001f600")), with_image=True)
