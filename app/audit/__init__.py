"""What the log says is compared with what became of it: recipients, tables, decisions, ClickHouse (docs/audit.md).

Reads while the system runs, and writes nothing but files of its own. Memory stays the same however much there is: what
must be sorted or looked up lies in a temporary RocksDB.
"""
