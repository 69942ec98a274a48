"""A merged checkpoint: plain names, stored dtypes, and the same model."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from safetensors.torch import load_file, save_file

from adapters import edit_factors
from hyperseg_export.checkpoint import merge
from hyperseg_export.checkpoint.folder import CONFIG, INDEX, SINGLE, Checkpoint
from hyperseg_export.checkpoint.lora import ADAPTER_CONFIG, with_adapters
from hyperseg_export.checkpoint.merge import merge_checkpoint
from hyperseg_export.checkpoint.tokenizer_files import load_tokenizer
from hyperseg_export.checkpoint.unread import ADAPTER_WEIGHTS
from hyperseg_export.export import write_graph
from hyperseg_export.jobs import staging as steps
from hyperseg_export.opening import open_checkpoint
from hyperseg_export.parity.compare import worst_error
from hyperseg_export.parity.tolerances import LORA
from hyperseg_runtime.errors import CheckpointError, InputError, OutputError, ResourceError
from support import PROGRAM, small_files_only

Q = "model.layers.0.self_attn.q_proj.weight"


def test_the_merge_is_the_originals(golden_dir: Path, tmp_path: Path) -> None:
    """Against peft 0.4.0; wrapped names come out plain."""
    (tmp_path / "wrapped").mkdir()
    shutil.copy(golden_dir / "lora_unmerged.safetensors", tmp_path / "wrapped" / SINGLE)
    (tmp_path / "wrapped" / CONFIG).write_text("{}")
    rows = merge_checkpoint(tmp_path / "wrapped", tmp_path / "merged")
    expected = load_file(golden_dir / "lora_merged.safetensors")
    found = load_file(tmp_path / "merged" / SINGLE)
    assert {row.weight for row in rows} == set(expected)
    assert {row.worst_error for row in rows} == {0.0}  # float32 in, float32 out
    for name, tensor in expected.items():
        assert worst_error(found[name].numpy(), tensor.numpy()) < LORA
    biases = {name.replace(".weight", ".bias") for name in expected}
    assert set(found) == set(expected) | biases
    assert sorted(path.name for path in (tmp_path / "merged").iterdir()) == [CONFIG, SINGLE]


def test_the_published_layout_stays(small_checkpoint: Path, adapters: Path, tmp_path: Path) -> None:
    rows = merge_checkpoint(small_checkpoint, tmp_path / "merged", adapters / "first")
    before, after = Checkpoint.open(small_checkpoint), Checkpoint.open(tmp_path / "merged")
    assert (after.shapes, after.dtypes, after.config) == (before.shapes, before.dtypes, before.config)
    assert {n: p.name for n, p in after.shards.items()} == {n: p.name for n, p in before.shards.items()}
    names = sorted(path.name for path in small_checkpoint.iterdir())
    assert sorted(path.name for path in (tmp_path / "merged").iterdir()) == names
    old, new = (json.loads((folder / INDEX).read_text()) for folder in (small_checkpoint, tmp_path / "merged"))
    assert new == old
    assert load_tokenizer(tmp_path / "merged").to_str() == load_tokenizer(small_checkpoint).to_str()
    exact = with_adapters(before, adapters / "first")
    assert [row.weight for row in rows] == sorted(exact.adapters)
    for name in before.shapes:
        expected = exact.tensor(name).to(before.dtypes[name])
        assert torch.equal(after.tensor(name), expected), name
        assert (name in exact.adapters) == (not torch.equal(after.tensor(name), before.tensor(name)))
    assert not with_adapters(after).adapters


def test_the_report_is_the_rounding(small_checkpoint: Path, adapters: Path, tmp_path: Path) -> None:
    rows = merge_checkpoint(small_checkpoint, tmp_path / "merged", adapters / "first")
    exact = with_adapters(Checkpoint.open(small_checkpoint), adapters / "first")
    merged = Checkpoint.open(tmp_path / "merged")
    half_step = torch.finfo(torch.float16).eps / 2  # of the largest value, which the range exceeds
    for row in rows:
        found, expected = merged.tensor(row.weight).float().numpy(), exact.tensor(row.weight).numpy()
        assert row.worst_error == pytest.approx(worst_error(found, expected))
        assert 0 < row.worst_error < half_step
        assert (row.rank, row.dtype) == (4, "float16")


@pytest.mark.slow
def test_a_merged_checkpoint_exports_as_the_unmerged_one(
    small_checkpoint: Path, adapters: Path, tmp_path: Path
) -> None:
    """Up to the rounding of the merged weights, in the one graph that reads them."""
    merge_checkpoint(small_checkpoint, tmp_path / "merged", adapters / "first")
    models = open_checkpoint(tmp_path / "merged").model, open_checkpoint(small_checkpoint, adapters / "first").model
    spec = next(spec for spec in models[0].specs if spec.name == "llm")
    for name, model in zip(("ours", "theirs"), models, strict=True):
        (tmp_path / name).mkdir()
        write_graph(model, spec, tmp_path / name, {})
    ours, theirs = (tmp_path / name / "graphs" for name in ("ours", "theirs"))
    assert (ours / "llm.onnx").read_bytes() == (theirs / "llm.onnx").read_bytes()
    expected = initializers(theirs)
    for name, found in initializers(ours).items():
        assert worst_error(found, expected[name]) <= (2**-11 if name.endswith("qkv.weight") else 0.0), name


def test_an_adapter_in_the_checkpoint_stays_behind(small_checkpoint: Path, adapters: Path, tmp_path: Path) -> None:
    """So do weights in other formats: they would be those before the merge."""
    checkpoint = Path(shutil.copytree(small_checkpoint, tmp_path / "checkpoint"))
    for name in (ADAPTER_CONFIG, ADAPTER_WEIGHTS):
        shutil.copy(adapters / "first" / name, checkpoint)
    for name in ("pytorch_model.bin", "pytorch_model.bin.index.json", "LICENSE"):
        (checkpoint / name).write_text("{}")
    merge_checkpoint(checkpoint, tmp_path / "merged")
    wanted = {path.name for path in small_checkpoint.iterdir()} | {"LICENSE"}
    assert {path.name for path in (tmp_path / "merged").iterdir()} == wanted
    assert not with_adapters(Checkpoint.open(tmp_path / "merged")).adapters


def test_bfloat16_stays_bfloat16(small_checkpoint: Path, adapters: Path, tmp_path: Path) -> None:
    checkpoint = Path(shutil.copytree(small_checkpoint, tmp_path / "checkpoint"))
    shard = Checkpoint.open(checkpoint).shards[Q]
    save_file({name: tensor.bfloat16() for name, tensor in load_file(shard).items()}, shard, {"format": "pt"})
    rows = {row.weight: row for row in merge_checkpoint(checkpoint, tmp_path / "merged", adapters / "first")}
    assert rows[Q].dtype == "bfloat16"
    assert 2**-11 < rows[Q].worst_error < 2**-8
    assert Checkpoint.open(tmp_path / "merged").tensor(Q).dtype == torch.bfloat16


def test_what_cannot_be_merged(small_checkpoint: Path, adapters: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no adapter was found to merge; name its folder with --adapter"):
        merge_checkpoint(small_checkpoint, tmp_path / "merged")
    for target in (small_checkpoint, small_checkpoint.parent, adapters):
        with pytest.raises(InputError, match=r"take the place of .*; give a new folder"):
            merge_checkpoint(small_checkpoint, target, adapters / "first", overwrite=True)
    (tmp_path / "taken").mkdir()
    with pytest.raises(OutputError, match="--overwrite"):
        merge_checkpoint(small_checkpoint, tmp_path / "taken", adapters / "first")
    huge = Path(shutil.copytree(adapters / "first", tmp_path / "huge"))
    edit_factors(huge, lambda name, tensor: (name, 1e4 * tensor))
    with pytest.raises(CheckpointError, match=rf"the merged {Q} has values that torch.float16 cannot hold"):
        merge_checkpoint(small_checkpoint, tmp_path / "merged", huge)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["huge", "taken"]


def test_a_disk_that_is_too_small_is_noticed_before_the_work(
    small_checkpoint: Path, adapters: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steps.shutil, "disk_usage", lambda path: type("usage", (), {"free": 1000})())
    with pytest.raises(ResourceError, match=r"it takes about 0\.0 GB, the disk has 0\.0 GB free"):
        merge_checkpoint(small_checkpoint, tmp_path / "merged", adapters / "first")
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_fills_up_leaves_nothing(small_checkpoint: Path, adapters: Path, tmp_path: Path) -> None:
    command = ["lora", "merge", small_checkpoint, tmp_path / "merged", "--adapter", adapters / "first"]
    result = subprocess.run([*PROGRAM, *command], capture_output=True, text=True, preexec_fn=small_files_only)
    assert result.returncode == 7, result.stderr
    assert "no room left on the disk" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_killed_merge_goes_on(
    small_checkpoint: Path, adapters: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Interrupted in its second shard; the first is kept, and the result is that of an undisturbed one."""
    real, written = merge.write_safetensors, []

    def interrupted(path: Path, *arguments: object) -> None:
        written.append(path.name)
        if len(written) == 2:
            raise KeyboardInterrupt
        real(path, *arguments)

    monkeypatch.setattr(merge, "write_safetensors", interrupted)
    with pytest.raises(KeyboardInterrupt):
        merge_checkpoint(small_checkpoint, tmp_path / "merged", adapters / "first")
    assert not (tmp_path / "merged").exists()
    rows = merge_checkpoint(small_checkpoint, tmp_path / "merged", adapters / "first")
    first, second = sorted(path.name for path in small_checkpoint.glob("*.safetensors"))
    assert written == [first, second, second]
    assert rows == merge_checkpoint(small_checkpoint, tmp_path / "again", adapters / "first")
    for path in (tmp_path / "again").iterdir():
        assert (tmp_path / "merged" / path.name).read_bytes() == path.read_bytes()


MEASURE = """
import json, resource, sys
from pathlib import Path
from hyperseg_export.checkpoint.merge import merge_checkpoint
folder = Path(sys.argv[1])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
merge_checkpoint(folder / "base", folder / "merged", folder / "adapter")
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_shard(tmp_path: Path) -> None:
    """60 tensors of 4 MB in one shard take a fraction of the shard's 240 MB."""
    for name in ("base", "adapter"):
        (tmp_path / name).mkdir()
    width, count = 1024, 60
    weights = {f"model.layers.{i}.dense.weight": torch.zeros(width, width) for i in range(count)}
    save_file(weights, tmp_path / "base" / SINGLE)
    (tmp_path / "base" / CONFIG).write_text("{}")
    factors = {}
    for name in weights:
        stem = name.removesuffix(".weight")
        factors[f"{stem}.lora_A.weight"], factors[f"{stem}.lora_B.weight"] = torch.ones(2, width), torch.ones(width, 2)
    save_file(factors, tmp_path / "adapter" / ADAPTER_WEIGHTS)
    (tmp_path / "adapter" / ADAPTER_CONFIG).write_text(json.dumps({"r": 2, "lora_alpha": 2}))
    program = [sys.executable, "-c", MEASURE, tmp_path]
    grown_kb = int(subprocess.run(program, capture_output=True, text=True, check=True).stdout)
    assert grown_kb < 120_000
    assert torch.equal(Checkpoint.open(tmp_path / "merged").tensor(name), torch.full((width, width), 2.0))


def initializers(folder: Path) -> dict[str, np.ndarray]:
    proto = onnx.load(folder / "llm.onnx")
    return {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}
