"""``python -m app.dev`` gets what the broker needs, jars and a Java; ``python -m app.dev lock`` pins the jars anew."""

import os
import sys
from pathlib import Path

from app.dev.java import NoJava, find_java
from app.dev.kafka_jars import NoJars, ensure_jars, write_lock_file


def main(arguments: list[str]) -> int:
    if arguments == ["lock"]:
        write_lock_file()
        return 0
    try:
        find_java(os.environ)
        ensure_jars(Path(".tocsin/kafka"), os.environ)
    except (NoJava, NoJars) as error:
        print(f"setup: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
