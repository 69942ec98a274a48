"""HIPIE (arXiv 2307.00764): one image and any list of names to things, stuff and parts."""
