"""What the served models are called: after their family, and what each is for."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hyperseg_runtime.contracts.requests import Expressions
from hyperseg_runtime.families import FAMILIES
from hyperseg_runtime.families.family import FamilySpec


@dataclass(frozen=True)
class ModelNames:
    """The models that serve a family."""

    family: FamilySpec

    @property
    def public(self) -> str:
        """Answers everything."""
        return self.family.name

    @property
    def preprocess(self) -> str:
        """First step of the ensemble."""
        return f"{self.family.name}_preprocess"

    @property
    def masks(self) -> str:
        """Last step of the ensemble."""
        return f"{self.family.name}_masks"

    def stage(self, graph: str) -> str:
        """One graph that looks at the image alone."""
        return f"{self.family.name}_{graph}"

    @property
    def video(self) -> str | None:
        """Sequences of frames; None where the family sees no videos."""
        return f"{self.family.name}_video" if self.family.video_tasks else None

    @property
    def ensemble(self) -> str | None:
        """The fixed path to the masks of expressions, in their first task; None where it answers none."""
        tasks = self.family.answers(Expressions)
        return f"{self.family.name}_{tasks[0].replace(' ', '_')}" if tasks else None


def served_family(has_model: Callable[[str], bool]) -> FamilySpec | None:
    """The family whose public model is among those that there are."""
    return next((family for family in FAMILIES.values() if has_model(ModelNames(family).public)), None)


def family_in(repository: Path) -> FamilySpec | None:
    """The family that a model repository was made for; None for a folder that is none."""
    return served_family(lambda model: (repository / model / "config.pbtxt").is_file())
