"""An evaluation gives one table, wherever it is stopped, whoever does the work."""

import dataclasses
import json
import random
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from hyperseg_bench.quality.answering import answered
from hyperseg_bench.quality.datasets.registry import Choice, open_data_set
from hyperseg_bench.quality.evaluation import Asking, evaluate, precision_of
from hyperseg_bench.quality.results import write_comparison
from hyperseg_bench.quality.run_folder import COMPARISON, COMPARISON_PAGE, TABLE
from hyperseg_bench.quality.samples import Row
from hyperseg_runtime.batch.item_file import ItemFile
from hyperseg_runtime.batch.run_record import ITEMS
from hyperseg_runtime.batch.subject import Subject
from hyperseg_runtime.batch.working import Job, in_this_process
from hyperseg_runtime.bundle.engines import ENGINES, FILE_NAME
from hyperseg_runtime.bundle.opening import Bundle
from hyperseg_runtime.contracts.results import encode_rle
from hyperseg_runtime.errors import BundleError, OutputError
from hyperseg_runtime.session.pipeline import Pipeline
from knowing_pipeline import Knowing

SAMPLES = 6
CHOICE = Choice("shapes", items=SAMPLES)


class StoppedError(Exception):
    pass


class Work:
    """A pipeline that knows half; stops at a sample, or works in another order."""

    def __init__(self, stop_before: int | None = None, backwards: bool = False) -> None:
        self.pipeline = cast(Pipeline, Knowing(range(SAMPLES), shrink=True))
        self.stop_before = stop_before
        self.backwards = backwards
        self.asked: list[str] = []

    def __call__(self, job: Job, keys: Sequence[str]) -> Iterator[tuple[str, list[Row]]]:
        assert isinstance(job, Asking)
        data = open_data_set(job.choice)
        for key in reversed(keys) if self.backwards else keys:
            if len(self.asked) == self.stop_before:
                raise StoppedError
            self.asked.append(key)
            yield key, answered(self.pipeline, data.sample(key))


@pytest.fixture
def subject(tiny_bundle: Path) -> Subject:
    return Subject(tiny_bundle)


@pytest.fixture
def whole(subject: Subject, tmp_path: Path) -> Path:
    """The folder of an evaluation that nothing stopped."""
    evaluate(subject, CHOICE, made(tmp_path / "whole"), work=Work())
    return tmp_path / "whole"


def made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def test_an_evaluation_that_ends_before_its_first_sample_is_none(subject: Subject, tmp_path: Path) -> None:
    """What was wrong may be among its settings, with which another one would be refused."""
    out = made(tmp_path / "out")
    with pytest.raises(StoppedError):
        evaluate(subject, CHOICE, out, work=Work(stop_before=0))
    assert list(out.iterdir()) == []


def test_the_table_holds_what_was_asked(whole: Path, subject: Subject) -> None:
    told: list[tuple[int, int]] = []
    work = Work()
    content = evaluate(subject, CHOICE, whole, work=work, tell=lambda done, of: told.append((done, of)))
    assert work.asked == [] and told == [(SAMPLES, SAMPLES)]  # it was complete
    assert content["samples"] == SAMPLES and content["left_out"] == {}
    assert 0.2 < content["table"]["expressions, all"]["ciou"] < 0.8
    assert content["table"]["questions, all"]["accuracy"] == 1


@pytest.mark.parametrize("seed", range(3))
def test_a_killed_evaluation_goes_on_and_gives_the_same_table(
    whole: Path, subject: Subject, tmp_path: Path, seed: int
) -> None:
    """StoppedError between two samples, and then in the middle of a write."""
    generator = random.Random(seed)
    folder, stopped = made(tmp_path / "stopped"), Work(stop_before=generator.randrange(1, SAMPLES))
    with pytest.raises(StoppedError):
        evaluate(subject, CHOICE, folder, work=stopped)
    assert not (folder / TABLE).exists()
    written = (folder / ITEMS).read_bytes()
    last = written[:-1].rfind(b"\n") + 1
    (folder / ITEMS).write_bytes(written[: generator.randrange(last, len(written))])
    resumed = Work()
    evaluate(subject, CHOICE, folder, work=resumed)
    assert len(resumed.asked) == SAMPLES - len(stopped.asked) + 1
    for name in (ITEMS, TABLE):
        assert (folder / name).read_bytes() == (whole / name).read_bytes()


def test_the_order_of_the_work_does_not_matter(whole: Path, subject: Subject, tmp_path: Path) -> None:
    evaluate(subject, CHOICE, made(tmp_path / "backwards"), work=Work(backwards=True))
    assert (tmp_path / "backwards" / ITEMS).read_bytes() != (whole / ITEMS).read_bytes()
    assert (tmp_path / "backwards" / TABLE).read_bytes() == (whole / TABLE).read_bytes()


def test_another_evaluation_is_not_mixed_in(whole: Path, subject: Subject, bundle_copy: Path) -> None:
    with pytest.raises(OutputError, match="its data_set, keys differ"):
        evaluate(subject, Choice("shapes", items=SAMPLES - 1), whole, work=Work())
    (bundle_copy / "manifest.json").write_bytes((bundle_copy / "manifest.json").read_bytes() + b"\n")
    with pytest.raises(OutputError, match="its bundle differ"):
        evaluate(Subject(bundle_copy), CHOICE, whole, work=Work())
    fewer = evaluate(subject, Choice("shapes", items=1), whole, overwrite=True, work=Work())
    assert fewer["samples"] == 1
    assert len(ItemFile(whole / ITEMS).rows) == 1


@pytest.mark.parametrize(
    ("other", "differ"),
    [
        ({"options": {"bf16": True}}, "options"),
        ({"options": {"custom_op_libraries": [Path("folder/cpu_ops-1.so")]}}, "options"),
        ({"backend": "openvino"}, "backend"),
    ],
)
def test_other_settings_are_another_evaluation(
    whole: Path, subject: Subject, other: dict[str, Any], differ: str
) -> None:
    changed = dataclasses.replace(subject, **other)
    with pytest.raises(OutputError, match=rf"\(its {differ} differ\)"):
        evaluate(changed, CHOICE, whole, work=Work())
    work = Work()
    evaluate(changed, CHOICE, whole, overwrite=True, work=work)
    assert len(work.asked) == SAMPLES


def test_settings_that_change_no_result_go_on(whole: Path, subject: Subject) -> None:
    work = Work()
    harmless = {"threads": 3, "low_memory": True, "verify_hashes": True, "bf16": False, "custom_op_libraries": ()}
    evaluate(dataclasses.replace(subject, options=harmless), CHOICE, whole, work=work)
    assert work.asked == []


def test_other_engines_are_another_evaluation(engine_bundle: Path, tmp_path: Path) -> None:
    """Those that are named, and those that were built again."""
    bundle = Path(shutil.copytree(engine_bundle, tmp_path / "bundle"))
    (folder,) = (bundle / ENGINES).iterdir()
    shutil.copytree(folder, folder.with_name("sm80-other"))
    choice, out = Choice("shapes", items=1), made(tmp_path / "out")
    subject = Subject(bundle, "tensorrt", {"target": folder.name})
    evaluate(subject, choice, out, work=Work())
    with pytest.raises(OutputError, match="its options, engines differ"):
        evaluate(Subject(bundle, "tensorrt", {"target": "sm80-other"}), choice, out, work=Work())
    rebuild(folder.with_name("sm80-other"))
    evaluate(subject, choice, out, work=Work())  # its own engines are as they were
    rebuild(folder)
    with pytest.raises(OutputError, match=r"\(its engines differ\)"):
        evaluate(subject, choice, out, work=Work())
    any_target = Subject(bundle, "tensorrt")
    before = any_target.conditions()
    rebuild(folder.with_name("sm80-other"), of="8")
    assert any_target.conditions()["engines"] != before["engines"]  # another machine may take them


def rebuild(folder: Path, of: str = "7") -> None:
    """As `build` leaves the list of engines when a plan has become another one."""
    content = json.loads((folder / FILE_NAME).read_bytes())
    content["engines"][0]["file"]["sha256"] = of * 64
    (folder / FILE_NAME).write_text(json.dumps(content))


def test_overwrite_begins_anew(whole: Path, subject: Subject) -> None:
    work = Work()
    before = (whole / TABLE).read_bytes()
    evaluate(subject, CHOICE, whole, overwrite=True, work=work)
    assert len(work.asked) == SAMPLES and (whole / TABLE).read_bytes() == before


def test_overwrite_leaves_no_comparison_of_before(whole: Path, subject: Subject) -> None:
    write_comparison(whole, whole, CHOICE)
    evaluate(subject, CHOICE, whole, overwrite=True, work=Work())
    assert not (whole / COMPARISON).exists() and not (whole / COMPARISON_PAGE).exists()


def test_files_of_somebody_else_stay(subject: Subject, tmp_path: Path) -> None:
    (tmp_path / TABLE).write_text("mine")
    with pytest.raises(OutputError, match="is there, without"):
        evaluate(subject, CHOICE, tmp_path, work=Work())
    assert (tmp_path / TABLE).read_text() == "mine"


def test_a_precision_is_demanded_not_made(bundle: Bundle, subject: Subject, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="asked for fp16, its graphs are fp32; export with --precision fp16"):
        evaluate(subject, CHOICE, tmp_path, precision="fp16", work=Work())
    first = bundle.manifest.graphs[0].model_copy(update={"precision": "fp16"})
    mixed = bundle.manifest.model_copy(update={"graphs": (first, *bundle.manifest.graphs[1:])})
    assert precision_of(mixed) == "mixed"


def test_a_real_bundle_is_asked(subject: Subject) -> None:
    """The rows of the pipeline that is opened are those of asking it by hand."""
    options: dict[str, Any] = {"threads": 1}
    choice = Choice("shapes", items=1)
    data = open_data_set(choice)
    ((key, rows),) = in_this_process(Asking(dataclasses.replace(subject, options=options), choice), data.keys)
    sample = data.sample(key)
    first = next(ask for ask in sample.asks if ask.measure == "expressions")
    with Pipeline.load(subject.bundle, threads=1) as pipeline:
        mask = pipeline(sample.frames[0], rows[0]["asked"]).mask
    assert rows[0]["ask"] == first.name and len(rows) == len(sample.asks)
    assert rows[0]["found"] == encode_rle(mask)


def test_the_folder_can_be_moved(whole: Path, subject: Subject, tmp_path: Path) -> None:
    shutil.move(whole, tmp_path / "elsewhere")
    work = Work()
    evaluate(subject, CHOICE, tmp_path / "elsewhere", work=work)
    assert work.asked == []
