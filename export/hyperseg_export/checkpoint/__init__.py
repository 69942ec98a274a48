"""Checkpoints: folders of shards, pickles, adapters, key maps, tokenizer files."""
