"""What families with a language model share: prompts as slots, packing, sampling, answers, tokens."""
