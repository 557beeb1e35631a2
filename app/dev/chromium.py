"""Finds a Chromium, with which the console's pages are tested: the system's, else Debian's package and the libraries
that the system lacks, unpacked into a folder of ours. ``python -m app.dev chromium`` prints where it is."""

import os
import shlex
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from app.dev.alone import alone_in
from app.dev.debian import NotFetched, unpacked

_PACKAGE = "chromium"
#: Ubuntu's package chromium-browser is a stub.
_NAMES = ("chromium", "google-chrome", "google-chrome-stable")
_FONTS = """<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "urn:fontconfig:fonts.dtd">
<fontconfig><dir>{fonts}</dir><dir>/usr/share/fonts</dir><cachedir>{cache}</cachedir></fontconfig>
"""


class NoChromium(Exception):
    """There is no Chromium; the message says what to do."""


def ensure_chromium(folder: Path, environ: Mapping[str, str]) -> Path:
    """The program to use. What is fetched stays in ``folder``. Raises NoChromium."""
    for name in _NAMES:
        if found := shutil.which(name, path=environ.get("PATH")):
            return Path(found)
    folder = folder.absolute()
    program = folder / "chromium"
    with alone_in(folder):
        if not program.is_file():
            try:
                with unpacked(_PACKAGE, folder, environ, with_libraries=True) as files:
                    _take(files, folder, program)
            except NotFetched as error:
                raise _no_chromium(str(error)) from error
    return program


def has_sandbox() -> bool:
    """Whether Chromium may shut its own processes in: root may not, and others need user namespaces."""
    if os.geteuid() == 0 or (unshare := shutil.which("unshare")) is None:
        return False
    return subprocess.run([unshare, "--user", "true"], capture_output=True, check=False).returncode == 0


def _take(files: Path, folder: Path, program: Path) -> None:
    if not (files / "usr" / "lib" / "chromium" / "chromium").is_file():
        raise NotFetched("the package holds none")
    kept = folder / "files"
    shutil.rmtree(kept, ignore_errors=True)
    files.rename(kept)
    libraries = sorted({str(path.parent) for path in kept.rglob("lib*.so*") if "chromium" not in path.parts[-2]})
    (folder / "fonts.conf").write_text(_FONTS.format(fonts=kept / "usr/share/fonts", cache=folder / "fonts"))
    script = folder / "chromium.new"
    script.write_text(
        "#!/bin/sh\n"
        f"export LD_LIBRARY_PATH={shlex.quote(':'.join(libraries))}\n"
        f"[ -e /etc/fonts/fonts.conf ] || export FONTCONFIG_FILE={shlex.quote(str(folder / 'fonts.conf'))}\n"
        f'exec {shlex.quote(str(kept / "usr/lib/chromium/chromium"))} "$@"\n'
    )
    script.chmod(0o755)
    script.rename(program)


def _no_chromium(why: str) -> NoChromium:
    return NoChromium(
        f"the console's pages are tested in Chromium, and there is none on the PATH; Debian's package {_PACKAGE} "
        f"could not be fetched either ({why}). Install it (Debian: `apt install chromium`) or Google Chrome, then try "
        "again"
    )
