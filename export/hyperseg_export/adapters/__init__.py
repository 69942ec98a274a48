"""LoRA adapters that a bundle keeps apart from its weights, and putting another one in their place."""
