"""A worker's own disk: full and freed, and stores that are gone, damaged or old."""

import asyncio
import shutil
import subprocess
from pathlib import Path

from faults.record import unix_ms
from faults.scene import Experiment, Scene
from faults.system import in_flight

_DISK = "96m"


async def _full_disk(scene: Scene) -> None:
    """The role's folder becomes a small tmpfs, so its state comes from the log; then a file fills it."""
    names = [scene.random.choice(("push", "sms"))] if scene.short else ["router", "push"]
    for name in names:
        folder = scene.system.data_of(name)
        await scene.system.stop(name)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        problem = _mount(folder)
        if problem is not None:
            scene.extra["not_done"] = f"a tmpfs can't be mounted here: {problem}"
            scene.system.start(name)
            continue
        try:
            scene.system.start(name)
            await scene.system.ready([name])
            await _fill_and_free(scene, name, folder)
            await scene.system.stop(name)
        finally:
            await asyncio.to_thread(subprocess.run, ("umount", "-l", str(folder)), check=True)
        scene.system.start(name)
    await scene.system.ready(names)


async def _fill_and_free(scene: Scene, name: str, folder: Path) -> None:
    began_ms, ballast = unix_ms(), folder / "ballast"
    scene.say(f"fills the disk of {name}")
    restarts = scene.system.dev.processes[name].restarts
    filled = await asyncio.to_thread(_fill, ballast)
    await asyncio.sleep(4.0 if scene.short else 12.0)
    stopped = scene.system.dev.processes[name].restarts - restarts
    ballast.unlink()
    scene.record.inject(
        "disk_full", role=name, instance=1, in_flight=in_flight(name), at_ms=began_ms, until_ms=unix_ms()
    )
    scene.extra[f"disk_full_{name}"] = {"bytes_filled": filled, "times_stopped": stopped}
    await scene.system.ready([name])


def _mount(folder: Path) -> str | None:
    """Why not, if so."""
    try:
        done = subprocess.run(
            ("mount", "-t", "tmpfs", "-o", f"size={_DISK}", "tmpfs", str(folder)), capture_output=True, text=True
        )
    except OSError as error:
        return str(error)
    return None if done.returncode == 0 else done.stderr.strip()


def _fill(path: Path) -> int:
    """Writes until there is no room for another byte. Returns how many that were."""
    written = 0
    with path.open("wb", buffering=0) as file:
        for size in (1 << 20, 4096, 1):
            try:
                while count := file.write(b"\0" * size):
                    written += count
            except OSError:
                continue
    return written


# --- stores ---


async def _broken_stores(scene: Scene) -> None:
    kinds = scene.random.sample(sorted(_DAMAGES), len(_DAMAGES))
    roles = ["router", "push", "email", "in_app"]
    todo = list(zip(scene.random.sample(roles, len(roles)), kinds, strict=False))
    for role, kind in todo[:2] if scene.short else todo:
        await scene.pause(0.3, 1.5)
        scene.say(f"{role}: {kind}")
        tables, old = scene.system.data_of(role) / "tables", scene.system.folder / f"old-{role}"
        await scene.system.stop(role)  # a backup, taken as one should
        await asyncio.to_thread(_copy, tables, old)
        scene.system.start(role)
        await scene.system.ready([role])
        await scene.pause(1.0, 2.0)
        await scene.system.stop(role, by_kill=True)
        damaged = await asyncio.to_thread(_DAMAGES[kind], tables, old)
        scene.record.inject("store_" + kind, role=role, instance=1, note=f"{damaged} partitions")
        scene.extra.setdefault("stores", []).append(f"{role}: {kind}, {damaged} partitions")
        scene.system.start(role)
        await scene.system.ready([role])


def _copy(tables: Path, old: Path) -> None:
    shutil.rmtree(old, ignore_errors=True)
    shutil.copytree(tables, old)


def _delete(tables: Path, _: Path) -> int:
    partitions = len(list(tables.iterdir()))
    shutil.rmtree(tables)
    return partitions


def _put_back_old(tables: Path, old: Path) -> int:
    shutil.rmtree(tables)
    shutil.copytree(old, tables)
    return len(list(tables.iterdir()))


def _without_current(tables: Path, _: Path) -> int:
    found = [path for partition in tables.iterdir() for path in partition.glob("CURRENT")]
    for path in found:
        path.unlink()
    return len(found)


def _truncate(tables: Path, _: Path) -> int:
    """The largest file of rows in each partition loses its second half."""
    damaged = 0
    for partition in tables.iterdir():
        files = sorted(partition.glob("*.sst"), key=lambda path: path.stat().st_size)
        if files:
            with files[-1].open("r+b") as file:
                file.truncate(files[-1].stat().st_size // 2)
            damaged += 1
    return damaged


_DAMAGES = {
    "deleted": _delete,
    "truncated": _truncate,
    "without_current": _without_current,
    "old_backup": _put_back_old,
}

EXPERIMENTS = (
    Experiment("full_disk", "A worker's data disk runs full under load, and is freed.", _full_disk),
    Experiment(
        "stores",
        "A killed worker's local store is deleted, truncated, robbed of its CURRENT, or replaced by an old copy.",
        _broken_stores,
    ),
)
