"""Inputs that something didn't hold out against, as files that the short form replays."""

import hashlib
import re
import traceback
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from tests.fuzz.targets import TARGETS, Target

FOLDER = Path(__file__).parent / "regressions"


class Finding(Struct, frozen=True):
    target: str
    #: What was raised, and where.
    error: str
    input: msgspec.Raw


def files() -> list[Path]:
    return sorted(FOLDER.glob("*.json"))


def target_named(name: str) -> Target:
    return next(target for target in TARGETS if target.name == name)


def replay(file: Path) -> None:
    """Raises what the input raised when it was found, unless that is mended."""
    finding = msgspec.json.decode(file.read_bytes(), type=Finding)
    target = target_named(finding.target)
    target.check(msgspec.json.decode(finding.input, type=target.kind))


def kind_of(error: BaseException) -> str:
    """Names a fault by what was raised where, so that it is kept once."""
    cause = error.__cause__ or error
    at = traceback.extract_tb(cause.__traceback__)[-1]
    said = re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}|\d+", "#", str(cause))[:60]
    return f"{type(cause).__name__}: {said} ({Path(at.filename).name}:{at.lineno})"


def keep(target: Target, found: Any, error: BaseException) -> Path:
    """Writes the input down, in place of a longer one of the same kind."""
    kind = kind_of(error)
    name = re.sub(r"\W+", "-", target.name).strip("-").lower()
    file = FOLDER / f"{name}-{hashlib.sha256(kind.encode()).hexdigest()[:8]}.json"
    text = msgspec.json.encode(Finding(target.name, f"{kind}: {error}"[:500], msgspec.Raw(msgspec.json.encode(found))))
    if not file.exists() or len(text) < file.stat().st_size:
        FOLDER.mkdir(exist_ok=True)
        file.write_bytes(msgspec.json.format(text, indent=1) + b"\n")
    return file
