"""The names that released checkpoints for parts were trained with, an object and its part each (hipie-spec 14)."""

PartName = tuple[str, str]
"""An object and its part; no part for an object that is not taken apart."""

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

_COARSER = """
aeroplane body; aeroplane stern: stern, tail; aeroplane wing; aeroplane engine; aeroplane wheel; bicycle body:
body, saddle, handlebar, headlight; bicycle wheel; bird torso: torso, tail; bird head: head, neck; bird wing;
bird leg: leg, foot; boat; bottle cap; bottle body; bus body: body, frontside, leftside, rightside, backside,
roofside, mirror, fliplate, bliplate, door, headlight; bus wheel; bus window; car body: body, mirror, tmirror,
door; car license plate: fliplate, bliplate; car wheel; car light: headlight; car window; cat torso: torso,
neck; cat head: head, eye, ear, nose; cat leg: leg, pawn; cat tail; chair; cow torso: torso, neck; cow head:
head, eye, ear, muzzle, horn; cow leg; cow tail; table; dog torso: torso, neck; dog head: head, eye, ear,
nose, muzzle; dog leg: leg, pawn; dog tail; horse torso: body, torso, neck; horse head: head, eye, ear,
muzzle; horse leg; horse tail; motorbike body: body, handlebar, saddle, headlight; motorbike wheel; person
torso: body, torso, neck; person head: head, eye, ear, ebrow, nose, mouth, hair; person lower arm: lower arm,
hand; person upper arm; person lower leg: lower leg, foot; person upper leg; pottedplant plant; pottedplant
pot; sheep torso: torso, neck, tail; sheep head: head, eye, ear, muzzle, horn; sheep leg; sofa; train body:
body, head, headlight, coach; tvmonitor frame; tvmonitor screen
"""


def in_two(name: str) -> PartName:
    """The object is the first word."""
    owner, _, part = name.partition(" ")
    return owner, part


def _coarser() -> dict[PartName, tuple[PartName, ...]]:
    entries = (" ".join(entry.split()).partition(": ") for entry in _COARSER.split(";"))
    pairs = ((in_two(name), finer) for name, _, finer in entries)
    return {
        (owner, part): tuple((owner, name) for name in (finer or part).split(", ")) for (owner, part), finer in pairs
    }


PART_NAMES = tuple(in_two(" ".join(name.split())) for name in _LISTED.split(","))
"""In the order in which they are asked."""
COARSER = _coarser()
"""The release's coarser names -> what each stands for; names that are missing stand for nothing there."""
