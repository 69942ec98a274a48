"""How long a bundle takes for what its family answers, beside its rivals and beside the machine's limits."""
