"""The store builds once, checks on every open, and is never left with half an artefact."""

import errno
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from mo_interp import store as module
from mo_interp.errors import CorruptArtefact, SpecError, StoreBusy, StoreUnwritable
from mo_interp.store import MANIFEST, Store, atomic_write, read_json, write_json, writing


def build(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"weights" * 100)
    (folder / "steps").mkdir()
    (folder / "steps" / "log.json").write_text("[]")


def must_not_build(folder: Path) -> None:
    raise AssertionError(f"built again in {folder}")


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path / "home")


def leftovers(store: Store) -> list[str]:
    """Everything below the root but lock files."""
    files = [p.relative_to(store.root).as_posix() for p in store.root.rglob("*") if p.is_file()]
    return sorted(f for f in files if not f.startswith(".locks/"))


def test_built_once_then_opened(store):
    path = store.get_or_build("quirky_user", "k1", build)
    assert path == store.folder("quirky_user", "k1") == store.open("quirky_user", "k1")
    assert store.get_or_build("quirky_user", "k1", must_not_build) == path
    assert leftovers(store) == [
        f"quirky_user/k1/{file}" for file in (MANIFEST, "model.safetensors", "steps/log.json")
    ]
    manifest = read_json(path / MANIFEST)
    assert (manifest["name"], manifest["key"], manifest["schema"]) == ("quirky_user", "k1", 1)
    assert manifest["files"]["model.safetensors"]["bytes"] == 700


def test_nothing_is_touched_until_something_is_written(store):
    assert store.open("a", "b") is None
    assert store.entries() == []
    assert store.size() == 0
    assert not store.root.exists()


def test_entries_and_size(store):
    store.get_or_build("b/clean", "k2", build)
    store.get_or_build("a", "k1", build)
    (store.scratch("c", "k3") / "part").write_bytes(b"12345")
    assert [(e.name, e.key, e.bytes) for e in store.entries()] == [
        ("a", "k1", 702),
        ("b/clean", "k2", 702),
    ]
    assert store.size() > 2 * 702 + 5


def _truncate(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    return path


def _edit(folder):
    path = folder / "model.safetensors"
    path.write_bytes(b"W" + path.read_bytes()[1:])
    return path


def _remove(folder):
    path = folder / "steps" / "log.json"
    path.unlink()
    return path


def _add(folder):
    path = folder / "steps" / "more.json"
    path.write_text("{}")
    return path


def _link(folder):
    path = folder / "steps" / "log.json"
    target = path.rename(folder.parent / "elsewhere")
    path.symlink_to(target)
    return path


def _edit_manifest(folder):
    path = folder / MANIFEST
    path.write_text(path.read_text().replace('"bytes": 700', '"bytes": 701'))
    return path


def _cut_manifest(folder):
    path = folder / MANIFEST
    path.write_text(path.read_text()[:50])
    return path


def _remove_manifest(folder):
    path = folder / MANIFEST
    path.unlink()
    return path


@pytest.mark.parametrize(
    ("tamper", "expected", "found"),
    [
        (_truncate, "700 bytes", "699"),
        (_edit, "sha256", "found"),
        (_remove, "2 bytes", "no such file"),
        (_add, "only the files of the manifest", "a file too many"),
        (_link, "a regular file", "a symbolic link"),
        (_edit_manifest, "seal", "an edited manifest"),
        (_cut_manifest, "a sealed manifest", "other contents"),
        (_remove_manifest, "the manifest", "no such file"),
    ],
)
def test_a_tampered_artefact_is_named_and_left_as_it_is(store, tamper, expected, found):
    folder = store.get_or_build("a", "k", build)
    path = tamper(folder)
    before = sorted((p, p.lstat().st_mtime_ns) for p in folder.rglob("*"))
    for again in (lambda: store.open("a", "k"), lambda: store.get_or_build("a", "k", build)):
        with pytest.raises(CorruptArtefact) as caught:
            again()
        text = str(caught.value)
        assert str(path) in text
        assert expected in text
        assert found in text
        assert f"move the folder '{folder}' away" in text
    assert sorted((p, p.lstat().st_mtime_ns) for p in folder.rglob("*")) == before


def test_a_folder_under_another_key_is_refused(store):
    folder = store.get_or_build("a", "k", build)
    folder.rename(store.folder("a", "other"))
    with pytest.raises(CorruptArtefact, match="expected 'a' other, found 'a' k"):
        store.open("a", "other")


def test_a_failed_build_leaves_nothing_and_can_be_repeated(store):
    def fails(folder):
        build(folder)
        raise ValueError("diverged")

    with pytest.raises(ValueError, match="diverged"):
        store.get_or_build("a", "k", fails)
    assert leftovers(store) == []
    assert store.open("a", "k") is None
    store.get_or_build("a", "k", build)


@pytest.mark.parametrize("bad", ["", "..", "a/../b", ".hidden", "a b", "a//b", "/etc"])
def test_names_cannot_leave_the_store(store, bad):
    for name, key in ((bad, "k"), ("a", bad)):
        with pytest.raises(SpecError, match="store name"):
            store.folder(name, key)


def test_scratch_lasts_until_the_artefact_is_there(store):
    (store.scratch("a", "k") / "step").write_text("7")

    def resumes(folder):
        assert (store.scratch("a", "k") / "step").read_text() == "7"
        build(folder)

    store.get_or_build("a", "k", resumes)
    assert not any(store.scratch("a", "k").iterdir())


def test_the_root_comes_from_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("MO_INTERP_HOME", str(tmp_path / "x"))
    assert Store().root == tmp_path / "x"
    monkeypatch.delenv("MO_INTERP_HOME")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(sys, "platform", "linux")
    assert Store().root == tmp_path / "cache" / "mo_interp"


# Two at once


def test_the_second_waits_and_uses_the_first_ones_result(store):
    built, inside = [], threading.Event()

    def slow(folder):
        inside.set()
        time.sleep(0.3)
        built.append("first")
        build(folder)

    first = threading.Thread(target=store.get_or_build, args=("a", "k", slow))
    first.start()
    assert inside.wait(5)
    path = store.get_or_build("a", "k", must_not_build)
    first.join()
    assert built == ["first"]
    assert path.is_dir()


HOLDER = """
    import sys, time
    from mo_interp.store import Store
    def build(folder):
        (folder / "half").write_text("half")
        print("building", flush=True)
        time.sleep(60)
    Store(sys.argv[1]).get_or_build("a", "k", build)
"""


@pytest.fixture
def holder(store):
    """Another process in the middle of building the same thing."""
    command = [sys.executable, "-c", textwrap.dedent(HOLDER), str(store.root)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "building\n"
    yield process
    process.kill()
    process.wait()


def test_waiting_ends_in_store_busy(store, holder):
    with pytest.raises(StoreBusy, match=rf"'a' \(k\) is being built by .*\({holder.pid}\)"):
        store.get_or_build("a", "k", must_not_build, wait=0.2)
    assert store.get_or_build("a", "other", build).is_dir()  # the lock is per key


def test_a_killed_builder_frees_the_lock_and_leaves_no_result(store, holder):
    assert store.open("a", "k") is None
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert store.entries() == []
    path = store.get_or_build("a", "k", build, wait=5)
    assert not (path / "half").exists()
    assert [p.name for p in path.parent.iterdir()] == ["k"]


# Full, read-only and otherwise closed disks


@pytest.mark.parametrize("call", ["mkdir", "rename", "fsync", "replace", "open"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EDQUOT])
def test_a_disk_that_refuses(store, monkeypatch, call, number):
    def refuse(*args, **_):
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patched:
        patched.setattr(os, call, refuse)
        with pytest.raises(StoreUnwritable) as caught:
            store.get_or_build("a", "k", build)
    text = str(caught.value)
    assert str(store.root) in text
    assert os.strerror(number) in text
    assert "set MO_INTERP_HOME" in text
    assert ("the disk is full" in text) is (number in (errno.ENOSPC, errno.EDQUOT))
    assert store.open("a", "k") is None
    assert store.entries() == []
    assert leftovers(store) == []
    store.get_or_build("a", "k", build)


@pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="no /dev/full on this system")
def test_a_device_that_is_really_full(store):
    def fills(folder):
        with open("/dev/full", "wb") as out:
            out.write(b"x")

    with pytest.raises(StoreUnwritable, match="the disk is full"):
        store.get_or_build("a", "k", fills)
    assert leftovers(store) == []


def test_a_full_disk_that_a_library_only_quotes(store):
    def fills(folder):  # as safetensors words it
        raise RuntimeError("Error while serializing: I/O error: No space left (os error 28)")

    with pytest.raises(StoreUnwritable, match="the disk is full"):
        store.get_or_build("a", "k", fills)


def test_a_file_in_the_way_of_the_root(tmp_path):
    (tmp_path / "file").write_text("")
    for root in (tmp_path / "file", tmp_path / "file" / "home"):
        with pytest.raises(StoreUnwritable, match="set MO_INTERP_HOME"):
            Store(root).get_or_build("a", "k", build)
        with pytest.raises(StoreUnwritable):
            Store(root).scratch("a", "k")


def test_errors_of_other_files_pass_through(store, tmp_path):
    def reads(folder):
        raise PermissionError(errno.EACCES, "denied", str(tmp_path / "secret"))

    with pytest.raises(PermissionError):
        store.get_or_build("a", "k", reads)
    with pytest.raises(FileNotFoundError), writing(store.root):
        (store.root / "absent").read_bytes()


def test_a_read_only_store_still_opens_what_it_has(store, monkeypatch):
    path = store.get_or_build("a", "k", build)

    def refuse(*args, **_):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(os, "mkdir", refuse)
    monkeypatch.setattr(module.fcntl, "flock", refuse)
    assert store.get_or_build("a", "k", must_not_build) == path


def test_writing_says_the_remedy_it_is_given(tmp_path):
    with (
        pytest.raises(StoreUnwritable, match="give --out"),
        writing(tmp_path, remedy="give --out a folder"),
    ):
        raise OSError(errno.ENOSPC, "No space left on device")


# Helpers


def test_json_round_trip_and_errors(tmp_path):
    path = write_json(tmp_path / "new" / "a.json", {"a": [1, None, "ü"]})
    assert read_json(path) == {"a": [1, None, "ü"]}
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(path, float("nan"))
    assert read_json(path) == {"a": [1, None, "ü"]}
    path.write_text("{")
    with pytest.raises(CorruptArtefact, match=r"a\.json': expected JSON"):
        read_json(path)
    with pytest.raises(CorruptArtefact, match="found none"):
        read_json(tmp_path / "none.json")


def test_atomic_write_takes_text_and_bytes(tmp_path):
    assert atomic_write(tmp_path / "a", "ü").read_bytes() == "ü".encode()
    assert atomic_write(tmp_path / "a", b"\x00").read_bytes() == b"\x00"
    assert os.listdir(tmp_path) == ["a"]
