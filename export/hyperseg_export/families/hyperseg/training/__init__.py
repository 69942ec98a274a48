"""Training a tiny HyperSeg on made scenes, with the exporter's own modules.

The parameters are the tensors of a published checkpoint; what the modules take follows from them by the key map, whose
transforms have gradients. So what is trained is exactly what is exported, and saving is writing the tensors down.
"""
