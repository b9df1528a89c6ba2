"""How the samples of a set are cut in shards."""

from typing import Generic, TypeVar

from sio_data.compilation import SetRecipe

Kind = TypeVar("Kind", bound=SetRecipe, covariant=True)


class Layout(Generic[Kind]):
    """The shards of a set, by number.

    Args:
        recipe: What the set holds.
    """

    def __init__(self, recipe: Kind) -> None:
        self.recipe = recipe

    def __len__(self) -> int:
        return self.recipe.shards

    def path(self, index: int) -> str:
        """Give the path of a shard in its set, with forward slashes."""
        return f"data/train-{index:06d}.tar"

    def paths(self) -> list[str]:
        """Give the paths of all shards."""
        return [self.path(index) for index in range(len(self))]

    def start(self, index: int) -> int:
        """Give the index, in the set, of a shard's first sample."""
        return index * self.recipe.shard_size

    def size(self, index: int) -> int:
        """Give how many samples a shard holds."""
        return min(self.recipe.shard_size, self.recipe.samples - self.start(index))
