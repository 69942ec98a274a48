"""BERT's uncased word pieces, which a HIPIE checkpoint needs and does not carry (hipie-spec 4.6).

`bert_vocabulary.txt.gz` holds the 30,522 tokens of BERT-Base, Uncased (Apache licence 2.0, see BERT_LICENSE beside it).
"""

import gzip
from importlib.resources import files

from tokenizers import Tokenizer, normalizers, pre_tokenizers
from tokenizers.models import WordPiece

UNKNOWN = "[UNK]"
SPECIAL = ("[PAD]", UNKNOWN, "[CLS]", "[SEP]", "[MASK]")


def bert_tokenizer() -> Tokenizer:
    """Text without start and end to ids: lower case, no accents, punctuation apart, longest known pieces first."""
    content = gzip.decompress(files(__package__).joinpath("bert_vocabulary.txt.gz").read_bytes()).decode()
    vocabulary = {token: index for index, token in enumerate(content.splitlines())}
    tokenizer = Tokenizer(WordPiece(vocabulary, unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.add_special_tokens(list(SPECIAL))
    return tokenizer
