"""Where shards are made. An engine takes a `ShardJob` and the shards that are missing, and knows nothing else."""
