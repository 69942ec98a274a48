"""Names of a list that are asked one by one: every one of them, and what a class gets of its names."""

import numpy as np

from hyperseg_runtime.contracts.requests import Classes
from hyperseg_runtime.contracts.results import Instances
from hyperseg_runtime.families.class_names import answered_one_by_one, every_name, names_by_class

SOFAS = Classes.of(("couch", "dog", "cat"), synonyms=(("sofa", "settee"), (), ("kitten",)))


def answer(name: str, score: float) -> Instances:
    """One mask, of as many pixels as the name has letters."""
    mask = (np.arange(12) < len(name)).reshape(1, 3, 4)
    return Instances(
        asked=(name,),
        task="referring",
        masks=mask,
        scores=np.array([score], np.float32),
        labels=(name,),
        instance_details=({"query": len(name)},),
        details={"prompt_tokens": 10},
    )


def test_synonyms_follow_the_name_of_their_class() -> None:
    assert names_by_class(SOFAS) == [("couch", "sofa", "settee"), ("dog",), ("cat", "kitten")]
    assert every_name(SOFAS) == ("couch", "sofa", "settee", "dog", "cat", "kitten")
    assert every_name(Classes(("a", "b"))) == ("a", "b")


def test_a_class_has_the_mask_of_its_likeliest_name() -> None:
    """Of equal ones the first; details are those of all."""
    scores = (0.25, 0.5, 0.125, 0.75, 0.0, 0.0)
    found = [answer(name, score) for name, score in zip(every_name(SOFAS), scores, strict=True)]
    made = answered_one_by_one(SOFAS, found, "class list", (3, 4))
    assert (made.asked, made.task, made.labels) == (SOFAS.names, "class list", ("dog", "couch", "cat"))
    assert made.scores.tolist() == [0.75, 0.5, 0.0]
    assert [int(mask.sum()) for mask in made.masks] == [len("dog"), len("sofa"), len("cat")]
    assert [own["query"] for own in made.instance_details] == [3, 4, 3]
    assert made.details == {"prompt_tokens": 60}


def test_no_class_is_no_mask() -> None:
    assert answered_one_by_one(Classes(()), (), "class list", (3, 4)).masks.shape == (0, 3, 4)
