"""What back ends share: sampling options, noise from seeds, pixels, weights on disk or on the Hub, class names."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
import torch.nn.functional as F
from huggingface_hub import metadata_load
from yaml import YAMLError

from sio_data.class_lists import imagenet_names, imagenet_wnids
from sio_data.errors import InputError, UnknownNameError, first_line
from sio_data.files import sha256_file, sha256_json
from sio_data.recipe import Option
from sio_data.safe_loading import OLD_WEIGHTS, weights_names


@dataclass(frozen=True)
class Number:
    """A sampling option that is a number: whole if its default is, within `low` and `high`."""

    default: int | float
    low: float
    high: float

    def parse(self, text: str) -> Option:
        """Read its value.

        Raises:
            ValueError: It is no such number.
        """
        value = int(text) if isinstance(self.default, int) else float(text)
        if not self.low <= value <= self.high:
            raise ValueError(text)
        return value

    def __str__(self) -> str:
        kind = "a whole number" if isinstance(self.default, int) else "a number"
        return f"{kind} from {self.low:g} to {self.high:g}"


@dataclass(frozen=True)
class Choice:
    """A sampling option that is one of a few words."""

    default: str
    known: tuple[str, ...]

    def parse(self, text: str) -> Option:
        """Read its value.

        Raises:
            ValueError: It is none of the known words.
        """
        if text not in self.known:
            raise ValueError(text)
        return text

    def __str__(self) -> str:
        return f"one of {', '.join(self.known)}"


@dataclass(frozen=True)
class Text:
    """A sampling option that is any text."""

    default: str

    def parse(self, text: str) -> Option:
        """Give the text itself."""
        return text

    def __str__(self) -> str:
        return "a text"


OWN = "own"


@dataclass(frozen=True)
class Own:
    """A sampling option whose default, `own`, stands for what suits the weights: the back end puts it in."""

    option: Number | Choice | Text
    default: str = OWN

    def parse(self, text: str) -> Option:
        """Read its value.

        Raises:
            ValueError: It is not of the option's kind.
        """
        return self.option.parse(text)

    def __str__(self) -> str:
        return str(self.option)


SamplingOption = Number | Choice | Text | Own


@dataclass(frozen=True)
class About:
    """What `sio-data generators` tells of a back end.

    Attributes:
        weights: What it takes as weights.
        classes: Which classes it can draw.
        sizes: Which image sizes it can make, in pixels.
        licence: Of the usual weights.
        options: Its sampling options by name.
    """

    weights: str
    classes: str
    sizes: str
    licence: str
    options: Mapping[str, SamplingOption] = field(default_factory=dict)


def read_options(backend: str, declared: Mapping[str, SamplingOption], given: Mapping[str, str]) -> dict[str, Option]:
    """Read sampling options.

    Args:
        backend: Name of the back end, for messages.
        declared: Its options.
        given: Values as text; what is not given has its default.

    Raises:
        UnknownNameError: The back end has no such option.
        InputError: A value is not of its kind or out of range.
    """
    options: dict[str, Option] = {name: option.default for name, option in declared.items()}
    for name, text in given.items():
        if name not in declared:
            raise UnknownNameError(f"sampling option of {backend}", name, declared)
        try:
            options[name] = declared[name].parse(text)
        except ValueError as error:
            raise InputError(f"sampling option {name}={text!r} is not {declared[name]}.") from error
    return options


def seeded_generators(seeds: Sequence[int]) -> list[torch.Generator]:
    """Give one CPU generator for each sample."""
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def seeded_noise(shape: Sequence[int], seeds: Sequence[int]) -> torch.Tensor:
    """Draw normal noise on the CPU, each sample's from its own seed.

    Returns:
        float32 [B, *shape].
    """
    return torch.stack([torch.randn(tuple(shape), generator=generator) for generator in seeded_generators(seeds)])


def to_uint8(images: torch.Tensor) -> torch.Tensor:
    """Turn float images in [-1, 1] into uint8 ones; values outside are cut off.

    Raises:
        InputError: A value is not a number: the weights are damaged, or the number type is too narrow for them.
    """
    if not images.isfinite().all():
        raise InputError("the generator gave values that are no numbers. Try float32, or other weights.")
    return ((images.float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)


def resize(images: torch.Tensor, size: int) -> torch.Tensor:
    """Resize square images with an antialiased bicubic filter.

    Args:
        images: uint8 [B, 3, H, H].
        size: Height and width wanted.

    Returns:
        uint8 [B, 3, size, size].
    """
    if images.shape[-1] == size:
        return images
    resized = F.interpolate(images.float(), (size, size), mode="bicubic", antialias=True, align_corners=False)
    return resized.round().clamp(0, 255).to(torch.uint8)


def check_size(backend: str, wanted: int | None, own: int) -> int:
    """Give the size of the images to make: the one wanted, or the generator's own.

    Raises:
        InputError: More pixels are wanted than the generator draws.
    """
    if wanted is not None and not 1 <= wanted <= own:
        raise InputError(
            f"{backend} draws images of {own} pixels and can make them smaller, not {wanted}. "
            "Enlarged images would hold nothing new."
        )
    return own if wanted is None else wanted


def hash_files(folder: Path, files: Sequence[Path]) -> str:
    """Give the revision of local weights: a hash of the names and contents of the files that decide the images."""
    return sha256_json({path.relative_to(folder).as_posix(): sha256_file(path) for path in sorted(files)})


def find_folder(weights: str, patterns: Sequence[str]) -> tuple[Path, str]:
    """Find weights in a local folder, or fetch them from the Hub as `owner/name` or `owner/name@revision`.

    Args:
        weights: What the user named.
        patterns: The files that decide the images, like `*.json` or `unet/*.safetensors`; only these are fetched,
            and the card. Networks without safetensors have their `.bin` files taken instead.

    Returns:
        The folder, and the revision: a hash of local files, or the commit on the Hub.

    Raises:
        InputError: There is no such folder, and no such repository can be had.
    """
    folder = Path(weights)
    if folder.is_dir():
        return folder, hash_files(folder, _matches(folder, patterns))
    name, _, revision = weights.partition("@")
    if folder.is_absolute() or name.count("/") != 1 or name.startswith(("./", "../", "~")):
        raise InputError(f"weights {weights!r}: no such folder.")
    return _fetch(name, revision or None, patterns)


def _matches(folder: Path, patterns: Sequence[str]) -> list[Path]:
    found = [path for pattern in patterns for path in folder.glob(pattern)]
    return found + [path for pattern in _old_weights(folder, patterns) for path in folder.glob(pattern)]


def _old_weights(folder: Path, patterns: Sequence[str]) -> list[str]:
    """Give patterns of the weights of networks that have no safetensors."""
    if not any(pattern.endswith(".safetensors") for pattern in patterns):
        return []
    places = {path.parent for path in [*folder.glob("config.json"), *folder.glob("*/config.json")]}
    old = [place.relative_to(folder) for place in places if weights_names(place) is OLD_WEIGHTS]
    return sorted((place / name).as_posix() for place in old for name in OLD_WEIGHTS)


def _fetch(name: str, revision: str | None, patterns: Sequence[str]) -> tuple[Path, str]:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError, RepositoryNotFoundError

    try:
        folder = Path(snapshot_download(name, revision=revision, allow_patterns=[*patterns, "README.md"]))
        if old := _old_weights(folder, patterns):
            snapshot_download(name, revision=folder.name, allow_patterns=old)
    except HFValidationError as error:
        raise InputError(f"weights {name!r}: no such folder, and no name on the Hub.") from error
    except LocalEntryNotFoundError as error:
        raise InputError(
            f"weights {name!r}: no such folder, and the Hub cannot be reached. Check the network, or name a folder."
        ) from error
    except (RepositoryNotFoundError, OSError) as error:
        raise InputError(f"weights {name!r}: no such folder, and the Hub says: {first_line(error)}") from error
    return folder, folder.name


def read_licence(card: Path) -> str:
    """Read a card's licence; one that cannot be read says nothing."""
    try:
        metadata = metadata_load(card)
    except (OSError, ValueError, YAMLError):
        return "unknown"
    return str((metadata or {}).get("license", "unknown"))


def name_classes(count: int, asked: Sequence[str] | None) -> tuple[str, ...]:
    """Name the classes of weights that carry no names.

    Args:
        count: How many classes the weights have.
        asked: The classes that the user named. Names that we could not know, as many as the weights have classes,
            are taken as the names in the weights' order; otherwise they select among those below.

    Returns:
        Those names; for 1000 classes ImageNet's (its WordNet ids if the user asks for such); otherwise `0`, `1`, ...
    """
    known: tuple[str, ...] = tuple(map(str, range(count)))
    if count == 1000:
        known = imagenet_wnids() if asked and {*asked} <= {*imagenet_wnids()} else imagenet_names()
    if asked is not None and len(asked) == count and not {*asked} & {*known}:
        return tuple(asked)
    return known
