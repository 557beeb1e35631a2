"""``python -m app.dev`` gets what the broker needs, jars and a Java.

``asyncapi`` writes docs/asyncapi.yaml anew, of the records that there are.
``promtool`` gets what tests the alert rules, ``chromium`` what tests the console's pages; each prints where it is.
For ``make lock``: ``lock`` pins the jars anew, ``images`` the images, ``advisories`` looks for known vulnerabilities.
"""

import os
import sys
from collections.abc import Callable
from pathlib import Path

from app.api.documents import as_yaml
from app.dev import advisories, images
from app.dev.chromium import NoChromium, ensure_chromium
from app.dev.java import NoJava, find_java
from app.dev.kafka_jars import NoJars, ensure_jars, write_lock_file
from app.dev.promtool import NoPromtool, ensure_promtool
from schemas.asyncapi import asyncapi

ASYNCAPI = Path(__file__).parents[2] / "docs" / "asyncapi.yaml"


def main(arguments: list[str]) -> int:
    match arguments:
        case ["lock"]:
            write_lock_file()
            return 0
        case ["images"]:
            return images.main()
        case ["advisories"]:
            return advisories.main()
        case ["asyncapi"]:
            ASYNCAPI.write_text(as_yaml(asyncapi()))
            return 0
        case ["promtool"]:
            return _printed(lambda: ensure_promtool(Path(".tocsin/promtool"), os.environ))
        case ["chromium"]:
            return _printed(lambda: ensure_chromium(Path(".tocsin/chromium"), os.environ))
    try:
        find_java(os.environ)
        ensure_jars(Path(".tocsin/kafka"), os.environ)
    except (NoJava, NoJars) as error:
        print(f"setup: {error}", file=sys.stderr)
        return 1
    return 0


def _printed(ensure: Callable[[], Path]) -> int:
    try:
        print(ensure())
    except (NoPromtool, NoChromium) as error:
        print(f"setup: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
