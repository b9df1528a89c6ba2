"""`import_set`: what people already have becomes a set."""

from sio_data.importing.importation import Imported, import_set

__all__ = ["Imported", "import_set"]
