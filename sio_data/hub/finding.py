"""Sets of ours on the Hub, found by the name of a source: a repository that is one, or the parts of a bundle."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from sio_data.bundle_card import bundle_card_fits
from sio_data.bundles import listed_parts, listed_sets, open_bundle
from sio_data.errors import InputError
from sio_data.hub.caching import cached_manifest, cached_set, cached_text, check_cached, inside
from sio_data.hub.calls import call, quiet
from sio_data.hub.names import HubName
from sio_data.hub.repository import Repository
from sio_data.manifest import MANIFEST, Manifest
from sio_data.recovery import CARD
from sio_data.set_card import CARD_UNFIT, card_fits


@dataclass(frozen=True)
class HubSets:
    """Sets of ours on the Hub, at one commit.

    Attributes:
        name: The repository and the commit.
        places: The folders of the sets in the repository, by split; "" is the repository itself.
        folder: Of the repository in the cache.
    """

    name: HubName
    places: Mapping[str, str]
    folder: Path

    def fetch(self, split: str) -> Path:
        """Fetch a set with its card into the cache, and check every hash; give its folder.

        Raises:
            InputError: It is not there, or not sound.
            SioDataError: The Hub cannot be reached, or a file came damaged.
        """
        folder = cached_set(self.name, self.places[split], also=[CARD])
        if folder is None:
            raise self._damaged(inside(self.places[split], MANIFEST), "is missing")
        check_cached(self.name, folder)
        return folder

    def check_remote(self, split: str) -> None:
        """Compare the sizes of a set's shards on the Hub to its manifest, and what `load_dataset` heeds of the card.

        Raises:
            InputError: They differ.
            SioDataError: The Hub cannot be reached.
        """
        place = self.places[split]
        with quiet():
            self._check_card(place)
            files = partial(Repository(self.name.repository, "dataset").files, self.folder.name, inside(place, "data"))
            remote = call(str(self.name), files)
        for record in Manifest.read(self.folder / place).shards:
            path = inside(place, record.path)
            if path not in remote:
                raise self._damaged(path, "is missing")
            if remote[path].size != record.bytes:
                raise self._damaged(path, f"has {remote[path].size:,} of {record.bytes:,} bytes")

    def _check_card(self, place: str) -> None:
        """Check the card at the top of the repository, of a bundle beside all manifests that it speaks of."""
        cached_text(self.name, CARD)
        places = [path.relative_to(self.folder).as_posix() for path in listed_sets(self.folder)] if place else [""]
        for one in places:
            if cached_manifest(self.name, one) is None:
                raise self._damaged(inside(one, MANIFEST), "is missing")
        if place:
            fits = bundle_card_fits(open_bundle(self.folder))
        else:
            fits = card_fits(self.folder, Manifest.read(self.folder))
        if not fits:
            raise self._damaged(CARD, CARD_UNFIT)

    def _damaged(self, path: str, what: str) -> InputError:
        return InputError(f"{self.name}: {path} {what}. Its owner must publish it again.")


def find_hub_sets(name: HubName, config: str | None) -> HubSets | None:
    """Find the sets of ours that a repository holds; None if it holds data of others.

    Args:
        name: Of the repository; the revision is resolved once.
        config: The configuration of a bundle; None means its default one.

    Raises:
        InputError: There is no such repository or revision, or a `sio.json` is not sound.
        SioDataError: The Hub cannot be reached.
    """
    with quiet():
        top = None if config else cached_manifest(name)
        if top is not None:
            return HubSets(HubName(name.repository, top.name), {"train": ""}, top)
        top = cached_text(name, CARD)
        if top is None:
            return None
        configs = listed_parts(top)
        places = configs.get(config or next(iter(configs), ""), {})
        pinned = HubName(name.repository, top.name)
        if not any(cached_manifest(pinned, place) for place in places.values()):
            return None
        return HubSets(pinned, places, top)
