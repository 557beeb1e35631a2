"""Apache Superset's own engine spec, from PyPI in a virtual environment of its own, against the embedded ClickHouse:
``make superset``."""
