"""The store: content-addressed folders, each built once, atomically, and checked on every open.

An artefact is a folder ``<root>/<name>/<key>/`` of plain files and a ``manifest.json`` that lists
the size and SHA-256 of each. The root is ``$MO_INTERP_HOME``, else ``mo_interp`` in the user's
cache folder. ``Store.get_or_build`` works in these steps:

1. The folder exists: verify every file against the manifest and return it. A truncated, edited,
   missing or foreign file raises CorruptArtefact; nothing is ever rebuilt over or deleted.
2. Else take the lock of this key (``flock``, which the kernel frees when a process is killed).
   Whoever waited for it looks again, and so uses the first one's result.
3. Build into a hidden folder beside it, write the manifest, flush all to disk, rename.

A build that fails leaves nothing that could be taken for a result. What should survive a kill,
such as a checkpoint to resume from, goes into ``Store.scratch``, which lasts until the artefact
itself is there. POSIX only, because of ``flock``.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mo_interp.errors import CorruptArtefact, SpecError, StoreBusy, StoreUnwritable
from mo_interp.records import atomic_write

__all__ = [
    "MANIFEST",
    "SCHEMA",
    "Entry",
    "Store",
    "atomic_write",
    "default_root",
    "read_json",
    "verify",
    "write_json",
    "write_manifest",
    "writing",
]

SCHEMA = 1
MANIFEST = "manifest.json"

_SAFE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+=-]*")
_POLL_SECONDS = 0.1
_FULL = (errno.ENOSPC, errno.EDQUOT)
_CLOSED = (errno.EROFS, errno.EACCES, errno.EPERM)
_REMEDY = "set MO_INTERP_HOME to a folder with room that you may write to"


def default_root() -> Path:
    """``$MO_INTERP_HOME``, else ``mo_interp`` in the cache folder of the user."""
    given = os.environ.get("MO_INTERP_HOME")
    if given:
        return Path(given).expanduser()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "mo_interp"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mo_interp"


def write_json(path: str | Path, value: Any) -> Path:
    """Write ``value`` as indented JSON, atomically; raises ValueError on NaN, TypeError else."""
    text = json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False)
    return atomic_write(path, text + "\n")


def read_json(path: str | Path) -> Any:
    """Read a JSON file; raises CorruptArtefact naming it where it is absent or not JSON."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CorruptArtefact(f"'{path}': expected a JSON file, found none") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as err:
        raise CorruptArtefact(f"'{path}': expected JSON, found something else ({err})") from None


def _errno(err: Exception) -> int | None:
    """The error number of an OSError, or of one that a library only quotes in its message."""
    if isinstance(err, OSError):
        return err.errno
    quoted = re.search(r"\bos error (\d+)\b", str(err))
    return int(quoted[1]) if quoted else None


def _unwritable(folder: Path, number: int | None, remedy: str) -> StoreUnwritable:
    state = "the disk is full" if number in _FULL else "it cannot be written"
    return StoreUnwritable(
        f"'{folder}': {state} ({os.strerror(number or 0)}); nothing half-written is left in "
        f"place; {remedy}"
    )


@contextlib.contextmanager
def writing(folder: str | Path, *, remedy: str = _REMEDY) -> Iterator[None]:
    """Turn 'disk full' and 'not writable' inside the block into StoreUnwritable.

    Args:
        folder: what is being written to; errors about files elsewhere pass through unchanged.
        remedy: what the message tells the person to do.
    """
    try:
        yield
    except Exception as err:
        number = _errno(err)
        ours = _inside(getattr(err, "filename", None), Path(folder))
        if number in _FULL or (number in _CLOSED and ours):
            raise _unwritable(Path(folder), number, remedy) from err
        raise


def _inside(name: object, folder: Path) -> bool:
    """Whether an error's file lies in ``folder`` or on the way to it; True where it names none."""
    if not isinstance(name, str | os.PathLike):
        return True
    path, folder = Path(name).absolute(), folder.absolute()
    return path.is_relative_to(folder) or folder.is_relative_to(path)


def _digest(path: Path) -> str:
    with open(path, "rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()


def _files(folder: Path) -> dict[str, Path]:
    """Every file below ``folder`` but the manifest, by its path with forward slashes."""
    return {
        path.relative_to(folder).as_posix(): path
        for path in sorted(folder.rglob("*"))
        if (path.is_symlink() or not path.is_dir()) and path != folder / MANIFEST
    }


def _seal(body: dict[str, Any]) -> str:
    """A checksum of the manifest's own contents, so that an edit of it is seen too."""
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def write_manifest(folder: Path, name: str, key: str) -> None:
    """Seal a finished folder: list the size and SHA-256 of every file in its manifest."""
    files = {
        path: {"bytes": file.stat().st_size, "sha256": _digest(file)}
        for path, file in _files(folder).items()
    }
    body = {"schema": SCHEMA, "name": name, "key": key, "files": files}
    write_json(folder / MANIFEST, {**body, "seal": _seal(body)})


def _fsync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _corrupt(path: Path, expected: str, found: str, folder: Path) -> CorruptArtefact:
    return CorruptArtefact(
        f"'{path}': expected {expected}, found {found}; nothing was changed: restore the file, "
        f"or move the folder '{folder}' away to have it built again"
    )


def _read_manifest(folder: Path, name: str, key: str) -> dict[str, Any]:
    path = folder / MANIFEST
    if not path.is_file():
        raise _corrupt(path, "the manifest", "no such file", folder)
    try:
        body = read_json(path)
        seal = body.pop("seal")
    except (CorruptArtefact, AttributeError, KeyError):
        raise _corrupt(path, "a sealed manifest", "other contents", folder) from None
    if body.get("schema") != SCHEMA:
        raise _corrupt(path, f"schema {SCHEMA}", f"schema {body.get('schema')!r}", folder)
    if seal != _seal(body):
        raise _corrupt(path, f"contents with seal {seal[:12]}", "an edited manifest", folder)
    if (body["name"], body["key"]) != (name, key):
        raise _corrupt(path, f"'{name}' {key}", f"'{body['name']}' {body['key']}", folder)
    return body


def verify(folder: Path, name: str, key: str) -> None:
    """Check every file of an artefact against its manifest; raises CorruptArtefact.

    The message names the file, what was expected, what was found and what to do.
    """
    listed = _read_manifest(folder, name, key)["files"]
    present = _files(folder)
    for path in sorted(set(listed) | set(present)):
        file = folder / path
        if path not in listed:
            raise _corrupt(file, "only the files of the manifest", "a file too many", folder)
        if path not in present:
            raise _corrupt(file, f"{listed[path]['bytes']} bytes", "no such file", folder)
        if file.is_symlink():
            raise _corrupt(file, "a regular file", "a symbolic link", folder)
        size, sha = file.stat().st_size, listed[path]["sha256"]
        if size != listed[path]["bytes"]:
            raise _corrupt(file, f"{listed[path]['bytes']} bytes", f"{size}", folder)
        digest = _digest(file)
        if digest != sha:
            raise _corrupt(file, f"sha256 {sha[:16]}", f"{digest[:16]}", folder)


@dataclass(frozen=True, order=True)
class Entry:
    """One artefact of the store, listed without being verified."""

    name: str
    """What it is, such as the organism's name."""
    key: str
    """The hash it is addressed by."""
    path: Path
    """Its folder."""
    bytes: int
    """Size of its files."""


@dataclass(frozen=True)
class Store:
    """A folder of artefacts. Making one touches nothing; see the module's docstring."""

    root: Path
    """Where everything lies."""

    def __init__(self, root: str | Path | None = None) -> None:
        """Use ``root``, else :func:`default_root`; made only when something is written."""
        object.__setattr__(self, "root", Path(root).expanduser() if root else default_root())

    def folder(self, name: str, key: str) -> Path:
        """Where the artefact lies or would lie; not opened, not made. A '/' in ``name`` is '~'."""
        return self.root / self._label(name) / self._label(key)

    def scratch(self, name: str, key: str) -> Path:
        """A folder for resumable partial work on an artefact; kept until that is finished."""
        folder = self.root / ".scratch" / self._label(name) / self._label(key)
        self._make(folder)
        return folder

    def open(self, name: str, key: str) -> Path | None:
        """The verified folder of an artefact, or None where it was never built.

        Raises CorruptArtefact.
        """
        folder = self.folder(name, key)
        if not os.path.lexists(folder):
            return None
        verify(folder, name, key)
        return folder

    def get_or_build(
        self, name: str, key: str, build: Callable[[Path], None], *, wait: float | None = 600.0
    ) -> Path:
        """The verified folder of an artefact, built by ``build`` if it is not there yet.

        Args:
            name: what it is, such as ``"quirky_user"`` or ``"quirky_user/clean"``.
            key: the hash of all that decides its contents.
            build: writes the files into the (empty) folder it is given.
            wait: seconds to wait for another process that builds the same; None waits for ever.

        Raises CorruptArtefact, StoreBusy or StoreUnwritable, and whatever ``build`` raises.
        """
        found = self.open(name, key)
        if found is not None:
            return found
        with self._lock(name, key, wait):
            found = self.open(name, key)
            return self._build(name, key, build) if found is None else found

    def entries(self) -> list[Entry]:
        """Every finished artefact, in order of name and key."""
        found = []
        for folder in self.root.glob("*/*/"):
            if folder.name.startswith(".") or folder.parent.name.startswith("."):
                continue
            size = sum(file.lstat().st_size for file in _files(folder).values())
            name = folder.parent.name.replace("~", "/")
            found.append(Entry(name, folder.name, folder, size))
        return sorted(found)

    def size(self) -> int:
        """Bytes of all files below the root, partial work included."""
        return sum(p.lstat().st_size for p in self.root.rglob("*") if p.is_symlink() or p.is_file())

    @staticmethod
    def _label(text: str) -> str:
        parts = text.split("/")
        if not all(_SAFE.fullmatch(part) for part in parts):
            raise SpecError(
                f"store name '{text}': letters, digits and '._+=-' (no leading '.'), parted by '/'"
            )
        return "~".join(parts)

    def _make(self, folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as err:  # a file in the way, /proc, a full or a read-only disk
            raise _unwritable(self.root, err.errno, _REMEDY) from err

    @contextlib.contextmanager
    def _lock(self, name: str, key: str, wait: float | None) -> Iterator[None]:
        """Hold the lock file of a key; it stays behind, since removing it would be a race."""
        path = self.root / ".locks" / f"{self._label(name)}--{self._label(key)}"
        self._make(path.parent)
        with writing(self.root):
            handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            self._wait_for(handle, f"'{name}' ({key})", wait)
            with contextlib.suppress(OSError):  # only who holds it, for the message below
                os.ftruncate(handle, 0)
                os.pwrite(handle, str(os.getpid()).encode(), 0)
            yield
        finally:
            os.close(handle)

    def _wait_for(self, handle: int, what: str, wait: float | None) -> None:
        end = None if wait is None else time.monotonic() + wait
        while True:
            try:
                return fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if end is not None and time.monotonic() >= end:
                    holder = os.pread(handle, 32, 0).decode(errors="replace").strip()
                    raise StoreBusy(
                        f"{what} is being built by another process ({holder or 'unknown'}); waited "
                        f"{wait:g} s: run this again when that one is done"
                    ) from None
            time.sleep(_POLL_SECONDS)

    def _build(self, name: str, key: str, build: Callable[[Path], None]) -> Path:
        target = self.folder(name, key)
        partial = target.parent / f".building-{target.name}"
        self._make(target.parent)
        with writing(self.root):
            shutil.rmtree(partial, ignore_errors=True)  # of a killed process: the lock is ours
            partial.mkdir()
            try:
                build(partial)
                write_manifest(partial, name, key)
                for path in (*partial.rglob("*"), partial):
                    _fsync(path)
                os.rename(partial, target)
                _fsync(target.parent)
            except BaseException:
                shutil.rmtree(partial, ignore_errors=True)
                raise
        self._clear_scratch(name, key)
        return target

    def _clear_scratch(self, name: str, key: str) -> None:
        folder = self.root / ".scratch" / self._label(name) / self._label(key)
        shutil.rmtree(folder, ignore_errors=True)
