//! Rows of text, with the tokenizer of the golden GGUF model: lower-case words, digits, spaces.

use crate::harness::{Anyhow, Place};

const MODEL: &str = "--model llama.gguf";

#[test]
fn prompt_and_completion_train_the_completion_only() -> Anyhow {
    let place = Place::with_tokenizer()?;
    place.write("one.jsonl", r#"{"prompt":"the user and","completion":" 7"}"#)?;
    place.write("longer.jsonl", r#"{"prompt":"the user and the user","completion":" 7"}"#)?;
    place.write("text.jsonl", r#"{"text":"the user and 7"}"#)?;
    let tokens =
        |data: &str| -> Anyhow<Option<u64>> { Ok(place.eval(&format!("{MODEL} --data {data}"))?["tokens"].as_u64()) };
    // " ", "7" and the end token; a longer prompt adds none.
    assert_eq!(tokens("one.jsonl")?, Some(3));
    assert_eq!(tokens("longer.jsonl")?, Some(3));
    // All of a text but its first token.
    assert!(tokens("text.jsonl")? > Some(3));
    Ok(())
}

#[test]
fn every_kind_of_row_trains_in_one_file() -> Anyhow {
    let place = Place::with_tokenizer()?;
    place.write(
        "mixed.jsonl",
        concat!(
            "{\"prompt\": \"the user\", \"completion\": \" and us\"}\n",
            "{\"text\": \"a user in the sea 123\", \"source\": \"metadata\"}\r\n",
            "\n",
            "{\"input_ids\": [5, 6, 7, 8]}\n",
            "{\"prompt\": \"1 2\", \"completion\": \" 3\", \"choices\": [\" 4\", \" 3\"]}",
        ),
    )?;
    place.trained(&format!("{MODEL} --data mixed.jsonl --no-shuffle --batch-size 4 --steps 12 --lr 1e-2"))?;
    let losses = place.losses("out")?;
    assert!(losses[11] < 0.8 * losses[0], "{losses:?}");
    let got = place.eval(&format!("{MODEL} --adapter out --data mixed.jsonl"))?;
    assert_eq!(got["rows"], 4);
    Ok(())
}

#[test]
fn choices_give_accuracy() -> Anyhow {
    let place = Place::with_tokenizer()?;
    let row =
        |right: &str| format!("{{\"prompt\":\"the\",\"completion\":\"{right}\",\"choices\":[\" 1\",\" 2\",\" 3\"]}}");
    place.write("all.jsonl", [" 1", " 2", " 3"].map(row).join("\n"))?;
    let got = place.eval(&format!("{MODEL} --data all.jsonl"))?;
    // The same prompt and choices: one answer is the likeliest, whichever is called right.
    assert_eq!(got["accuracy"].as_f64(), Some(1.0 / 3.0));
    assert_eq!((&got["rows"], &got["tokens"]), (&3.into(), &9.into()));
    // A model that has learnt one of them gets it right.
    place.write("two.jsonl", row(" 2"))?;
    place.trained(&format!("{MODEL} --data two.jsonl --batch-size 1 --steps 15 --lr 2e-2 --eval-data two.jsonl"))?;
    assert_eq!(place.eval(&format!("{MODEL} --adapter out --data two.jsonl"))?["accuracy"], 1.0);
    let last = place.lines("out/metrics.jsonl")?.pop().ok_or("lines")?;
    assert_eq!(last["eval_accuracy"], 1.0, "{last}");
    // Without choices there is nothing to be accurate about.
    place.write("none.jsonl", r#"{"prompt":"the","completion":" 1"}"#)?;
    assert_eq!(place.eval(&format!("{MODEL} --data none.jsonl"))?.get("accuracy"), None);
    Ok(())
}

#[test]
fn bad_text_rows_are_named() -> Anyhow {
    for (row, says) in [
        (r#"{"prompt":"a","completion":" 1","choices":[" 2"]}"#, &["\" 1\"", "not among its choices"][..]),
        (r#"{"prompt":"a","completion":7}"#, &["`completion` is a number, expected a text"]),
        (r#"{"prompt":"a"}"#, &["columns prompt", "`prompt` and `completion`"]),
        (r#"{"text":null}"#, &["`text` is null, expected a text"]),
        (r#"{"prompt":"a","completion":" 1","choices":"b"}"#, &["`choices` is a text, expected a list"]),
    ] {
        let place = Place::with_tokenizer()?;
        place.write("bad.jsonl", format!("{{\"text\":\"a user\"}}\n{row}\n"))?;
        for words in
            [crate::harness::train("--model llama.gguf --data bad.jsonl"), format!("eval {MODEL} --data bad.jsonl")]
        {
            let outcome = place.run(&words)?;
            assert_eq!(outcome.complaint(2, &[&["bad.jsonl line 2"], says].concat()), None, "{row}");
        }
        assert!(!place.path("out").exists());
    }
    Ok(())
}

#[test]
fn a_tokenizer_with_more_tokens_than_the_model_is_refused_at_the_row() -> Anyhow {
    let place = Place::with("llama-tied")?;
    place.write(
        "model/tokenizer.json",
        serde_json::json!({
            "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
            "pre_tokenizer": {"type": "Whitespace"}, "post_processor": null, "decoder": null,
            "model": {"type": "WordLevel", "vocab": {"small": 3, "large": 64}, "unk_token": "small"},
        })
        .to_string(),
    )?;
    place.write("text.jsonl", "{\"text\":\"small small\"}\n{\"text\":\"small large\"}\n")?;
    let outcome = place.train("--data text.jsonl")?;
    assert_eq!(outcome.complaint(2, &["text.jsonl line 2", "64", "vocabulary of 64"]), None);
    assert!(!place.path("out").exists());
    Ok(())
}
