"""Made scenes of coloured, textured shapes, with everything about them known.

A scene is drawn from a seed alone. What is said about it (expressions, questions, class lists) follows from its things
and is kept only where it has one answer with a margin, so a wrong mask is the model's fault. Positions and lengths are
in units of the image's side; x to the right, y down.
"""
