"""``python -m app.health``: whether the role that keeps its data in ``data.dir`` is ready; the image's health check.

It runs every few seconds beside the role, so it imports the standard library only.
"""

import json
import os
import ssl
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path

_LIMIT_S = 5.0


def problem(environ: Mapping[str, str]) -> str | None:
    """Why the role isn't ready; None: it is. Of several addresses the last one written counts."""
    folder = Path(environ.get("TOCSIN_DATA__DIR", ".tocsin"))
    announced = sorted(folder.glob("*/operations.json"), key=lambda path: path.stat().st_mtime)
    if not announced:
        return f"no role has started with data.dir {folder}"
    try:
        url = json.loads(announced[-1].read_text())["url"]
        with _DIRECT.open(f"{url}/health/ready", timeout=_LIMIT_S):
            return None
    except urllib.error.HTTPError as error:
        return error.read(1000).decode("utf-8", "replace")
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"the operations port doesn't answer: {error}"


#: Never by a proxy that the environment names for calls to providers. The port is this container's own, whose
#: certificate is made out for the names that other machines know it by.
_DIRECT = urllib.request.build_opener(
    urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=ssl._create_unverified_context())
)


def main() -> int:
    found = problem(os.environ)
    print(found or "ready")
    return 0 if found is None else 1


if __name__ == "__main__":
    sys.exit(main())
