"""What outlives a process: the log beside the checkpoints, the configuration, ClickHouse."""
