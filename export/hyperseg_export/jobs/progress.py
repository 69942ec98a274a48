"""How long work tells whoever waits. The command line draws bars; everyone else may ignore it."""

from typing import Protocol


class Progress(Protocol):
    def stage(self, name: str, index: int, count: int) -> None:
        """Stage `index` (from 1) of `count` begins."""
        ...

    def note(self, text: str) -> None:
        """Something worth a line."""
        ...

    def phase(self, name: str, step: int, steps: int) -> None:
        """Inside a stage: step `step` of `steps` of a phase is done."""
        ...

    def moved(self, name: str, done: int, total: int) -> None:
        """Inside a stage: so many bytes of a phase are done."""
        ...


class Silent:
    def stage(self, name: str, index: int, count: int) -> None:
        pass

    def note(self, text: str) -> None:
        pass

    def phase(self, name: str, step: int, steps: int) -> None:
        pass

    def moved(self, name: str, done: int, total: int) -> None:
        pass
