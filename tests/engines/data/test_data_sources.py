"""Rows from every kind of file, streamed; broken rows keep their line and reason."""

from __future__ import annotations

import gzip
import hashlib
import json
import socket
from pathlib import Path
from typing import Any

import pytest

from hizala.engines.data import sources
from hizala.errors import DataError

ROWS = [{"prompt": f"soru {i} ığüşöçİ", "chosen": f"iyi {i}", "rejected": f"kötü {i}"} for i in range(700)]


def written(path: Path, data: str | bytes) -> Path:
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


def lines(rows: list[Any]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def write_any(folder: Path, kind: str) -> Path:
    import pyarrow
    import pyarrow.csv
    import pyarrow.feather
    import pyarrow.parquet

    table = pyarrow.Table.from_pylist(ROWS)
    if kind == "jsonl":
        return written(folder / "d.jsonl", lines(ROWS))
    if kind == "jsonl.gz":
        return written(folder / "d.jsonl.gz", gzip.compress(lines(ROWS).encode()))
    if kind == "json":
        return written(folder / "d.json", json.dumps(ROWS, indent=1))
    if kind == "parquet":
        pyarrow.parquet.write_table(table, folder / "d.parquet", row_group_size=300)
        return folder / "d.parquet"
    if kind == "csv":
        pyarrow.csv.write_csv(table, folder / "d.csv")
        return folder / "d.csv"
    if kind == "arrow":
        pyarrow.feather.write_feather(table, folder / "d.arrow")
        return folder / "d.arrow"
    (folder / "shards").mkdir()
    for i, part in enumerate((ROWS[:400], ROWS[400:])):
        written(folder / "shards" / f"part-{i}.jsonl", lines(part))
    return folder / "shards"


@pytest.mark.parametrize("kind", ["jsonl", "jsonl.gz", "json", "parquet", "csv", "arrow", "shards"])
def test_the_same_rows_come_from_every_kind_of_file(tmp_path: Path, kind: str) -> None:
    path = write_any(tmp_path, kind)
    assert [row for _, row in sources.read_rows(path)] == ROWS
    first = {"json": 2, "csv": 2}.get(kind, 1)
    numbers = [line for line, _ in sources.read_rows(path)]
    assert numbers[0] == first
    assert numbers == sorted(set(numbers))


def test_a_saved_dataset_is_read_without_its_library(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    one = datasets.Dataset.from_list(ROWS)
    one.save_to_disk(str(tmp_path / "one"))
    assert [row for _, row in sources.read_rows(tmp_path / "one")] == ROWS
    datasets.DatasetDict({"eval": one, "test": one.select(range(3))}).save_to_disk(str(tmp_path / "many"))
    assert len(list(sources.read_rows(f"{tmp_path}/many?split=test"))) == 3
    with pytest.raises(DataError, match="several splits") as error:
        sources.resolve(tmp_path / "many")
    assert "eval, test" in error.value.fix
    with pytest.raises(DataError, match="did you mean 'test'"):
        sources.resolve(f"{tmp_path}/many?split=tst")


def test_line_separators_inside_text_do_not_cut_rows(tmp_path: Path) -> None:
    text = "bir\u2028iki\u0085üç\u2029dört\x0bbeş\x1ealtı\ryedi"
    row = {"prompt": text, "response": text}
    data = json.dumps(row, ensure_ascii=False) + "\r\n"
    path = written(tmp_path / "d.jsonl", data * 3)
    assert list(sources.read_rows(path)) == [(1, row), (2, row), (3, row)]


def test_a_byte_order_mark_and_blank_lines_are_no_rows(tmp_path: Path) -> None:
    path = written(tmp_path / "d.jsonl", b'\xef\xbb\xbf{"a": 1}\n\n  \n{"a": 2}')
    assert list(sources.read_rows(path)) == [(1, {"a": 1}), (4, {"a": 2})]
    path = written(tmp_path / "d.json", b'\xef\xbb\xbf [{"a": 1}, {"a": 2}]\n')
    assert [row for _, row in sources.read_rows(path)] == [{"a": 1}, {"a": 2}]


BROKEN: dict[str, tuple[bytes, str]] = {
    "invalid utf-8": (b'{"a": "\xff"}', "invalid UTF-8 at byte 8"),
    "invalid json": (b'{"a": }', "invalid JSON: Expecting value at column 7"),
    "cut": (b'{"a": "b', "Unterminated string"),
    "array": (b"[1, 2]", "not an object but an array"),
    "number": (b"12", "not an object but a number"),
    "null": (b"null", "not an object but null"),
    "nul byte": (b'{"a": "x\x00y"}', "NUL byte"),
    "escaped nul": (b'{"a": ["x\\u0000y"]}', "NUL character"),
    "lone surrogate": (b'{"a": {"b": "\\ud83d"}}', "lone surrogate"),
    "nested": (b'{"a": ' + b"[" * 200_000 + b"]" * 200_000 + b"}", "nested too deeply"),
    "endless number": (b'{"a": ' + b"9" * 5000 + b"}", "invalid JSON"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_row_has_a_line_and_a_reason(tmp_path: Path, case: str) -> None:
    raw, reason = BROKEN[case]
    path = written(tmp_path / "d.jsonl", b'{"a": 1}\n' + raw + b'\n{"a": 3}\n')
    told: list[tuple[int, str]] = []
    rows = list(sources.read_rows(path, on_broken=lambda line, why: told.append((line, why))))
    assert rows == [(1, {"a": 1}), (3, {"a": 3})]
    assert [line for line, _ in told] == [2]
    assert reason in told[0][1]
    with pytest.raises(DataError, match=r"d\.jsonl:2"):
        list(sources.read_rows(path))


def test_an_endless_line_is_never_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "MAX_ROW_BYTES", 2**20)
    long = b'{"a": "' + b"x" * (5 * 2**20) + b'"}\n'
    path = written(tmp_path / "d.jsonl", b'{"a": 1}\n' + long + b'{"a": 3}\n')
    rows = list(sources.resolve(path).rows())
    assert [(row.line, row.reason) for row in rows] == [(1, ""), (2, "longer than 1 MiB"), (3, "")]


@pytest.mark.parametrize("cut", [1, 2, 5, 9])
def test_a_json_array_is_the_same_wherever_the_blocks_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cut: int
) -> None:
    monkeypatch.setattr(sources, "_BLOCK", cut)
    rows = [{"a": 12345, "b": 'ğ]}{["\\'}, {"a": [1, {"c": None}]}, {"n": -1.5e3}]
    path = written(tmp_path / "d.json", json.dumps(rows, ensure_ascii=False, indent=2))
    assert list(sources.read_rows(path)) == [(2, rows[0]), (6, rows[1]), (14, rows[2])]


def test_csv_cells_may_hold_lines_quotes_and_structure(tmp_path: Path) -> None:
    text = 'prompt,labels\r\n"satır 1\nsatır 2, ""alıntı""","[true, false]"\r\nkısa,[1]\r\n'
    assert list(sources.read_rows(written(tmp_path / "d.csv", text))) == [
        (2, {"prompt": 'satır 1\nsatır 2, "alıntı"', "labels": [True, False]}),
        (4, {"prompt": "kısa", "labels": [1]}),
    ]
    tabs = written(tmp_path / "d.tsv.gz", gzip.compress(b"a\tb\n1,5\t2\n"))
    assert list(sources.read_rows(tabs)) == [(2, {"a": "1,5", "b": "2"})]


def test_broken_csv_rows_are_told(tmp_path: Path) -> None:
    path = written(tmp_path / "d.csv", b"prompt,labels\na,b,c\nd\n\xff,x\ne\x00,x\nf,[1\ng,h\n")
    told: list[tuple[int, str]] = []
    rows = list(sources.read_rows(path, on_broken=lambda line, why: told.append((line, why))))
    assert rows == [(7, {"prompt": "g", "labels": "h"})]
    assert [line for line, _ in told] == [2, 3, 4, 5, 6]
    assert [why.split(" ")[0] for _, why in told] == ["3", "1", "invalid", "NUL", "column"]


def test_the_digest_is_that_of_the_bytes(tmp_path: Path) -> None:
    path = write_any(tmp_path, "jsonl.gz")
    assert sources.resolve(path).digest() == hashlib.sha256(path.read_bytes()).hexdigest()
    shards = sources.resolve(write_any(tmp_path, "shards")).digest()
    (tmp_path / "shards" / "part-1.jsonl").write_text(lines(ROWS[:1]), "utf-8")
    assert sources.resolve(tmp_path / "shards").digest() != shards


def test_content_outranks_the_suffix(tmp_path: Path) -> None:
    assert sources.resolve(written(tmp_path / "a.jsonl", gzip.compress(lines(ROWS).encode()))).kind == "jsonl"
    assert sources.resolve(written(tmp_path / "b.jsonl", json.dumps(ROWS))).kind == "json"
    assert sources.resolve(written(tmp_path / "c.json", lines(ROWS))).kind == "jsonl"
    assert sources.resolve(written(tmp_path / "d.txt", lines(ROWS))).kind == "jsonl"
    assert sources.resolve(written(tmp_path / "e.dat", "a,b\n1,2\n"), kind="csv").kind == "csv"


def test_without_a_network_a_hub_id_fails_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HF_HUB_OFFLINE", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    asked: list[str] = []

    def lookup(host: str, port: int) -> None:
        asked.append(host)
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    monkeypatch.setenv("HF_ENDPOINT", "https://hub.example:8443")
    with pytest.raises(DataError, match=r"hub\.example cannot be reached"):
        next(sources.resolve("veri/cift").rows())
    assert asked == ["hub.example"]


def test_a_hub_id_without_network_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    source = sources.resolve("nobody/no-such-dataset")
    assert (source.kind, source.name) == ("hub", "no-such-dataset")
    with pytest.raises(DataError, match="hub dataset cannot be loaded") as error:
        next(source.rows())
    assert "local file" in error.value.fix
