"""Checkpoints: folders of shards, adapters, key maps, tokenizer files."""
