"""LoRA adapters: our merge against peft's, where adapters are found, and which ones are refused."""

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import PhiConfig, PhiForCausalLM

from hyperseg_export.checkpoint.folder import CONFIG, SINGLE, Checkpoint
from hyperseg_export.checkpoint.lora import ADAPTER_CONFIG, MergedCheckpoint, with_adapters
from hyperseg_export.checkpoint.pickle_file import PickleCheckpoint
from hyperseg_export.checkpoint.unread import ADAPTER_WEIGHTS
from hyperseg_export.parity.compare import worst_error
from hyperseg_export.parity.tolerances import LORA
from hyperseg_runtime.errors import CheckpointError

TARGET = "model.layers.0.self_attn.q_proj.weight"
ADAPTER = "base_model.model.model.layers.0.self_attn.q_proj"
Make = Callable[..., dict[str, Tensor]]

# peft 0.21 reads a property that transformers 5.23 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """The checkpoint of a small Phi."""
    folder = tmp_path / "base"
    folder.mkdir()
    save_file({name: tensor.clone() for name, tensor in phi().state_dict().items()}, folder / SINGLE)
    (folder / CONFIG).write_text("{}")
    return folder


@pytest.fixture
def make_adapter(tmp_path: Path) -> Make:
    """Let peft write an adapter to tmp_path/adapter; returns what peft's own merge gives."""

    def make(**options: Any) -> dict[str, Tensor]:
        settings = {"r": 8, "lora_alpha": 16, "target_modules": ["q_proj", "v_proj"], **options}
        wrapped = get_peft_model(phi(), LoraConfig(**settings))
        with torch.no_grad():
            for name, parameter in wrapped.named_parameters():
                if "lora_B" in name:  # peft begins with zeros
                    parameter.normal_()
        wrapped.save_pretrained(tmp_path / "adapter")
        merged: dict[str, Tensor] = wrapped.merge_and_unload().state_dict()
        return merged

    return make


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"use_rslora": True},
        {"r": 3, "lora_alpha": 5},
        {"target_modules": ["dense", "fc1"]},
        {
            "rank_pattern": {"0.self_attn.q_proj": 2, "q_proj": 4},
            "alpha_pattern": {"layers.1.self_attn.q_proj": 7, "v_proj": 3},
        },
    ],
    ids=["the release's", "square root of the rank", "odd rank", "other targets", "patterns"],
)
def test_merged_weights_are_pefts(base: Path, tmp_path: Path, make_adapter: Make, options: dict[str, Any]) -> None:
    expected = make_adapter(**options)
    merged = with_adapters(Checkpoint.open(base), tmp_path / "adapter")
    assert set(merged.names) == set(expected)
    assert len(merged.adapters) == 4
    for name, tensor in expected.items():
        assert worst_error(merged.tensor(name).numpy(), tensor.numpy()) < LORA, name
        assert (name in merged.adapters) == (not torch.equal(tensor, Checkpoint.open(base).tensor(name)))


def rename_newer(name: str) -> str:
    """As newer peft names them: the wrapped layer is `base_layer`, factors have no adapter name."""
    if "lora_" in name:
        return name.replace(".default.", ".")
    module, _, leaf = name.rpartition(".")
    return f"{module}.base_layer.{leaf}"


@pytest.mark.parametrize("rename", [str, rename_newer], ids=["older peft", "newer peft"])
def test_adapters_inside_the_shards_merge_as_the_original(
    golden_dir: Path, tmp_path: Path, rename: Callable[[str], str]
) -> None:
    stored = load_file(golden_dir / "lora_unmerged.safetensors")
    save_file({rename(name): tensor for name, tensor in stored.items()}, tmp_path / SINGLE)
    (tmp_path / CONFIG).write_text("{}")
    merged = with_adapters(Checkpoint.open(tmp_path))
    expected = load_file(golden_dir / "lora_merged.safetensors")
    assert set(merged.adapters) == set(expected)
    assert set(merged.names) == {name.replace(".weight", f".{p}") for name in expected for p in ("weight", "bias")}
    for name, tensor in expected.items():
        assert worst_error(merged.tensor(name).numpy(), tensor.numpy()) < LORA
    bias = TARGET.replace("weight", "bias")
    assert torch.equal(merged.tensor(bias), stored[f"base_model.model.{bias}"])


def test_without_adapters_everything_is_as_stored(base: Path) -> None:
    checkpoint = Checkpoint.open(base)
    merged = with_adapters(checkpoint)
    assert merged.shapes == checkpoint.shapes
    assert not merged.adapters
    assert merged.adapter_sha256 is None
    assert torch.equal(merged.tensor(TARGET), checkpoint.tensor(TARGET))


def test_a_half_precision_weight_comes_out_merged_in_float32(base: Path, tmp_path: Path, make_adapter: Make) -> None:
    make_adapter()
    halved = {name: tensor.half() for name, tensor in load_file(base / SINGLE).items()}
    save_file(halved, base / SINGLE)
    merged = with_adapters(Checkpoint.open(base), tmp_path / "adapter")
    factors = load_file(tmp_path / "adapter" / ADAPTER_WEIGHTS)
    delta = 16 / 8 * factors[f"{ADAPTER}.lora_B.weight"] @ factors[f"{ADAPTER}.lora_A.weight"]
    assert merged.tensor(TARGET).dtype == torch.float32
    assert worst_error(merged.tensor(TARGET).numpy(), (halved[TARGET].float() + delta).numpy()) < LORA
    assert merged.tensor("model.embed_tokens.weight").dtype == torch.float16
    assert merged.bytes_of(TARGET) == halved[TARGET].nbytes


@pytest.mark.parametrize("place", ["by argument", "beside the shards", "in a subfolder"])
def test_an_adapter_is_found(base: Path, tmp_path: Path, make_adapter: Make, place: str) -> None:
    expected = make_adapter()[TARGET]
    argument = None
    if place == "by argument":
        argument = tmp_path / "adapter"
    elif place == "beside the shards":
        for name in (ADAPTER_CONFIG, ADAPTER_WEIGHTS):
            shutil.copy(tmp_path / "adapter" / name, base)
    else:
        shutil.copytree(tmp_path / "adapter", base / "lora")
    merged = with_adapters(Checkpoint.open(base), argument)
    assert worst_error(merged.tensor(TARGET).numpy(), expected.numpy()) < LORA
    assert merged.adapter_sha256 is not None


@pytest.mark.parametrize("place", ["beside the file", "in a subfolder"])
def test_a_pickle_named_alone_takes_no_adapter_that_lies_there(
    base: Path, tmp_path: Path, make_adapter: Make, place: str
) -> None:
    """A folder of downloads is no checkpoint; one that is named as the checkpoint is."""
    expected = make_adapter()[TARGET]
    folder = tmp_path / "downloads"
    folder.mkdir()
    torch.save(load_file(base / SINGLE), folder / "model.pth")
    shutil.copytree(tmp_path / "adapter", folder if place == "beside the file" else folder / "lora", dirs_exist_ok=True)
    alone = with_adapters(PickleCheckpoint.open(folder / "model.pth"))
    assert not alone.adapters and alone.adapter_sha256 is None
    assert torch.equal(alone.tensor(TARGET), load_file(base / SINGLE)[TARGET])
    for merged in (
        with_adapters(PickleCheckpoint.open(folder)),
        with_adapters(PickleCheckpoint.open(folder / "model.pth"), tmp_path / "adapter"),
    ):
        assert worst_error(merged.tensor(TARGET).numpy(), expected.numpy()) < LORA


def test_two_adapters_need_a_choice(base: Path, tmp_path: Path, make_adapter: Make) -> None:
    make_adapter()
    for name in ("one", "two"):
        shutil.copytree(tmp_path / "adapter", base / name)
    with pytest.raises(CheckpointError, match=r"several adapters inside \(one, two\); choose one with --adapter"):
        with_adapters(Checkpoint.open(base))
    assert with_adapters(Checkpoint.open(base), base / "one").adapters


def test_adapters_in_shards_and_in_a_folder_need_a_choice(base: Path, tmp_path: Path, make_adapter: Make) -> None:
    make_adapter()
    factors = load_file(tmp_path / "adapter" / ADAPTER_WEIGHTS)
    save_file({**load_file(base / SINGLE), **factors}, base / SINGLE)
    with pytest.raises(CheckpointError, match=r"adapters both in the shards and in .*adapter; keep one of them"):
        with_adapters(Checkpoint.open(base), tmp_path / "adapter")


def test_one_weight_stored_under_two_names_is_an_error(golden_dir: Path, tmp_path: Path) -> None:
    """A wrapped and a plain copy of one weight: which one is meant?"""
    stored = load_file(golden_dir / "lora_unmerged.safetensors")
    save_file({**stored, TARGET: torch.zeros(80, 80)}, tmp_path / SINGLE)
    (tmp_path / CONFIG).write_text("{}")
    with pytest.raises(CheckpointError, match=TARGET.replace(".", r"\.")):
        with_adapters(Checkpoint.open(tmp_path))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_factors_that_are_no_numbers_are_refused(base: Path, tmp_path: Path, make_adapter: Make, value: float) -> None:
    make_adapter()
    path = tmp_path / "adapter" / ADAPTER_WEIGHTS
    factors = load_file(path)
    factors[B][0, 0] = value
    save_file(factors, path)
    merged = with_adapters(Checkpoint.open(base), tmp_path / "adapter")
    with pytest.raises(CheckpointError, match=r"lora_B\.weight holds NaN or infinite values"):
        merged.tensor(TARGET)


@pytest.mark.parametrize("missing", [ADAPTER_CONFIG, ADAPTER_WEIGHTS])
def test_a_file_of_the_adapter_is_missing(base: Path, tmp_path: Path, make_adapter: Make, missing: str) -> None:
    make_adapter()
    (tmp_path / "adapter" / missing).unlink()
    with pytest.raises(CheckpointError, match=f"{missing} is missing"):
        with_adapters(Checkpoint.open(base), tmp_path / "adapter")


A, B = f"{ADAPTER}.lora_A.weight", f"{ADAPTER}.lora_B.weight"
NO_TARGET = {name.replace("q_proj", "q_proj2"): shape for name, shape in ((A, (8, 24)), (B, (24, 8)))}
BROKEN_FACTORS = {
    "A without B": ({B: None}, "q_proj.weight has factor A only, needs A and B"),
    "B without A": ({A: None}, "q_proj.weight has factor B only, needs A and B"),
    "wrong width": ({A: (8, 25)}, r"factors A \(8, 25\) and B \(24, 8\) do not fit"),
    "wrong height": ({B: (25, 8)}, r"factors A \(8, 24\) and B \(25, 8\) do not fit"),
    "two ranks": ({B: (24, 7)}, r"factors A \(8, 24\) and B \(24, 7\) do not fit"),
    "no matrix": ({A: (8,)}, r"factors A \(8,\) and B \(24, 8\) do not fit"),
    "another rank": ({A: (4, 24), B: (24, 4)}, "says rank 8, the tensors have 4"),
    "not LoRA": ({f"{ADAPTER}.lora_magnitude_vector": (24,)}, "is no LoRA factor; expected"),
    "no target": (NO_TARGET, "changes model.layers.0.self_attn.q_proj2.weight, which the checkpoint does not have"),
}


@pytest.mark.parametrize("case", BROKEN_FACTORS)
def test_factors_that_do_not_fit(base: Path, tmp_path: Path, make_adapter: Make, case: str) -> None:
    changes, message = BROKEN_FACTORS[case]
    make_adapter()
    file = tmp_path / "adapter" / ADAPTER_WEIGHTS
    tensors = load_file(file)
    for name, shape in changes.items():
        tensors.pop(name, None)
        if shape is not None:
            tensors[name] = torch.zeros(shape)
    save_file(tensors, file)
    with pytest.raises(CheckpointError, match=message):
        with_adapters(Checkpoint.open(base), tmp_path / "adapter")


def test_an_adapter_without_tensors(base: Path, tmp_path: Path, make_adapter: Make) -> None:
    make_adapter()
    save_file({}, tmp_path / "adapter" / ADAPTER_WEIGHTS)
    with pytest.raises(CheckpointError, match="holds no tensors"):
        with_adapters(Checkpoint.open(base), tmp_path / "adapter")


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("use_dora", True),
        ("fan_in_fan_out", True),
        ("modules_to_save", ["lm_head"]),
        ("rank_pattern", {"q_proj": 4}),  # the tensors have another
        ("rank_pattern", {"q_proj": "many"}),
        ("rank_pattern", {"(a+)+": 4}),
        ("alpha_pattern", {"no_such_module": 4}),
        ("alpha_pattern", ["q_proj"]),
        ("peft_type", "LOHA"),
        ("init_lora_weights", "pissa"),  # these two also change the weights that the factors are added to
        ("init_lora_weights", "olora"),
        ("alora_invocation_tokens", [1, 2]),  # active after these tokens only
        ("bias", "lora_only"),
        ("lora_bias", True),
        ("layer_replication", [[0, 1]]),
        ("trainable_token_indices", [7]),
        ("layers_to_transform", [0]),  # the tensors change layer 1, too
        ("layers_to_transform", 1),
        ("exclude_modules", ["v_proj"]),
        ("lora_alpha", math.inf),
        ("alpha_pattern", {"v_proj": 10**400}),
    ],
)
def test_settings_that_change_the_arithmetic_are_refused(
    base: Path, tmp_path: Path, make_adapter: Make, setting: str, value: object
) -> None:
    make_adapter()
    edit_settings(tmp_path, {setting: value})
    with pytest.raises(CheckpointError, match=setting):
        with_adapters(Checkpoint.open(base), tmp_path / "adapter")


@pytest.mark.parametrize(("setting", "value"), [("lora_alpha", None), ("lora_alpha", "many"), ("r", "8")])
def test_a_setting_of_the_wrong_type_is_named(
    base: Path, tmp_path: Path, make_adapter: Make, setting: str, value: object
) -> None:
    make_adapter()
    edit_settings(tmp_path, {setting: value})
    with pytest.raises(CheckpointError, match=ADAPTER_CONFIG):
        with_adapters(Checkpoint.open(base), tmp_path / "adapter")


@pytest.mark.parametrize(("rslora", "scale"), [(False, 6 / 8), (True, 6 / math.sqrt(8))])
def test_the_scale_is_alpha_over_the_rank_or_its_root(
    base: Path, tmp_path: Path, make_adapter: Make, rslora: bool, scale: float
) -> None:
    make_adapter()
    edit_settings(tmp_path, {"lora_alpha": 6, "use_rslora": rslora})
    assert open_with(base, tmp_path).adapters[TARGET].scale == pytest.approx(scale)
    assert open_with(base, tmp_path).adapters[TARGET].rank == 8


def test_the_hash_of_an_adapter_changes_with_its_tensors(base: Path, tmp_path: Path, make_adapter: Make) -> None:
    make_adapter()
    before = open_with(base, tmp_path).adapter_sha256
    file = tmp_path / "adapter" / ADAPTER_WEIGHTS
    tensors = load_file(file)
    tensors[f"{ADAPTER}.lora_A.weight"][0, 0] += 1
    save_file(tensors, file)
    assert open_with(base, tmp_path).adapter_sha256 != before


def test_the_hash_of_an_adapter_changes_with_its_scale(base: Path, tmp_path: Path, make_adapter: Make) -> None:
    """An export is resumed, and a bundle verified, by this hash: another alpha is another adapter."""
    make_adapter()
    before = open_with(base, tmp_path).adapter_sha256
    edit_settings(tmp_path, {"lora_alpha": 32})
    assert open_with(base, tmp_path).adapter_sha256 != before


def test_settings_beside_wrapped_shards_count(golden_dir: Path, tmp_path: Path) -> None:
    shutil.copy(golden_dir / "lora_unmerged.safetensors", tmp_path / SINGLE)
    (tmp_path / CONFIG).write_text("{}")

    def with_alpha(alpha: int) -> MergedCheckpoint:
        (tmp_path / ADAPTER_CONFIG).write_text(json.dumps({"r": 8, "lora_alpha": alpha}))
        return with_adapters(Checkpoint.open(tmp_path))

    one, other = with_alpha(4), with_alpha(32)
    assert (one.adapters[TARGET].scale, other.adapters[TARGET].scale) == (0.5, 4)
    assert one.adapter_sha256 != other.adapter_sha256


def open_with(base: Path, tmp_path: Path) -> MergedCheckpoint:
    return with_adapters(Checkpoint.open(base), tmp_path / "adapter")


def edit_settings(tmp_path: Path, changes: dict[str, object]) -> None:
    path = tmp_path / "adapter" / ADAPTER_CONFIG
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def phi() -> PhiForCausalLM:
    torch.manual_seed(0)
    config = PhiConfig(
        vocab_size=11,
        hidden_size=24,
        intermediate_size=20,
        num_hidden_layers=2,
        num_attention_heads=3,
        max_position_embeddings=16,
        pad_token_id=None,
        bos_token_id=0,
        eos_token_id=0,
    )
    return PhiForCausalLM(config)
