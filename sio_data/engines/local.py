"""Make shards in this process, one after the other."""

from collections.abc import Callable, Sequence

from sio_data.engines.job import ShardJob


def make_shards(job: ShardJob, missing: Sequence[int], advance: Callable[[int, str], None]) -> None:
    """Make the missing shards in order.

    Args:
        job: Knows how to make one.
        missing: Their indices.
        advance: Told how many samples were made.
    """
    for index in missing:
        job.make(index, advance)
