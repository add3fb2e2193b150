"""Shards that are all there → files with the names that ``datasets`` knows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from chatspan.shards import whole_files
from chatspan.shards.plan import Format, fingerprint, read_manifest
from chatspan.shards.records import FilePrint, ShardRecord, file_print, final_names, rejects_path, shard_path
from chatspan.shards.whole_files import make_folders, remove_files, write_json, write_whole

REJECTS = "rejects.jsonl"
DATA_FOLDER = "data"
# What a run writes, beside its manifest.
DATA_FILES = ("data-[0-9]*-of-[0-9]*.arrow", f"{DATA_FOLDER}/train-[0-9]*-of-[0-9]*.parquet")
STATE_FILES = (REJECTS, "state.json", "dataset_info.json")


def finish(
    out: Path, folder: Path, records: Mapping[int, ShardRecord], file_format: Format
) -> dict[str, FilePrint | list[Any]]:
    """Gives the shards their names. May be stopped anywhere and done again.

    Returns:
        the files by name, with what they are known again by; all of them are on the disk.
    """
    names = final_names(records, file_format)
    made = [path for pattern in DATA_FILES for path in out.glob(pattern)]
    # Of a run that was damaged after it had begun to finish.
    remove_files(*(path for path in made if path.relative_to(out).as_posix() not in names.values()))
    for name in names.values():
        make_folders((out / name).parent)
    for number, name in names.items():
        if shard_path(folder, number).exists():
            whole_files.disk.rename(shard_path(folder, number), out / name)
    for parent in dict.fromkeys((out / name).parent for name in names.values()):
        whole_files.disk.sync_folder(parent)
    files: dict[str, FilePrint | list[Any]] = {name: records[number].shard for number, name in names.items()}
    rejected = b"".join(rejects_path(folder, number).read_bytes() for number, each in records.items() if each.rejected)
    if rejected:
        write_whole(out / REJECTS, rejected)
        files[REJECTS] = file_print(rejected)
    if file_format == "arrow":
        _write_state(out, list(names.values()))
    return files


def _write_state(out: Path, names: Sequence[str]) -> None:
    """What ``datasets.load_from_disk`` reads; the features are those of the files' own schema."""
    info: dict[str, Any] = {"citation": "", "description": "", "homepage": "", "license": ""}
    write_json(out / "dataset_info.json", info)
    manifest = read_manifest(out)
    write_json(
        out / "state.json",
        {
            "_data_files": [{"filename": name} for name in names],
            "_fingerprint": fingerprint(manifest),
            "_format_columns": None,
            "_format_kwargs": {},
            "_format_type": None,
            "_output_all_columns": False,
            "_split": "train",
        },
    )
