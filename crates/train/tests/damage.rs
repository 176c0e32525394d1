//! Damaged and hostile files of rows: a typed error that names file and line, or rows that can be trained on; never a panic.

use std::error::Error as StdError;
use std::path::Path;

use loract_models::{ModelSource, TokenBatch};
use loract_testkit::golden::folder;
use loract_train::Error;
use loract_train::data::{Dataset, Filling, Reader, RowSettings};

type Outcome = Result<(), Box<dyn StdError>>;

fn model() -> Result<ModelSource, loract_models::Error> {
    ModelSource::open(&folder("gguf").join("llama.gguf"))
}

/// Reads the bytes of a file and lays out what comes of them.
fn read(name: &str, bytes: &[u8], model: &ModelSource) -> Result<Dataset, Error> {
    let reader = Reader::new(model, None, &RowSettings::default())?;
    let data = Dataset::from_bytes(Path::new(name), bytes, &reader)?;
    for example in data.examples() {
        assert_eq!(example.row.ids.len(), example.row.labels.len());
        assert!(example.row.trained_tokens() > 0);
    }
    for filling in [Filling::Rows(2), Filling::Tokens(70)] {
        assert!(TokenBatch::new(&data.longest_rows(filling)).tokens() > 1);
    }
    Ok(data)
}

const ROWS: &str = r#"{"messages":[{"role":"user","content":"the user"},{"role":"assistant","content":"a 12"}]}
{"prompt":"one and ","completion":"the","choices":["the","on"]}
{"input_ids":[1,2,3],"labels":[-100,2,3]}
"#;

const TABLE: &str = "prompt,completion,choices\na,\"the, or\"\"on\"\"\",\nb,the,\"[\"\"the\"\",\"\"on\"\"]\"\n";

#[test]
fn cut_and_flipped_bytes_are_refused_or_give_rows() -> Outcome {
    let model = model()?;
    for (name, whole) in [("rows.jsonl", ROWS), ("rows.csv", TABLE)] {
        let whole = whole.as_bytes();
        let rows = read(name, whole, &model)?.examples().len();
        let check = |bytes: &[u8], what: String| match read(name, bytes, &model) {
            Ok(data) => assert!(data.examples().len() <= rows + 1, "{what}: {} rows", data.examples().len()),
            Err(error) => assert!(error.to_string().contains(name), "{what}: {error}"),
        };
        for cut in 0..whole.len() {
            check(&whole[..cut], format!("cut at {cut}"));
            for flip in [0x01, 0x80, 0xff] {
                let mut bytes = whole.to_vec();
                bytes[cut] ^= flip;
                check(&bytes, format!("byte {cut} flipped by {flip:#x}"));
            }
        }
    }
    Ok(())
}

#[test]
fn nonsense_is_named_with_its_line() -> Outcome {
    let model = model()?;
    let deep = format!("{{\"text\":{}1{}}}", "[".repeat(100_000), "]".repeat(100_000));
    for (name, text, want) in [
        ("rows.jsonl", "{\"text\":\"a\"}\n\u{0}", "rows.jsonl line 2: not a JSON value"),
        ("rows.jsonl", deep.as_str(), "rows.jsonl line 1: not a JSON value: recursion limit exceeded"),
        ("rows.jsonl", "{\"input_ids\":[1e999]}", "rows.jsonl line 1: not a JSON value: number out of range"),
        ("rows.jsonl", "{\"input_ids\":[18446744073709551616]}", "expected whole numbers"),
        ("rows.csv", "text,text\na,b\n", "rows.csv line 1: column `text` is there twice"),
    ] {
        let got = read(name, text.as_bytes(), &model).err().map(|e| e.to_string()).unwrap_or_default();
        assert!(got.contains(want), "{name}: {got:?} lacks {want:?}");
    }
    Ok(())
}
