"""A local page on which a bundle can be tried: what is done there (`workbench.py`), and how it looks (`page.py`)."""
