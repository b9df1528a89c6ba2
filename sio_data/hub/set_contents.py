"""What of a set goes to the Hub, and of a bundle of sets."""

import re
from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from sio_data.bundle_card import render_bundle_card
from sio_data.bundles import Part, find_parts, open_bundle
from sio_data.compilation import DROPPED, listing_hash
from sio_data.errors import InputError
from sio_data.files import json_text
from sio_data.gallery import PAGE, THUMBNAILS
from sio_data.gallery.sheets import is_sheet
from sio_data.hub.repository import Piece
from sio_data.hub.terms import Terms, choose_licence
from sio_data.licences import is_known_licence
from sio_data.manifest import MANIFEST, Manifest
from sio_data.quality.measures import MEASURES, find_measures
from sio_data.reader_info import INFO
from sio_data.recovery import CARD
from sio_data.set_card import read_notes, render_set_card
from sio_data.sets import PREVIEW

_OF_SET = re.compile(
    r"README\.md|sio\.json|preview\.png|data/[a-z]+-\d{6}\.tar|_info\.json|measures\.json|gallery\.html"
    r"|thumbnails/sheet-[0-9a-f]{32}\.webp|dropped\.csv"
)


class SetContents:
    """A synthetic set that was verified.

    Attributes:
        manifest: The one that goes out: a licence that is stated only now stands in it.
    """

    kind = "dataset"
    links: tuple[str, ...] = ()

    def __init__(self, folder: Path, licence: str | None) -> None:
        self._folder = folder
        self._manifest = Manifest.read(folder)
        self._measures = find_measures(folder, self._manifest.digest)
        self.licence = choose_licence(licence, self._manifest.origin.licence)
        self.manifest = replace(self._manifest, origin=replace(self._manifest.origin, licence=self.licence))

    def markers(self, paths: Collection[str]) -> list[str]:
        """Give the files by whose content a repository is known to hold a set."""
        return [MANIFEST]

    def owned(self, paths: Collection[str]) -> set[str]:
        """Give the files of a repository that are ours."""
        return {path for path in paths if _OF_SET.fullmatch(path)}

    def card(self, terms: Terms) -> str:
        """Write the card for the repository."""
        return self._render(repository=terms.repository, tag=terms.tag, models=terms.links)

    def files(self, terms: Terms) -> dict[str, Piece]:
        """Give the other files to publish by their paths."""
        return self._data()

    def part(self) -> dict[str, Piece]:
        """Give the files to publish in a bundle, by their paths in the set; its card is the same wherever it goes."""
        return {CARD: Piece(self._render().encode()), **self._data()}

    def _render(self, **published: Any) -> str:
        return render_set_card(
            self.manifest,
            measures=self._measures.rows() if self._measures else (),
            notes=read_notes(self._folder),
            **published,
        )

    def _data(self) -> dict[str, Piece]:
        same = self.manifest == self._manifest
        files: dict[str, Piece] = {
            MANIFEST: Piece(self._folder / MANIFEST if same else json_text(self.manifest.to_json()).encode())
        }
        listing = [DROPPED] if listing_hash(self.manifest.recipe) else []
        for place in (*(self._folder / path for path in (PREVIEW, INFO, *listing)), *self._extras()):
            files[place.relative_to(self._folder).as_posix()] = Piece(_refuse_link(place, self._folder))
        return files | {
            record.path: Piece(self._folder / record.path, record.sha256) for record in self.manifest.shards
        }

    def _extras(self) -> Iterator[Path]:
        """List what else is of this very data: an index for timm, what a filter dropped, the measures, the gallery."""
        if self._measures:
            yield self._folder / MEASURES
        page = self._folder / PAGE
        if page.is_file() and self._manifest.digest in page.read_text(encoding="utf-8", errors="replace"):
            yield page
            yield from (path for path in sorted((self._folder / THUMBNAILS).glob("*")) if is_sheet(path.name))


class BundleContents:
    """Several synthetic sets that were verified, each in a folder of its own."""

    kind = "dataset"
    links: tuple[str, ...] = ()

    def __init__(self, folder: Path, licence: str | None) -> None:
        opened = open_bundle(folder)
        self._sets = {part.path: _part_contents(part, licence) for part in opened.parts}
        parts = [replace(part, set=replace(part.set, manifest=self._sets[part.path].manifest)) for part in opened.parts]
        self._bundle = replace(opened, parts=tuple(parts))
        licences = self._bundle.licences
        self.licence = licences[0] if len(licences) == 1 else "several"

    def markers(self, paths: Collection[str]) -> list[str]:
        """Give the files by whose content a repository is known to hold a bundle."""
        return [f"{part}/{MANIFEST}" for part in find_parts(paths)]

    def owned(self, paths: Collection[str]) -> set[str]:
        """Give the files of a repository that are ours: the card, and those of a set where there is one."""
        found = {path for part in find_parts(paths) for path in paths if _is_of_part(path, part)}
        return found | ({CARD} & {*paths})

    def card(self, terms: Terms) -> str:
        """Write the card for the repository."""
        return render_bundle_card(
            self._bundle,
            notes=read_notes(self._bundle.folder),
            repository=terms.repository,
            tag=terms.tag,
            models=terms.links,
        )

    def files(self, terms: Terms) -> dict[str, Piece]:
        """Give the other files to publish by their paths."""
        return {f"{part}/{path}": piece for part, one in self._sets.items() for path, piece in one.part().items()}


def _part_contents(part: Part, licence: str | None) -> SetContents:
    inherited = part.set.manifest.origin.licence
    try:
        return SetContents(part.set.folder, None if is_known_licence(inherited) else licence)
    except InputError as error:
        raise InputError(f"{part.path}: {error}") from error


def _is_of_part(path: str, part: str) -> bool:
    return path.startswith(f"{part}/") and bool(_OF_SET.fullmatch(path.removeprefix(f"{part}/")))


def _refuse_link(path: Path, folder: Path) -> Path:
    """Refuse to publish what is not the folder's own: somebody else may have put a link to a secret there."""
    if not path.resolve().is_relative_to(folder.resolve()):
        raise InputError(f"{path} is a link out of its folder: put the file itself there.")
    return path
