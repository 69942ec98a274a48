"""Which images are remembered."""

from dataclasses import dataclass

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from hyperseg_runtime.session.image_cache import ImageCache, image_key


@dataclass
class State:
    size_bytes: int


def use(cache: ImageCache, key: str, size_bytes: int = 10) -> State:
    state = cache.acquire(key, lambda: State(size_bytes))
    cache.release(key)
    assert isinstance(state, State)
    return state


def test_the_least_recently_used_goes_first() -> None:
    cache = ImageCache(30)
    first = {key: use(cache, key) for key in "abc"}
    assert use(cache, "a") is first["a"]  # now b is the oldest
    use(cache, "d")
    assert use(cache, "c") is first["c"] and use(cache, "a") is first["a"]
    assert use(cache, "b") is not first["b"]


def test_nothing_is_kept_without_room() -> None:
    cache = ImageCache(0)
    assert use(cache, "a") is not use(cache, "a") and len(cache) == 0


def test_states_in_use_stay_and_count() -> None:
    cache = ImageCache(10)
    held = cache.acquire("a", lambda: State(25))
    use(cache, "b")
    assert len(cache) == 1 and cache.acquire("a", lambda: State(0)) is held
    cache.release("a")
    assert len(cache) == 1  # one user is left
    cache.release("a")
    assert len(cache) == 0


def test_a_state_that_grew_is_seen() -> None:
    """It grows while it is used; then the others go first, and it with its last user."""
    cache = ImageCache(30)
    use(cache, "b")
    grown = cache.acquire("a", lambda: State(10))
    assert isinstance(grown, State)
    grown.size_bytes = 100
    cache.trim()
    assert len(cache) == 1 and cache.size_bytes == 100
    cache.release("a")
    assert len(cache) == 0 and cache.size_bytes == 0


def test_images_that_nobody_uses_are_not_looked_at_again() -> None:
    """Else every request would take longer, the more images are remembered."""
    asked = []

    class Counted(State):
        @property
        def size_bytes(self) -> int:  # type: ignore[override]
            asked.append(self)
            return 1

    def counted() -> Counted:
        return Counted.__new__(Counted)

    cache, counts = ImageCache(1000), []
    for number in range(100):
        asked.clear()
        cache.acquire(str(number), counted)
        cache.release(str(number))
        counts.append(len(asked))
    assert max(counts[1:]) == counts[0] and cache.size_bytes == 100


def test_equal_pixels_are_the_same_image() -> None:
    image = np.random.default_rng(0).integers(0, 256, (4, 6, 3), np.uint8)
    assert image_key(image) == image_key(image.copy()) == image_key(np.asfortranarray(image))
    others = [image_key(other) for other in (image + 1, image.reshape(6, 4, 3), image[:, ::-1], image[:3], None)]
    assert len({image_key(image), *others}) == 6


@settings(deadline=None)
class Requests(RuleBasedStateMachine):
    """Sessions opened and closed in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.cache = ImageCache(25)
        self.open: list[tuple[str, object]] = []

    @rule(key=st.sampled_from("abcd"), size=st.integers(1, 30))
    def acquire(self, key: str, size: int) -> None:
        self.open.append((key, self.cache.acquire(key, lambda: State(size))))

    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        if self.open:
            key, _ = self.open.pop(data.draw(st.integers(0, len(self.open) - 1)))
            self.cache.release(key)

    @rule(data=st.data())
    def abandon(self, data: st.DataObject) -> None:
        if self.open:
            key, _ = self.open.pop(data.draw(st.integers(0, len(self.open) - 1)))
            self.cache.abandon(key)
            self.cache.trim()

    @invariant()
    def open_images_are_kept(self) -> None:
        for key, state in self.open:
            assert self.cache._states[key] is state

    @invariant()
    def the_rest_fits(self) -> None:
        if not self.open:
            assert self.cache.size_bytes <= 25


test_any_order_of_requests = Requests.TestCase
