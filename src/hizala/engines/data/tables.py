"""Rows of tables: CSV, Parquet and Arrow. Each reader yields (row number, values or None, reason)."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hizala.errors import DataError

TableRow = tuple[int, dict[str, Any] | None, str]
# A cell may hold a long document, but an unclosed quote must not swallow the whole file.
_CELL_LIMIT = 16 * 2**20
_BATCH = 256
# Columns that hold structure: in a CSV they are written as JSON.
_STRUCTURED = frozenset(
    [
        "messages",
        "conversations",
        "completions",
        "labels",
        "steps",
        "candidates",
        "responses",
        "scores",
        "ranks",
        "ranking",
    ]
)


def csv_rows(path: Path) -> Iterator[TableRow]:
    """Rows of a CSV or TSV with a header line; numbers are the file's lines, where the row starts.

    Raises:
        DataError: no usable header, or quoting so damaged that the next row cannot be found.
    """
    with path.open("rb") as plain:
        zipped = plain.read(2) == b"\x1f\x8b"
        plain.seek(0)
        binary: Any = gzip.GzipFile(fileobj=plain) if zipped else plain
        text = io.TextIOWrapper(binary, "utf-8-sig", errors="surrogateescape", newline="")
        tabs = path.name.removesuffix(".gz").lower().endswith(".tsv")
        reader = csv.reader(text, delimiter="\t" if tabs else ",", strict=True)
        old_limit = csv.field_size_limit(_CELL_LIMIT)
        try:
            header = next(reader, [])
            _check_header(header, path)
            start = reader.line_num + 1
            for cells in reader:
                if cells:
                    yield _csv_row(header, cells, start)
                start = reader.line_num + 1
        except csv.Error as error:
            raise DataError(
                f"damaged CSV: {error}", where=f"{path}:{reader.line_num}", fix="check the quotes of this row"
            ) from error
        finally:
            csv.field_size_limit(old_limit)


def _check_header(header: list[str], path: Path) -> None:
    names = [name.strip() for name in header]
    if not any(names) or "" in names:
        raise DataError("the header has a column without a name", where=f"{path}:1", fix="give a header line")
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(f"the header names '{twice}' twice", where=f"{path}:1", fix="name each column once")


def _csv_row(header: list[str], cells: list[str], line: int) -> TableRow:
    if len(cells) != len(header):
        return line, None, f"{len(cells)} cells under {len(header)} columns"
    values: dict[str, Any] = dict(zip((name.strip() for name in header), cells, strict=True))
    for name, cell in values.items():
        if name in _STRUCTURED and cell[:1] in ("[", "{"):
            try:
                values[name] = json.loads(cell)
            except (ValueError, RecursionError):
                return line, None, f"column '{name}' is not valid JSON"
    return line, values, ""


def parquet_rows(path: Path) -> Iterator[TableRow]:
    """Rows of a Parquet file by record batches."""
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path, memory_map=True) as table:
            number = 0
            for batch in table.iter_batches(batch_size=_BATCH):
                for value in batch.to_pylist():
                    number += 1
                    yield number, value, ""
    except pyarrow.ArrowException as error:
        raise _damaged("Parquet", path, error) from error


def arrow_rows(path: Path) -> Iterator[TableRow]:
    """Rows of an Arrow stream or file, as `datasets` saves them."""
    import pyarrow

    try:
        with pyarrow.memory_map(str(path)) as data:
            number = 0
            for batch in _arrow_batches(pyarrow, data):
                for start in range(0, batch.num_rows, _BATCH):
                    for value in batch.slice(start, _BATCH).to_pylist():
                        number += 1
                        yield number, value, ""
    except pyarrow.ArrowException as error:
        raise _damaged("Arrow", path, error) from error


def _arrow_batches(pyarrow: Any, data: Any) -> Iterator[Any]:
    if data.read(6) == b"ARROW1":
        data.seek(0)
        opened = pyarrow.ipc.open_file(data)
        yield from (opened.get_batch(i) for i in range(opened.num_record_batches))
    else:
        data.seek(0)
        yield from pyarrow.ipc.open_stream(data)


def _damaged(kind: str, path: Path, error: Exception) -> DataError:
    cause = str(error).split("\n")[0][:200]
    return DataError(f"damaged {kind} file: {cause}", where=str(path), fix="fetch or write the file again")
