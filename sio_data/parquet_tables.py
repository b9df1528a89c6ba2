"""Write a parquet file row by row, for `datasets` to read."""

from pathlib import Path
from types import TracebackType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Features

_ROWS = 100  # in a row group: a reader decodes one at a time, and the Hub's viewer asks for pages of 100
_BYTES = 1 << 24


class ParquetTable:
    """A parquet file that is being written; no more than one row group of it is in memory.

    Args:
        path: Of the file.
        features: Its columns. `datasets` finds them in the file again, with the class names.
    """

    def __init__(self, path: Path, features: Features) -> None:
        self._schema = features.arrow_schema
        self._writer = pq.ParquetWriter(path, self._schema)
        self._rows: list[dict[str, Any]] = []
        self._bytes = 0

    def __enter__(self) -> "ParquetTable":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._flush()
        self._writer.close()

    def add(self, row: dict[str, Any], size: int) -> None:
        """Add a row as the file stores it: a JSON column holds text, an image its file's bytes and name.

        Args:
            row: Values by column.
            size: About how many bytes it takes.
        """
        self._rows.append(row)
        self._bytes += size
        if len(self._rows) == _ROWS or self._bytes >= _BYTES:
            self._flush()

    def _flush(self) -> None:
        if self._rows:
            columns = [_column(field.type, [row[field.name] for row in self._rows]) for field in self._schema]
            self._writer.write_table(pa.table(columns, schema=self._schema))
        self._rows, self._bytes = [], 0


def _column(kind: Any, values: list[Any]) -> Any:
    if isinstance(kind, pa.BaseExtensionType):
        return pa.ExtensionArray.from_storage(kind, pa.array(values, kind.storage_type))
    return pa.array(values, kind)
