"""What a worker in another process is told: which set, with which generator, on which device."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sio_data.engines.drawing import drawing_job
from sio_data.engines.job import ShardJob
from sio_data.files import as_folder
from sio_data.plan import Plan
from sio_data.recipe import Recipe
from sio_data.request import Request


@dataclass(frozen=True)
class WorkOrder:
    """All that a worker needs to open a `ShardJob` of its own.

    Attributes:
        folder: The set's folder: an absolute path or a URL.
        request: How to open the generator.
        recipe: What it must resolve to.
    """

    folder: str
    request: Request
    recipe: Recipe

    @classmethod
    def of(cls, folder: Path, request: Request, recipe: Recipe) -> "WorkOrder":
        """Write the order for a set, so that it holds in other folders too."""
        place = folder.resolve() if isinstance(folder, Path) else folder
        return cls(str(place), request.with_absolute_weights(), recipe)

    def open(self, device: str | None) -> ShardJob:
        """Open the job on a device.

        Raises:
            InputError: The generator cannot be opened, or is not the one that the set was begun with.
        """
        return drawing_job(as_folder(self.folder), Plan(self.recipe), self.request.open_same(self.recipe, device))

    def to_json(self) -> dict[str, Any]:
        """Give the order as a JSON object."""
        request = {**asdict(self.request), "sampling": dict(self.request.sampling)}
        return {"folder": self.folder, "request": request, "recipe": self.recipe.to_json()}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "WorkOrder":
        """Read an order from a JSON object."""
        return cls(value["folder"], Request(**value["request"]), Recipe.from_json(value["recipe"]))
