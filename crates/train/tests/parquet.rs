//! Parquet files by pyarrow (`golden/make_parquet.py`) against the JSONL files of the same rows.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use loract_models::{ChatTemplate, Row, Tokenizer};
use loract_testkit::golden::folder;
use loract_train::data::{Dataset, Reader, TrainOn};

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

/// A folder that is removed afterwards.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Outcome<Self> {
        let path = std::env::temp_dir().join(format!("loract-parquet-{}-{name}", std::process::id()));
        fs::create_dir_all(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A tokenizer and a template that prints calls of tools.
fn qwen(scratch: &Path) -> Outcome<(Tokenizer, ChatTemplate)> {
    let golden = folder("chat");
    fs::copy(golden.join("tokenizer.json"), scratch.join("tokenizer.json"))?;
    fs::copy(golden.join("qwen3/tokenizer_config.json"), scratch.join("tokenizer_config.json"))?;
    let tokenizer = Tokenizer::from_file(&scratch.join("tokenizer.json"))?;
    let template = ChatTemplate::new(&fs::read_to_string(golden.join("qwen3/chat_template.jinja"))?, &tokenizer)?;
    Ok((tokenizer, template))
}

fn reader(tokenizer: &Tokenizer, template: ChatTemplate, train_on: TrainOn) -> Reader<'_> {
    let vocabulary = tokenizer.vocab_size();
    Reader {
        tokenizer: Some(tokenizer),
        template: Some(Ok(template)),
        train_on,
        vocabulary,
        context: 1 << 20,
        cut_to: None,
    }
}

/// The rows of a file with all their choices; the numbers of the rows must be 1, 2, 3….
fn rows(path: &Path, reader: &Reader<'_>) -> Outcome<Vec<(Row, Vec<Row>)>> {
    let data = Dataset::read(path, reader).map_err(|e| format!("{}: {e}", path.display()))?;
    let row = |(index, example): (usize, &loract_train::data::Example)| {
        assert_eq!(example.line, index + 1, "{}", path.display());
        let choices = example.choices.iter().flat_map(|choices| choices.rows.clone());
        (example.row.clone(), choices.collect())
    };
    Ok(data.examples().iter().enumerate().map(row).collect())
}

#[test]
fn every_variant_gives_the_tokens_and_masks_of_its_jsonl() -> Outcome {
    let scratch = Scratch::new("twins")?;
    let (tokenizer, template) = qwen(&scratch.0)?;
    let golden = folder("parquet");
    let mut compared = BTreeMap::<String, usize>::new();
    for train_on in [TrainOn::Assistant, TrainOn::All] {
        let reader = reader(&tokenizer, template.clone(), train_on);
        for entry in fs::read_dir(&golden)? {
            let path = entry?.path();
            let name = path.file_stem().and_then(|stem| stem.to_str()).ok_or("a name")?;
            let (format, _) = name.split_once('-').unwrap_or((name, ""));
            let twin = golden.join(format!("{format}.jsonl"));
            if path.extension().is_none_or(|ending| ending != "parquet") || !twin.exists() {
                continue;
            }
            let (want, got) = (rows(&twin, &reader)?, rows(&path, &reader)?);
            assert_eq!(want.len(), 20, "{name}");
            for (index, (want, got)) in want.iter().zip(&got).enumerate() {
                assert_eq!(want, got, "{name} row {}", index + 1);
            }
            assert_eq!(want.len(), got.len(), "{name}");
            *compared.entry(format.to_owned()).or_default() += 1;
        }
    }
    let want = [("completion", 10), ("input_ids", 20), ("messages", 10), ("mixed", 10), ("text", 22)];
    assert_eq!(compared, want.map(|(name, count)| (name.to_owned(), count)).into());
    Ok(())
}

#[test]
fn fields_that_are_null_in_every_row_are_not_there() -> Outcome {
    let scratch = Scratch::new("nulls")?;
    let (tokenizer, _) = qwen(&scratch.0)?;
    // It would print a field that is there.
    let template =
        "{% for m in messages %}{{ m.role }}:{{ m.content }}{{ 'weight' in m }}{{ tools }}<|im_end|>{% endfor %}";
    let reader = reader(&tokenizer, ChatTemplate::new(template, &tokenizer)?, TrainOn::All);
    let text = |row: &Row| tokenizer.decode(&row.ids).map_err(|e| e.to_string());
    let rows = rows(&folder("parquet").join("nulls.parquet"), &reader)?;
    assert_eq!(text(&rows[0].0)?, "user:aFalseNone<|im_end|>assistant:bFalseNone<|im_end|>");
    assert_eq!(text(&rows[1].0)?, "user:cFalseNone<|im_end|>assistant:FalseNone<|im_end|>");
    Ok(())
}

#[test]
fn a_page_of_several_zstandard_blocks_is_read() -> Outcome {
    let scratch = Scratch::new("long")?;
    let (tokenizer, template) = qwen(&scratch.0)?;
    let numbers: Vec<String> = (0..50_000_usize).map(|i| (i * i % (1009 + i / 8000)).to_string()).collect();
    let text = numbers.join(" ");
    assert!(text.len() > 128 << 10, "one block");
    let twin = scratch.0.join("long.jsonl");
    fs::write(&twin, serde_json::json!({ "text": text }).to_string())?;
    let reader = reader(&tokenizer, template, TrainOn::All);
    assert!(rows(&twin, &reader)? == rows(&folder("parquet").join("long.parquet"), &reader)?);
    Ok(())
}

#[test]
fn what_cannot_be_used_is_named() -> Outcome {
    let scratch = Scratch::new("bad")?;
    let (tokenizer, template) = qwen(&scratch.0)?;
    let reader = reader(&tokenizer, template, TrainOn::Assistant);
    for (name, says) in [
        (
            "timestamp",
            &["data ", "bad-timestamp.parquet: column `text` is of type INT64 (Timestamp", "leave the column out"][..],
        ),
        ("binary", &["column `text` is of type BYTE_ARRAY; expected texts"]),
        ("map", &["column `messages` is a map, or holds one"]),
        ("image", &["column `messages.list.element.content.list.element.image.bytes` is of type BYTE_ARRAY"]),
        ("gzip", &["column `text`: compressed with GZIP", "Snappy", "write_table"]),
        ("columns", &["bad-columns.parquet row 1: columns answer, question are none of: `input_ids`"]),
        ("null-text", &["bad-null-text.parquet row 2: `text` is null, expected a text"]),
        ("null-id", &["row 1: `input_ids` holds null, expected whole numbers"]),
        ("label", &["row 1: column `label`: did you mean `labels`?"]),
        ("empty", &["bad-empty.parquet holds no rows"]),
        ("utf8", &["bad-utf8.parquet row 1: column `text`: not UTF-8 (byte 4 of the text)"]),
        ("conversation", &["bad-conversation.parquet row 2: message 1 of `messages`: it has no `content`"]),
    ] {
        let path = folder("parquet").join(format!("bad-{name}.parquet"));
        let got = Dataset::read(&path, &reader).err().ok_or_else(|| format!("{name} was read"))?;
        let told = got.to_string();
        assert!(got.is_bad_input(), "{told}");
        for words in says {
            assert!(told.contains(words), "{name}: {told:?} lacks {words:?}");
        }
    }
    Ok(())
}

/// Damage is an error that names the file, or is in what is not read; it never ends the program.
#[test]
fn damaged_files_are_errors() -> Outcome {
    let scratch = Scratch::new("damage")?;
    let (tokenizer, template) = qwen(&scratch.0)?;
    let reader = reader(&tokenizer, template, TrainOn::All);
    let file = scratch.0.join("damaged.parquet");
    let read = |bytes: &[u8]| -> Outcome<Option<String>> {
        fs::write(&file, bytes)?;
        let told = Dataset::read(&file, &reader).err().map(|e| e.to_string());
        assert!(told.as_ref().is_none_or(|told| told.contains("damaged.parquet")), "{told:?}");
        Ok(told)
    };
    for name in [
        "messages-zstd-v2",
        "messages-snappy-v1",
        "input_ids-delta",
        "input_ids-plain-v1",
        "text-delta",
        "text-zstd-v1",
    ] {
        let whole = fs::read(folder("parquet").join(format!("{name}.parquet")))?;
        assert_eq!(read(&whole)?, None);
        for end in (0..whole.len()).step_by(whole.len() / 20) {
            let told = read(&whole[..end])?.ok_or_else(|| format!("{name}: {end} bytes were enough"))?;
            assert!(told.contains("not a whole Parquet file"), "{told}");
        }
        let mut refused = 0;
        for at in (0..whole.len()).step_by(whole.len() / FLIPS) {
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << (at % 8);
            refused += usize::from(read(&bytes)?.is_some());
        }
        assert!(refused > FLIPS / 10, "{name}: {refused}");
    }
    // A page with a checksum tells of a letter that is another.
    let mut bytes = fs::read(folder("parquet").join("text-snappy-v1.parquet"))?;
    let at = bytes.windows(4).position(|four| four == b"fish").ok_or("no fish")?;
    bytes[at] = b'w';
    let told = read(&bytes)?.unwrap_or_default();
    assert!(told.contains("row group 1, column `text` cannot be decoded: ") && told.contains("checksum"), "{told}");
    Ok(())
}

/// Bits that are turned in each file, spread over it.
const FLIPS: usize = 250;
