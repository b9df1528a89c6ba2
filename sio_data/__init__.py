"""Make, host and train on synthetic in-distribution images for out-of-distribution detection (SIO).

Every command of `sio-data` is a function here with the same arguments: `fit`, `generate`, `import_set` (import),
`describe` (info), `draw_preview` (preview), `build_gallery` (gallery), `verify`, `repair`, `regenerate`, `measure`,
`filter_set` (filter), `train`, `evaluate`, `calibrate`, `score`, `publish`, `fetch` and `quickstart`. `load_source`,
`open_stream`, `ImageSet`, `MixedBatches`, `sio_loss` and `Classifier` serve one's own training loop;
`sio_data.detection` holds the detectors. Names are imported when they are first used, so that `import sio_data` is
instant.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from sio_data.version import __version__

if TYPE_CHECKING:
    from sio_data.bundling import bundle
    from sio_data.demo import quickstart
    from sio_data.description import describe
    from sio_data.detection.calibration import calibrate
    from sio_data.detection.evaluation import evaluate
    from sio_data.detection.scoring import score
    from sio_data.errors import SioDataError
    from sio_data.exports import export
    from sio_data.filtering import filter_set
    from sio_data.fitting import fit
    from sio_data.gallery import build_gallery
    from sio_data.generation import generate
    from sio_data.hub.fetching import fetch
    from sio_data.hub.publishing import publish
    from sio_data.image_set import ImageSet
    from sio_data.importing import import_set
    from sio_data.loading import load
    from sio_data.mixing import MixedBatches
    from sio_data.preview import draw_preview
    from sio_data.quality.measurement import measure
    from sio_data.recipe import Recipe
    from sio_data.regeneration import regenerate
    from sio_data.repairs import repair
    from sio_data.sets import open_set
    from sio_data.sources import load_source
    from sio_data.streaming import open_stream
    from sio_data.training.checkpoint import Classifier
    from sio_data.training.objective import sio_loss
    from sio_data.training.series import train
    from sio_data.verification import verify

_HOMES = {
    "Classifier": "sio_data.training.checkpoint",
    "ImageSet": "sio_data.image_set",
    "MixedBatches": "sio_data.mixing",
    "Recipe": "sio_data.recipe",
    "SioDataError": "sio_data.errors",
    "build_gallery": "sio_data.gallery",
    "bundle": "sio_data.bundling",
    "calibrate": "sio_data.detection.calibration",
    "describe": "sio_data.description",
    "draw_preview": "sio_data.preview",
    "evaluate": "sio_data.detection.evaluation",
    "export": "sio_data.exports",
    "fetch": "sio_data.hub.fetching",
    "filter_set": "sio_data.filtering",
    "fit": "sio_data.fitting",
    "generate": "sio_data.generation",
    "import_set": "sio_data.importing",
    "load": "sio_data.loading",
    "load_source": "sio_data.sources",
    "measure": "sio_data.quality.measurement",
    "open_set": "sio_data.sets",
    "open_stream": "sio_data.streaming",
    "publish": "sio_data.hub.publishing",
    "quickstart": "sio_data.demo",
    "regenerate": "sio_data.regeneration",
    "repair": "sio_data.repairs",
    "score": "sio_data.detection.scoring",
    "sio_loss": "sio_data.training.objective",
    "train": "sio_data.training.series",
    "verify": "sio_data.verification",
}

__all__ = [
    "Classifier",
    "ImageSet",
    "MixedBatches",
    "Recipe",
    "SioDataError",
    "__version__",
    "build_gallery",
    "bundle",
    "calibrate",
    "describe",
    "draw_preview",
    "evaluate",
    "export",
    "fetch",
    "filter_set",
    "fit",
    "generate",
    "import_set",
    "load",
    "load_source",
    "measure",
    "open_set",
    "open_stream",
    "publish",
    "quickstart",
    "regenerate",
    "repair",
    "score",
    "sio_loss",
    "train",
    "verify",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
