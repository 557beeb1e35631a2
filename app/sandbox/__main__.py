"""The command line: ``python -m app.sandbox --dir DIR``."""

import argparse
import sys
from pathlib import Path

import uvloop

from app.private import keep_private
from app.sandbox.serving import Options, Sandbox, serve


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m app.sandbox",
        description="Speaks the push, mail and SMS providers' protocols on this machine; keeps what they would send.",
        epilog="Example: python -m app.sandbox --dir .tocsin/sandbox --port 8090",
    )
    parser.add_argument("--dir", type=Path, required=True, help="credentials, sandbox.json and what was accepted")
    parser.add_argument("--host", default="127.0.0.1", help="where to listen (default %(default)s)")
    parser.add_argument("--port", type=int, default=0, help="control port (default: the last one, else any free)")
    parser.add_argument(
        "--drop", action="store_true", help="keep no calls and messages, only counts in memory (for measuring)"
    )
    given = parser.parse_args(arguments)
    keep_private()
    try:
        uvloop.run(serve(Options(given.dir, given.host, given.port, given.drop), _say_ready))
    except OSError as error:
        print(f"sandbox: {error}", file=sys.stderr)
        return 1
    return 0


def _say_ready(sandbox: Sandbox) -> None:
    print(f"sandbox ready {sandbox.control_url}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
