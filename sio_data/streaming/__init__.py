"""Train straight from the shards of a set, wherever they lie, in bounded memory."""

from sio_data.streaming.opening import can_stream, open_stream
from sio_data.streaming.streamed_set import StreamedSet

__all__ = ["StreamedSet", "can_stream", "open_stream"]
