"""Our text encoder, against transformers' BERT with the same weights."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from transformers import BertConfig as TheirConfig
from transformers import BertModel

from hyperseg_export.modules.bert import BertConfig, BertEncoder

Load = Callable[[nn.Module, Mapping[str, Tensor]], nn.Module]

LAYERS, WIDTH, HEADS = 2, 24, 4
NAMES = {
    "attention.output.dense": "out",
    "attention.output.LayerNorm": "norm1",
    "intermediate.dense": "mlp.layers.0",
    "output.dense": "mlp.layers.1",
    "output.LayerNorm": "norm2",
}


def ours(theirs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    embed = "embeddings."
    found = {
        "token_embed.weight": theirs[f"{embed}word_embeddings.weight"],
        "position_embed": theirs[f"{embed}position_embeddings.weight"]
        + theirs[f"{embed}token_type_embeddings.weight"][:1],
    }
    for kind in ("weight", "bias"):
        found[f"embed_norm.{kind}"] = theirs[f"{embed}LayerNorm.{kind}"]
        for index in range(LAYERS):
            layer = f"encoder.layer.{index}."
            packed = [theirs[f"{layer}attention.self.{name}.{kind}"] for name in ("query", "key", "value")]
            found[f"layers.{index}.qkv.{kind}"] = torch.cat(packed)
            for their_name, name in NAMES.items():
                found[f"layers.{index}.{name}.{kind}"] = theirs[f"{layer}{their_name}.{kind}"]
    return found


def test_states_of_texts_of_different_length(load: Load) -> None:
    config = TheirConfig(
        vocab_size=50, hidden_size=WIDTH, num_hidden_layers=LAYERS, num_attention_heads=HEADS, intermediate_size=40,
        max_position_embeddings=16, attn_implementation="eager",
    )  # fmt: skip
    model = BertModel(config, add_pooling_layer=False).double().eval()
    encoder = load(BertEncoder(BertConfig(50, 16, WIDTH, 40, LAYERS, HEADS)), ours(model.state_dict()))
    ids = torch.randint(0, 50, (3, 11))
    mask = torch.arange(11) < torch.tensor([[11], [4], [1]])
    with torch.inference_mode():
        expected = model(ids, attention_mask=mask.long()).last_hidden_state
        assert torch.allclose(encoder(ids, mask), expected, atol=1e-9)
