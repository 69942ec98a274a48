"""The names that released checkpoints for parts were trained with, an object and its part each (hipie-spec 14)."""

_LISTED = """
aeroplane body, aeroplane stern, aeroplane wing, aeroplane tail, aeroplane engine, aeroplane wheel, bicycle
body, bicycle wheel, bicycle saddle, bicycle handlebar, bicycle headlight, bird torso, bird head, bird neck,
bird wing, bird leg, bird foot, bird tail, boat, bottle body, bottle cap, bus body, bus frontside, bus
leftside, bus rightside, bus backside, bus roofside, bus mirror, bus fliplate, bus bliplate, bus door, bus
wheel, bus headlight, bus window, car body, car mirror, car tmirror, car fliplate, car bliplate, car door, car
wheel, car headlight, car window, cat torso, cat head, cat eye, cat ear, cat nose, cat neck, cat leg, cat
pawn, cat tail, chair, cow torso, cow head, cow eye, cow ear, cow muzzle, cow horn, cow neck, cow leg, cow
tail, table, dog torso, dog head, dog eye, dog ear, dog nose, dog neck, dog leg, dog pawn, dog tail, dog
muzzle, horse body, horse head, horse eye, horse ear, horse muzzle, horse torso, horse neck, horse leg, horse
tail, motorbike body, motorbike wheel, motorbike handlebar, motorbike saddle, motorbike headlight, person
body, person head, person eye, person ear, person ebrow, person nose, person mouth, person hair, person torso,
person neck, person lower arm, person upper arm, person hand, person lower leg, person upper leg, person foot,
pottedplant plant, pottedplant pot, sheep torso, sheep head, sheep eye, sheep ear, sheep muzzle, sheep horn,
sheep neck, sheep leg, sheep tail, sofa, train body, train head, train headlight, train coach, tvmonitor
frame, tvmonitor screen, bag, basket, bed, bedclothes, bench, bird cage, board, book, bowl, box, bridge,
brush, bucket, building, cabinet, cage, case, ceiling, cloth, computer, counter, cup, curtain, cushion, door,
fence, fire place, floor, flower, food, fridge, grandstand, grass, ground, horse-drawn carriage, keyboard,
laptop, light, mat, metal, mirror, mountain, mouse, pack, paper, picture, pillow, plant, plate, platform,
pole, poster, pot, road, rock, rope, rug, sand, sculpture, shelves, sidewalk, sign, sink, sky, smoke, snow,
speaker, stage, stair, tent, toy, track, tree, truck, wall, water, window, wineglass, wood
"""

PART_NAMES = tuple(" ".join(name.split()) for name in _LISTED.split(","))
"""In the order in which they are asked; a name of one word is a whole."""
