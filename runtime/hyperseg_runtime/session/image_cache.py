"""States of recently used images, bounded in bytes."""

import hashlib
from collections import OrderedDict, deque
from collections.abc import Callable
from uuid import uuid4

import numpy as np

from hyperseg_runtime.families.family import ImageState

TEXT_ALONE = "text alone"
OWN = "own "
"""Start of keys that nobody else can ask for."""


def image_key(image_hwc_u8: np.ndarray | None, owner: str = "") -> str:
    """Equal for equal pixels of one owner."""
    if image_hwc_u8 is None:
        return TEXT_ALONE
    digest = hashlib.sha256(repr((owner, image_hwc_u8.shape)).encode())
    digest.update(np.ascontiguousarray(image_hwc_u8).data)
    return digest.hexdigest()


def new_key() -> str:
    """Equal to no other: for a state that is dropped with its only session."""
    return f"{OWN}{uuid4().hex}"


class ImageCache:
    """Least recently used states go first when all together take more than `capacity_bytes`.

    States in use (see `acquire`) stay whatever they take. Not thread-safe, but for `abandon`.
    """

    def __init__(self, capacity_bytes: int) -> None:
        self.capacity_bytes = capacity_bytes
        self._states: OrderedDict[str, ImageState] = OrderedDict()
        self._users: dict[str, int] = {}
        self._idle_bytes: dict[str, int] = {}  # of states that nobody uses: those stay as they are
        self._abandoned: deque[str] = deque()

    def __len__(self) -> int:
        return len(self._states)

    @property
    def size_bytes(self) -> int:
        return sum(self._idle_bytes.values()) + sum(self._states[key].size_bytes for key in self._users)

    def acquire(self, key: str, make: Callable[[], ImageState]) -> ImageState:
        """The state of `key`, made if there is none; kept at least until it is released."""
        self._release_abandoned()
        if key not in self._states:
            self._states[key] = make()
        self._users[key] = self._users.get(key, 0) + 1
        self._idle_bytes.pop(key, None)
        return self._states[key]

    def release(self, key: str) -> None:
        """One user less; the state becomes the most recently used."""
        self.abandon(key)
        self.trim()

    def abandon(self, key: str) -> None:
        """`release` at the next call that changes the cache: for finalizers, which may run at any point of any
        thread and so cannot wait for a lock.
        """
        self._abandoned.append(key)

    def trim(self) -> None:
        """Drop what is too much; states grow while they are used."""
        self._release_abandoned()
        too_much = self.size_bytes - self.capacity_bytes
        for key in [key for key in self._states if key not in self._users]:
            if too_much <= 0:
                return
            del self._states[key]
            too_much -= self._idle_bytes.pop(key)

    def clear(self) -> None:
        self._states.clear()
        self._users.clear()
        self._idle_bytes.clear()

    def _release_abandoned(self) -> None:
        while self._abandoned:
            key = self._abandoned.popleft()
            if key not in self._users:
                continue  # cleared in the meantime
            self._users[key] -= 1
            self._states.move_to_end(key)
            if not self._users[key]:
                del self._users[key]
                if key.startswith(OWN):
                    del self._states[key]  # nobody can ask for it again
                else:
                    self._idle_bytes[key] = self._states[key].size_bytes
