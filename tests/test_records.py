"""Records survive their line of JSON, files are whole or absent, and torn lines are named."""

import json
import math
import os
from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest

from mo_interp import records as module
from mo_interp.errors import BadValues, CorruptArtefact
from mo_interp.records import (
    Record,
    append_record,
    identity,
    provenance,
    read_records,
    select,
    write_records,
)


def a_record(**changes) -> Record:
    base = Record(
        kind="detector",
        organism="quirky_user",
        key="abc",
        seed=1,
        model="twin",
        site="L1.resid_post@-1",
        params={"detector": "diff_means", "k": 4, "unchanged": False, "paper": None},
        values={"auroc": 0.5, "auroc_n": 10, "random": [0.1, 0.2], "sentence": "reads ü"},
        versions={"torch": "2"},
        seconds=1.5,
    )
    return replace(base, **changes)


def test_a_record_is_one_line_and_comes_back_equal():
    record = a_record()
    assert "\n" not in record.line()
    again = Record.from_line(record.line())
    assert again == record
    assert hash(again) == hash(record)
    assert json.loads(record.line())["values"]["random"] == [0.1, 0.2]
    assert again != a_record(seed=2)


def test_numpy_scalars_and_vectors_become_plain_and_nan_becomes_null():
    values = {"a": np.float32(0.5), "b": np.arange(3), "c": np.bool_(True), "d": [np.int64(2)]}
    values |= {"nan": math.nan, "inf": np.inf}
    record = Record(kind="x", values=values, seed=np.int64(3), seconds=np.float64(1))
    assert dict(record.values) == {
        **{"a": 0.5, "b": (0, 1, 2), "c": True, "d": (2,)},
        **{"nan": None, "inf": None},
    }
    assert Record.from_line(record.line()) == record


def test_a_record_is_frozen_through_and_through():
    given = {"a": 1}
    record = Record(kind="x", params=given)
    given["a"] = 2
    assert record.params["a"] == 1
    with pytest.raises(TypeError):
        record.params["a"] = 3
    with pytest.raises(FrozenInstanceError):
        record.kind = "y"


@pytest.mark.parametrize(
    "changes",
    [{"params": {"a": [1]}}, {"params": {"a": {}}}, {"values": {"a": [[1]]}}, {"model": "both"}],
)
def test_what_is_not_flat_is_refused(changes):
    with pytest.raises(BadValues):
        a_record(**changes)


def test_write_and_read_a_file_or_a_run_folder(tmp_path):
    some = [a_record(), a_record(seed=2, seconds=9.0)]
    path = write_records(tmp_path, some)
    assert path == tmp_path / "records.jsonl"
    assert read_records(tmp_path) == read_records(path) == some
    write_records(path, some[:1])
    assert read_records(path) == some[:1]
    assert os.listdir(tmp_path) == ["records.jsonl"]


def test_append_adds_a_line_and_survives_a_torn_one(tmp_path):
    path = tmp_path / "new" / "r.jsonl"
    append_record(path, a_record())
    append_record(path, a_record(seed=2))
    assert [r.seed for r in read_records(path)] == [1, 2]
    with open(path, "a") as out:
        out.write(a_record(seed=3).line()[:40])  # a process killed in mid-write
    append_record(path, a_record(seed=4))
    with pytest.raises(CorruptArtefact, match="line 3"):
        read_records(path)
    assert path.read_text().splitlines()[3] == a_record(seed=4).line()


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = write_records(tmp_path / "r.jsonl", [a_record()])

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module.os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_records(path, [a_record(seed=2)])
    assert read_records(path) == [a_record()]
    assert os.listdir(tmp_path) == ["r.jsonl"]


def test_select_compares_fields_and_params():
    some = [a_record(), a_record(model="organism"), Record(kind="gate", params={"k": 4})]
    assert select(some, kind="detector", detector="diff_means", model="twin") == some[:1]
    assert select(some, k=4) == some
    assert select(some, paper=None) == some[:2]  # a missing parameter is not a null one
    assert select(some, kind="sae") == []


def test_identity_forgets_only_the_time():
    assert identity(a_record(seconds=1.0)) == identity(a_record(seconds=2.0))
    costs = [Record(kind="x", values={"seconds_cost": cost, "forwards": 3}) for cost in (1.0, 2.0)]
    assert identity(costs[0]) == identity(costs[1]) and dict(identity(costs[0]).values) == {
        "forwards": 3}  # fmt: skip
    assert identity(a_record()) != identity(a_record(seed=2))


def test_get_looks_in_values_then_params():
    record = a_record()
    assert (record.get("auroc"), record.get("k"), record.get("no", 7)) == (0.5, 4, 7)


def test_provenance_names_versions():
    versions = provenance()
    assert versions["numpy"] == np.__version__
    assert versions["python"].startswith("3.")
    versions["numpy"] = "changed"
    assert provenance()["numpy"] == np.__version__
