"""Make golden/parquet: Parquet files by pyarrow, each with the JSONL file of the rows that it was made from.

    pip install -r requirements.txt
    python make_parquet.py

Version: pyarrow 26.0.1. Written next to this script, in parquet/:

  FORMAT.jsonl             the rows; a field that a row does not have is not there
  FORMAT-VARIANT.parquet   the same rows, those fields null, with small pages and groups of rows (`VARIANTS`)
  bad-WHAT.parquet         columns that cannot be used

Row FORMATs: `text`, `completion`, `messages`, `input_ids`, and `mixed`, whose rows are of several formats.
"""

import datetime
import decimal
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

HERE = Path(__file__).resolve().parent / "parquet"
WORDS = "the sea is full of naïve fish; 12 °C, \U0001f600 and\nno \"more\" <|im_end|>".split(" ")


def words(row, count):
    return " ".join(WORDS[(row * 7 + i * (1 + row % 3)) % len(WORDS)] for i in range(count))


def turn(role, content, **more):
    return {"role": role, "content": content, **more}


def text(row):
    # One row is longer than a page; some are as the one before.
    return {"text": words(row - row % 5 // 4, 150 if row == 11 else 3 + row % 9), "id": row}


def completion(row):
    out = {"prompt": words(row, 4), "completion": " " + words(row + 1, 2), "source": f"part {row % 2}"}
    if row % 3 == 0:
        out["choices"] = [out["completion"], " no", " yes"][: 1 + row % 4]
    return out


def messages(row):
    turns = [turn("user", words(row, 3 + row)), turn("assistant", words(row + 3, 2))]
    if row % 4 == 1:
        turns = [turn("system", "Be brief.")] + turns + [turn("user", ""), turn("assistant", words(row, 40))]
    if row % 4 == 2:
        call = {"type": "function", "function": {"name": "weather", "arguments": {"place": words(row, 2), "days": row}}}
        other = {"type": "function", "function": {"name": "time", "arguments": {"zones": [1.5, -2.0], "summer": row == 6}}}
        turns[1:1] = [{"role": "assistant", "tool_calls": [call, other]}, turn("tool", "12 °C")]
    out = {"messages": turns}
    if row % 4 == 2:
        out["tools"] = json.dumps([{"type": "function", "function": {"name": "weather"}}])
    return out


def input_ids(row):
    ids = [(row * 31 + i * 17) % 300 for i in range(2 + (90 if row == 7 else row))]
    out = {"input_ids": ids}
    if row % 3:
        out["labels"] = [-100 if i < len(ids) // 2 else id for i, id in enumerate(ids)]
    return out


def mixed(row):
    return [text, completion, messages, input_ids][row % 4](row // 4 * 4 + 1)


# Name → how a file is written. Every format in every variant.
VARIANTS = {
    "plain-v1": dict(compression="none", use_dictionary=False, data_page_version="1.0"),
    "snappy-v1": dict(compression="snappy", use_dictionary=True, data_page_version="1.0", write_page_checksum=True),
    "snappy-v2": dict(compression="snappy", use_dictionary=False, data_page_version="2.0"),
    "zstd-v1": dict(compression="zstd", use_dictionary=True, data_page_version="1.0", use_content_defined_chunking=True,
                    write_page_index=True),
    "zstd-v2": dict(compression="zstd", compression_level=19, use_dictionary=True, data_page_version="2.0"),
}
# Of one format only: name → how the table is changed, how it is written.
DELTA = dict(use_dictionary=False, data_page_version="2.0", compression="none")
SPECIAL = {
    "text-delta": (None, DELTA | dict(column_encoding={"text": "DELTA_BYTE_ARRAY", "id": "DELTA_BINARY_PACKED"})),
    "text-delta-length": (None, DELTA | dict(column_encoding={"text": "DELTA_LENGTH_BYTE_ARRAY", "id": "PLAIN"})),
    "input_ids-delta": (None, DELTA | dict(column_encoding="DELTA_BINARY_PACKED")),
    "input_ids-split": (None, DELTA | dict(column_encoding="BYTE_STREAM_SPLIT")),
    "input_ids-old-lists": (None, DELTA | dict(use_compliant_nested_type=False)),
    "input_ids-int32": (pa.schema([("input_ids", pa.large_list(pa.int32())), ("labels", pa.list_(pa.int16()))]), {}),
    "input_ids-unsigned": (pa.schema([("input_ids", pa.list_(pa.uint16())), ("labels", pa.list_(pa.int64()))]), {}),
    "text-large": (pa.schema([("text", pa.large_string()), ("id", pa.float16())]), {}),
    "text-category": (pa.schema([("text", pa.dictionary(pa.int8(), pa.string())), ("id", pa.uint64())]), {}),
    "text-required": (pa.schema([pa.field("text", pa.string(), nullable=False), ("id", pa.int8())]), {}),
}
SMALL = dict(row_group_size=9, data_page_size=128, dictionary_pagesize_limit=1 << 20, write_batch_size=4)


def write(name, table, **how):
    pq.write_table(table, HERE / f"{name}.parquet", **(SMALL | how))


def main():
    HERE.mkdir(exist_ok=True)
    for old in HERE.iterdir():
        old.unlink()
    tables = {}
    for make in [text, completion, messages, input_ids, mixed]:
        name, rows = make.__name__, [make(row) for row in range(20)]
        (HERE / f"{name}.jsonl").write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
        # All columns from the start, whichever rows have them.
        keys = dict.fromkeys(key for row in rows for key in row)
        tables[name] = pa.table({key: pa.array([row.get(key) for row in rows]) for key in keys})
        for variant, how in VARIANTS.items():
            write(f"{name}-{variant}", tables[name], **how)
    # Columns that no row is made of may be of any type.
    when = datetime.datetime(2026, 1, 2, 3, 4, 5)
    more = {"when": when, "price": decimal.Decimal("1.25"), "blob": b"\xff\x00", "day": when.date(), "map": [("a", 1)]}
    types = [pa.timestamp("us", "UTC"), pa.decimal128(9, 2), pa.binary(), pa.date32(), pa.map_(pa.string(), pa.int64())]
    table = tables["text"]
    for (name, value), type_ in zip(more.items(), types):
        table = table.append_column(name, pa.array([value] * table.num_rows, type_))
    write("text-metadata", table)
    # A field of structs that is null in every row, as the hub's data sets have them.
    conversations = [[turn(**message, weight=None) for message in row] for row in [
        [turn("user", "a"), turn("assistant", "b")], [turn("user", "c"), turn("assistant", "")]]]
    write("nulls", pa.table({"messages": conversations, "tools": pa.nulls(2)}))
    for name, (schema, how) in SPECIAL.items():
        table = tables[name.split("-")[0]]
        write(name, table if schema is None else table.cast(schema), **how)
    # What a decoder of Zstandard meets in a page of more than one block; the text is made anew by the test.
    long = " ".join(str(i * i % (1009 + i // 8000)) for i in range(50_000))
    write("long", pa.table({"text": [long]}), compression="zstd", compression_level=22, data_page_size=1 << 20)

    write("bad-timestamp", pa.table({"text": pa.array([when])}))
    write("bad-binary", pa.table({"text": pa.array([b"abc"])}))
    write("bad-map", pa.table({"messages": pa.array([[[("role", "user")]]], pa.list_(pa.map_(pa.string(), pa.string())))}))
    image = [{"role": "user", "content": [{"type": "image", "image": {"bytes": b"\x89PNG"}}]}]
    write("bad-image", pa.table({"messages": pa.array([image])}))
    write("bad-gzip", pa.table({"text": ["a"]}), compression="gzip")
    write("bad-columns", pa.table({"question": ["a"], "answer": ["b"]}))
    write("bad-null-text", pa.table({"text": pa.array(["a", None])}))
    write("bad-null-id", pa.table({"input_ids": pa.array([[1, 2, None]])}))
    write("bad-label", pa.table({"input_ids": pa.array([[1, 2]]), "label": pa.array([[1, 2]])}))
    write("bad-empty", pa.table({"text": pa.array([], pa.string())}))
    latin = pa.array([b"caf\xe9"], pa.binary()).view(pa.string())
    write("bad-utf8", pa.table({"text": latin}))
    write("bad-conversation", pa.table({"messages": [[turn("user", "a"), turn("assistant", "b")], [{"role": "user", "content": None}]]}))


if __name__ == "__main__":
    main()
