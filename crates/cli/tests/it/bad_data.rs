//! Data files that cannot be trained on: every complaint names file and line.

use crate::harness::{Anyhow, Bad, Place, refuse};

/// Two good rows and a blank line of each kind before the row in question: it is line 5.
fn after_good_rows(place: &Place, row: &str) -> Anyhow {
    place.write("bad.jsonl", format!("{{\"input_ids\":[1,2,3]}}\n\n  \t\r\n{{\"input_ids\":[4,5]}}\n{row}\n{{}}\n"))
}

const DATA: &str = "--data bad.jsonl";

#[test]
fn rows_that_cannot_be_used() -> Anyhow {
    refuse(
        "llama-tied",
        2,
        &[
            Bad {
                name: "malformed JSON",
                prepare: |p| after_good_rows(p, r#"{"input_ids":[1,2,}"#),
                flags: DATA,
                says: &["bad.jsonl line 5:", "not a JSON value", "column 19"],
            },
            Bad {
                name: "cut JSON",
                prepare: |p| after_good_rows(p, r#"{"input_ids":[1,2"#),
                flags: DATA,
                says: &["bad.jsonl line 5:", "not a JSON value", "column"],
            },
            Bad {
                name: "not an object",
                prepare: |p| after_good_rows(p, "[1,2,3]"),
                flags: DATA,
                says: &["bad.jsonl line 5:", "expected a JSON object, found a list"],
            },
            Bad {
                name: "unknown columns",
                prepare: |p| after_good_rows(p, r#"{"question":"a","answer":"b"}"#),
                flags: DATA,
                says: &["bad.jsonl line 5:", "answer, question", "`input_ids`", "`prompt` and `completion`"],
            },
            Bad {
                name: "no trained token",
                prepare: |p| after_good_rows(p, r#"{"input_ids":[1,2,3],"labels":[1,-100,-100]}"#),
                flags: DATA,
                says: &["bad.jsonl line 5:", "no trained token", "-100"],
            },
            Bad {
                name: "one token",
                prepare: |p| after_good_rows(p, r#"{"input_ids":[1]}"#),
                flags: DATA,
                says: &["bad.jsonl line 5:", "no trained token"],
            },
            Bad {
                name: "no tokens",
                prepare: |p| after_good_rows(p, r#"{"input_ids":[]}"#),
                flags: DATA,
                says: &["bad.jsonl line 5:", "no trained token"],
            },
            Bad {
                name: "labels of another length",
                prepare: |p| after_good_rows(p, r#"{"input_ids":[1,2,3],"labels":[1,2]}"#),
                flags: DATA,
                says: &["bad.jsonl line 5:", "2 labels for 3 input_ids", "aligned"],
            },
            Bad {
                name: "id beyond the vocabulary",
                prepare: |p| after_good_rows(p, r#"{"input_ids":[1,64,3]}"#),
                flags: DATA,
                says: &["bad.jsonl line 5:", "`input_ids` holds 64", "vocabulary of 64"],
            },
            Bad {
                name: "label beyond the vocabulary",
                prepare: |p| after_good_rows(p, r#"{"input_ids":[1,2],"labels":[-100,70]}"#),
                flags: DATA,
                says: &["bad.jsonl line 5:", "`labels` holds 70", "vocabulary of 64"],
            },
            Bad {
                name: "negative id",
                prepare: |p| after_good_rows(p, r#"{"input_ids":[1,-100]}"#),
                flags: DATA,
                says: &["bad.jsonl line 5:", "`input_ids` holds -100", "vocabulary of 64"],
            },
            Bad {
                name: "id larger than any number",
                prepare: |p| after_good_rows(p, r#"{"input_ids":[1,99999999999999999999]}"#),
                flags: DATA,
                says: &["bad.jsonl line 5:", "`input_ids`"],
            },
            Bad {
                name: "text without a tokenizer",
                prepare: |p| after_good_rows(p, r#"{"text":"hello"}"#),
                flags: DATA,
                says: &["bad.jsonl line 5:", "tokenizer", "tokenizer.json"],
            },
            Bad {
                name: "row longer than the context",
                prepare: |p| after_good_rows(p, &long_row()),
                flags: DATA,
                says: &["bad.jsonl line 5:", "65 tokens", "context of 64", "--seq-len 64"],
            },
            Bad {
                name: "nothing trained in what is left of a cut row",
                prepare: |p| after_good_rows(p, r#"{"input_ids":[1,2,3,4],"labels":[-100,-100,-100,4]}"#),
                flags: "--data bad.jsonl --seq-len 3",
                says: &["bad.jsonl line 5:", "no trained token after cutting 4 tokens to 3"],
            },
            Bad {
                name: "evaluation data",
                prepare: |p| after_good_rows(p, "7"),
                flags: "--eval-data bad.jsonl",
                says: &["bad.jsonl line 5:", "expected a JSON object, found a number"],
            },
        ],
    )
}

#[test]
fn files_that_are_no_data() -> Anyhow {
    refuse(
        "llama-tied",
        2,
        &[
            Bad {
                name: "nothing there",
                prepare: |_| Ok(()),
                flags: "--data absent.jsonl",
                says: &["cannot read absent.jsonl", "No such file"],
            },
            Bad {
                name: "empty",
                prepare: |p| p.write("bad.jsonl", ""),
                flags: DATA,
                says: &["bad.jsonl holds no rows", "one JSON object a line"],
            },
            Bad {
                name: "blank lines only",
                prepare: |p| p.write("bad.jsonl", "\n  \n\r\n"),
                flags: DATA,
                says: &["bad.jsonl holds no rows"],
            },
            Bad {
                name: "a folder",
                prepare: |_| Ok(()),
                flags: "--data model",
                says: &["data model: it is a folder without train.jsonl, train.csv"],
            },
            Bad {
                name: "not UTF-8 within a text",
                prepare: |p| p.write("bad.jsonl", b"{\"input_ids\":[1,2]}\n{\"text\":\"caf\xe9\"}\n"),
                flags: "--data bad.jsonl --model llama.gguf",
                says: &["bad.jsonl line 2:", "UTF-8", "byte 13"],
            },
            Bad {
                name: "UTF-16",
                prepare: |p| p.write("bad.jsonl", b"\xff\xfe{\0}\0\n\0"),
                flags: DATA,
                says: &["bad.jsonl line 1:", "UTF-8"],
            },
            Bad {
                name: "one JSON array over several lines",
                prepare: |p| p.write("bad.jsonl", "[\n  {\"input_ids\": [1, 2]}\n]\n"),
                flags: DATA,
                says: &["bad.jsonl line 1:", "not a JSON value"],
            },
        ],
    )
}

fn long_row() -> String {
    format!("{{\"input_ids\":{:?}}}", [7; 65])
}

#[test]
fn a_long_row_is_cut_when_asked_to_and_it_is_said() -> Anyhow {
    let place = Place::with("llama-tied")?;
    place.write("long.jsonl", format!("{}\n{}\n", long_row(), r#"{"input_ids":[1,2,3]}"#))?;
    let outcome = place.trained("--data long.jsonl --seq-len 64 --steps 1 --no-shuffle")?;
    assert!(
        outcome.stderr.contains("1 rows of long.jsonl") && outcome.stderr.contains("--seq-len 64"),
        "{}",
        outcome.told()
    );
    assert_eq!(place.lines("out/metrics.jsonl")?[0]["tokens"], 67);
    let tokens = |flags: &str| place.eval(&format!("--model model --data long.jsonl {flags}"));
    assert_eq!(tokens("--seq-len 10")?["tokens"], 9 + 2);
    let outcome = place.run("eval --model model --data long.jsonl")?;
    assert_eq!(outcome.complaint(2, &["long.jsonl line 1:", "65 tokens", "context of 64", "--seq-len 64"]), None);
    Ok(())
}

#[test]
fn eval_refuses_the_same() -> Anyhow {
    let place = Place::with("llama-tied")?;
    after_good_rows(&place, r#"{"input_ids":[1,64,3]}"#)?;
    place.write("empty.jsonl", "")?;
    for (flags, says) in [
        ("--data bad.jsonl", &["bad.jsonl line 5:", "vocabulary of 64"][..]),
        ("--data empty.jsonl", &["empty.jsonl holds no rows"]),
        ("--data absent.jsonl", &["cannot read absent.jsonl"]),
        ("--data rows.jsonl --adapter absent", &["absent/adapter_config.json"]),
        ("--data rows.jsonl --seq-len 65", &["seq-len: 65", "context of 64"]),
    ] {
        let outcome = place.run(&format!("eval --json --model model {flags}"))?;
        assert_eq!(outcome.complaint(2, says), None);
    }
    Ok(())
}
