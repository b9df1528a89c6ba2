"""Train straight from the shards of a set, wherever they lie, in bounded memory."""

from sio_data.streaming.opening import open_stream
from sio_data.streaming.streamed_set import StreamedSet

__all__ = ["StreamedSet", "open_stream"]
