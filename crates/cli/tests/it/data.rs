//! Users' data as it is: conversations, folders, CSV, own templates, and `loract inspect data`.

use serde_json::json;

use crate::harness::{Anyhow, Place, golden, train};

const MODEL: &str = "--model llama.gguf";

/// Two conversations in the golden tokenizer's letters.
fn with_conversations() -> Anyhow<Place> {
    let place = Place::with_tokenizer()?;
    let turn = |role: &str, content: &str| json!({"role": role, "content": content});
    let two = [turn("user", "the user"), turn("assistant", "and us"), turn("user", "a sea"), turn("assistant", "no 7")];
    place.write("chat.jsonl", format!("{}\n{}\n", json!({ "messages": two }), json!({ "messages": two[..2] })))?;
    Ok(place)
}

#[test]
fn conversations_show_what_is_trained_of_them() -> Anyhow {
    let place = with_conversations()?;
    let shown = |flags: &str| -> Anyhow<String> {
        let outcome = place.run(&format!("inspect data {MODEL} --data chat.jsonl {flags}"))?;
        assert_eq!(outcome.code, Some(0), "{}", outcome.told());
        Ok(outcome.stdout)
    };
    let user = |text: &str| format!("<|im_start|>user\n{text}<|im_end|>\n<|im_start|>assistant\n");
    let (one, two) = (user("the user"), user("a sea"));
    for (flags, first, second) in
        [("", "«and us<|im_end|>»", "«no 7<|im_end|>»"), ("--train-on last", "and us<|im_end|>", "«no 7<|im_end|>»")]
    {
        let all = shown(flags)?;
        assert!(all.contains(&format!("{one}{first}\n{two}{second}\n")), "{flags}: {all}");
        assert!(all.contains(&format!("{one}«and us<|im_end|>»\n")), "{flags}: {all}");
    }
    let all = shown("--train-on all --rows 1")?;
    assert!(all.contains("line 1: ") && !all.contains("line 2: ") && all.contains("<|im_start|>«user"), "{all}");
    // An own template, which marks no end of a turn.
    place.write("own.jinja", "{% for m in messages %}\n{{ m.role }}. {{ m.content }}.\n\n{% endfor %}")?;
    let own = shown("--chat-template own.jinja")?;
    assert!(own.contains("user. the user.\n\n«assistant. and us.\n\n»user. a sea."), "{own}");
    Ok(())
}

#[test]
fn inspect_data_counts_as_one_json_object() -> Anyhow {
    let place = with_conversations()?;
    let object = |flags: &str| -> Anyhow<serde_json::Value> {
        let outcome = place.run(&format!("inspect data {MODEL} --data chat.jsonl --json {flags}"))?;
        assert_eq!((outcome.code, outcome.stdout.lines().count()), (Some(0), 1), "{}", outcome.told());
        Ok(serde_json::from_str(&outcome.stdout)?)
    };
    let whole = object("")?;
    let rows = whole["examples"].as_array().ok_or("examples")?;
    let ids = |row: usize| rows[row]["input_ids"].as_array().map_or(0, Vec::len);
    let trained = |row: usize| {
        let labels = rows[row]["labels"].as_array();
        labels.map_or(0, |labels| labels.iter().filter(|&label| *label != -100).count())
    };
    assert_eq!((rows.len(), &rows[1]["line"]), (2, &json!(2)));
    assert_eq!((&whole["rows"], &whole["cut_rows"]), (&json!(2), &json!(0)));
    assert_eq!(whole["tokens"], ids(0) + ids(1));
    assert_eq!(whole["trained_tokens"], trained(0) + trained(1));
    assert_eq!(whole["longest"], json!({"line": 1, "tokens": ids(0)}));
    let counted = whole["lengths"].as_array().ok_or("lengths")?.iter().filter_map(|bar| bar["rows"].as_u64());
    assert_eq!(counted.sum::<u64>(), 2);
    // `loract eval` runs as many.
    assert_eq!(place.eval(&format!("{MODEL} --data chat.jsonl"))?["tokens"], whole["trained_tokens"]);
    let all = place.eval(&format!("{MODEL} --data chat.jsonl --train-on all"))?;
    assert_eq!(all["tokens"], ids(0) + ids(1) - 2);
    // The first row cut to the length of the second keeps its first turn.
    let cut = object(&format!("--rows 0 --seq-len {}", ids(1)))?;
    assert_eq!((&cut["cut_rows"], &cut["trained_tokens"]), (&json!(1), &json!(2 * trained(1))));
    assert_eq!((&cut["longest"]["tokens"], &cut["examples"]), (&json!(ids(0)), &json!([])));
    Ok(())
}

/// What is said of a Parquet file that is not there.
const PARQUET: &[&str] = if cfg!(feature = "parquet") {
    &["cannot read rows.parquet: No such file"]
} else {
    &["data rows.parquet: this loract was built without Parquet", "--features parquet", "to_json(out"]
};

#[test]
#[cfg(feature = "parquet")]
fn parquet_rows_are_those_of_json() -> Anyhow {
    let place = Place::with_tokenizer()?;
    for name in ["messages.jsonl", "messages-zstd-v2.parquet", "messages-snappy-v1.parquet"] {
        place.write(name, std::fs::read(golden("parquet").join(name))?)?;
    }
    place.write("own.jinja", "{% for m in messages %}{{ m.role }} {{ m.content }}<|im_end|>{% endfor %}")?;
    let flags = format!("{MODEL} --train-on all --chat-template own.jinja --seq-len 16");
    let looked_at = |file: &str| -> Anyhow<serde_json::Value> {
        let outcome = place.run(&format!("inspect data {flags} --json --data {file}"))?;
        Ok(serde_json::from_str(&outcome.stdout).map_err(|_| outcome.told())?)
    };
    let (lines, table) = (looked_at("messages.jsonl")?, looked_at("messages-zstd-v2.parquet")?);
    assert_eq!((&lines["examples"], &lines["longest"]), (&table["examples"], &table["longest"]));
    let told = place.run(&format!("inspect data {flags} --data messages-zstd-v2.parquet"))?;
    assert!(told.stdout.contains("\nrow 1: "), "{}", told.told());
    // A folder as the hub lays it out trains as its JSONL twin.
    place.write("hub/train-00000-of-00001.parquet", place.read("messages-zstd-v2.parquet")?)?;
    place.write("hub/test.parquet", place.read("messages-snappy-v1.parquet")?)?;
    let trained = place.trained(&format!("{flags} --data hub --out out"))?;
    assert!(trained.stderr.contains("training on hub/train-00000-of-00001.parquet"), "{}", trained.told());
    place.trained(&format!("{flags} --data messages.jsonl --out twin"))?;
    assert_eq!(place.adapter("out")?, place.adapter("twin")?);
    assert_eq!(place.eval(&format!("{flags} --data hub"))?["rows"], 20);
    Ok(())
}

#[test]
fn a_folder_gives_rows_to_train_and_to_evaluate_on() -> Anyhow {
    let place = Place::with_tokenizer()?;
    let alpaca = |output: &str| json!({"instruction": "the user", "input": "", "output": output});
    place.write("all/train.jsonl", format!("{}\n{}\n", alpaca("and 7"), alpaca("a sea")))?;
    place.write("all/validation.csv", "prompt,completion,more\nthe user,\" and\n7, 7\",x\na,\" \"\"b\"\"\",\n")?;
    let outcome = place.trained(&format!("{MODEL} --data all --eval-every 1"))?;
    let note = "training on all/train.jsonl, evaluation on all/validation.csv";
    assert!(outcome.stderr.contains(note), "{}", outcome.told());
    let config = place.text("out/config.toml")?;
    assert!(config.contains("data = \"all/train.jsonl\"") && config.contains("eval_data = \"all/validation.csv\""));
    assert_eq!(place.json("out/report.json")?["evaluation"]["rows"], 2);
    // A test part goes before the validation part, and a file that is named before both.
    let rows = |flags: &str| -> Anyhow<Option<u64>> { Ok(place.eval(&format!("{MODEL} {flags}"))?["rows"].as_u64()) };
    assert_eq!(rows("--data all")?, Some(2));
    place.write("all/test.jsonl", alpaca("7").to_string())?;
    assert_eq!(rows("--data all")?, Some(1));
    let outcome = place.trained(&format!("{MODEL} --data all --eval-data all/test.jsonl"))?;
    assert!(!outcome.stderr.contains("validation.csv"), "{}", outcome.told());
    place.write("all/train.csv", "text\nthe user\n")?;
    for (data, says) in [
        ("all", &["data all: it holds all/train.jsonl and all/train.csv"][..]),
        (".", &["data .: it is a folder without train.jsonl, train.csv"]),
        ("rows.parquet", PARQUET),
    ] {
        let refused = place.run(&train(&format!("{MODEL} --data {data} --out new")))?;
        assert_eq!(refused.complaint(2, says), None);
    }
    assert!(!place.path("new").exists());
    Ok(())
}

#[test]
fn csv_rows_are_those_of_json_and_their_faults_are_named() -> Anyhow {
    let place = Place::with_tokenizer()?;
    place.write(
        "a.jsonl",
        "{\"prompt\":\"the user\",\"completion\":\" a, \\\"b\\\"\\n7\"}\n{\"input_ids\":[5,6,7]}\n",
    )?;
    place.write("a.csv", "\u{feff}prompt,completion,input_ids\nthe user,\" a, \"\"b\"\"\n7\",\n,,\"[5, 6, 7]\"\n")?;
    let rows = |file: &str| -> Anyhow<serde_json::Value> {
        let outcome = place.run(&format!("inspect data {MODEL} --json --data {file}"))?;
        let object: serde_json::Value = serde_json::from_str(&outcome.stdout).map_err(|_| outcome.told())?;
        Ok(object["examples"].clone())
    };
    let (lines, table) = (rows("a.jsonl")?, rows("a.csv")?);
    for row in 0..2 {
        assert_eq!(lines[row]["input_ids"], table[row]["input_ids"]);
        assert_eq!(lines[row]["labels"], table[row]["labels"]);
    }
    // The second record begins behind the line break within the first.
    assert_eq!((&table[0]["line"], &table[1]["line"]), (&json!(2), &json!(4)));
    for (text, says) in [
        ("text\nthe\na,b\n", &["bad.csv line 3: 2 fields for 1 columns", "quotes"][..]),
        ("messages\n[}\n", &["bad.csv line 2: `messages` is not JSON"]),
        ("question\nthe\n", &["bad.csv line 2: columns question are none of"]),
        ("text\n", &["bad.csv holds no rows"]),
        ("", &["bad.csv holds no rows"]),
    ] {
        place.write("bad.csv", text)?;
        let outcome = place.run(&format!("eval {MODEL} --data bad.csv"))?;
        assert_eq!(outcome.complaint(2, says), None, "{text:?}");
    }
    place.write("bad.csv", b"text\ncaf\xe9\n")?;
    let outcome = place.run(&format!("eval {MODEL} --data bad.csv"))?;
    assert_eq!(outcome.complaint(2, &["bad.csv line 2: not UTF-8 in field 1"]), None);
    Ok(())
}

#[test]
fn packing_fills_micro_batches_by_tokens() -> Anyhow {
    let place = Place::with("llama-tied")?;
    let lengths = [6, 4, 5, 9, 2, 2, 10];
    let rows = lengths.map(|n| format!("{{\"input_ids\":{:?}}}\n", vec![7; n]));
    place.write("rows.jsonl", rows.concat())?;
    let outcome = place
        .run("train --model model --data rows.jsonl --out out --batch-size 2 --seq-len 8 --packing --no-shuffle")?;
    assert_eq!(outcome.code, Some(0), "{}", outcome.told());
    // Rows of 9 and 10 tokens are cut to 8; 16 tokens are the most: 6 + 4 + 5, then 8 + 2 + 2, then 8 and the first row again.
    let tokens: Vec<_> = place.lines("out/metrics.jsonl")?.iter().filter_map(|line| line["tokens"].as_u64()).collect();
    assert_eq!(tokens, [15, 12, 14]);
    assert!(place.text("out/config.toml")?.contains("packing = true"));
    let twice = train("--packing --seq-len 8 --steps 2 --grad-accum 2 --no-shuffle --out twice");
    assert_eq!(place.run(&twice)?.code, Some(0));
    assert_eq!(place.lines("twice/metrics.jsonl")?[0]["tokens"], 15 + 12);
    let refused = place.run(&train("--packing --out new"))?;
    assert_eq!(refused.complaint(2, &["packing: needs --seq-len"]), None);
    Ok(())
}

#[test]
fn settings_of_rows_are_written_and_run_again() -> Anyhow {
    let place = with_conversations()?;
    place.write("own.jinja", "{% for m in messages %}{{ m.role }} {{ m.content }}<|im_end|>{% endfor %}")?;
    let data = format!("{MODEL} --data chat.jsonl --lr 1e-2");
    place.trained(&format!("{data} --chat-template own.jinja --train-on last --out first"))?;
    let config = place.text("first/config.toml")?;
    assert!(config.contains("chat_template = \"own.jinja\"") && config.contains("train_on = \"last\""), "{config}");
    place.trained("--config first/config.toml --out again")?;
    assert_eq!(place.adapter("first")?, place.adapter("again")?);
    place.trained(&format!("{data} --out other"))?;
    assert_ne!(place.adapter("first")?, place.adapter("other")?);
    Ok(())
}

#[test]
fn a_run_keeps_the_date_that_its_template_writes() -> Anyhow {
    let place = with_conversations()?;
    let template = "{% if strftime_now('%d %b %Y') == '03 Feb 2020' %}the{% else %}a{% endif %}{% for m in messages %} \
                    {{ m.content }}<|im_end|>{% endfor %}";
    place.write("dated.jinja", template)?;
    let data = format!("{MODEL} --data chat.jsonl --train-on all --chat-template dated.jinja --lr 1e-2");
    let told = "the chat template writes today's date into the rows";
    // Goes on on another day than that on which it began, whenever the test runs.
    let whole = place.trained(&format!("{data} --steps 3 --save-every 1 --chat-date 2020-02-03 --out whole"))?;
    assert!(!whole.stderr.contains("the chat template writes"), "{}", whole.told());
    place.copy("whole/checkpoint-1", "part/checkpoint-1")?;
    let resume = format!("{data} --steps 3 --save-every 1 --resume --out part");
    let refused = place.train(&format!("{resume} --chat-date 2020-02-04"))?;
    let says = ["chat-date was \"2020-02-03\", is now \"2020-02-04\"", "contents of data"];
    assert_eq!(refused.complaint(2, &says), None);
    let resumed = place.trained(&resume)?;
    assert!(resumed.stderr.contains("a date into the rows: 2020-02-03, when the run began"), "{}", resumed.told());
    assert_eq!(place.adapter("part")?, place.adapter("whole")?);
    // Without a date it is today's, which is kept and told of once.
    let today = place.trained(&format!("{data} --out today"))?;
    assert_eq!(today.stderr.matches(told).count(), 1, "{}", today.told());
    let date = place.text("today/config.toml")?;
    let date = date.split("chat_date = \"").nth(1).and_then(|rest| rest.get(..10)).ok_or("chat_date")?.to_owned();
    assert!(today.stderr.contains(&format!("give --chat-date {date}")), "{}", today.told());
    place.trained("--config today/config.toml --out again")?;
    assert_eq!(place.adapter("today")?, place.adapter("again")?);
    for command in ["inspect data", "eval"] {
        let rows = format!("{command} {MODEL} --data chat.jsonl --train-on all --chat-template dated.jinja");
        let (silent, told_of) = (place.run(&format!("{rows} --chat-date 2020-02-03"))?, place.run(&rows)?);
        assert!(told_of.stderr.contains(told) && !silent.stderr.contains(told), "{}", told_of.told());
        assert_ne!(silent.stdout, told_of.stdout, "{command}");
    }
    // Rows that do not go through the template have no date.
    place.write("text.jsonl", "{\"text\": \"the user\"}\n")?;
    let text = place.trained(&format!("{MODEL} --data text.jsonl --chat-template dated.jinja --out text"))?;
    assert!(!text.stderr.contains(told) && !place.text("text/config.toml")?.contains("chat_date"), "{}", text.told());
    Ok(())
}

#[test]
fn what_cannot_be_made_tokens_is_refused_by_name() -> Anyhow {
    let place = with_conversations()?;
    place.write("broken.jinja", "{% for m in messages %}\n{{ m.content }")?;
    place.write("picky.jinja", "{{ raise_exception('no ' ~ messages[0].role ~ 's here') }}")?;
    place.write("silent.jsonl", r#"{"messages":[{"role":"user","content":"the user"}]}"#)?;
    for (flags, says) in [
        ("--data chat.jsonl --chat-template gone.jinja", &["chat-template: gone.jinja: No such file"][..]),
        (
            "--data chat.jsonl --chat-template broken.jinja",
            &["chat-template: broken.jinja: the chat template cannot be read"],
        ),
        (
            "--data chat.jsonl --chat-template picky.jinja",
            &["chat.jsonl line 1: the chat template refuses the conversation: no users here"],
        ),
        ("--data silent.jsonl", &["silent.jsonl line 1: nothing to train", "role assistant", "--train-on all"]),
        ("--data chat.jsonl --train-on user", &["train-on: `user` is none of assistant, last, all"]),
        ("--data chat.jsonl --seq-len 4", &["chat.jsonl line 1: no trained token after cutting"]),
        ("--data chat.jsonl --seq-len 1", &["seq-len: "]),
    ] {
        for words in [format!("inspect data {MODEL} {flags}"), train(&format!("{MODEL} {flags}"))] {
            assert_eq!(place.run(&words)?.complaint(2, says), None, "{flags}");
        }
    }
    assert!(!place.path("out").exists());
    // A model without a tokenizer, then without a template, then with one that cannot be read.
    let bare = Place::with("llama-tied")?;
    bare.write("chat.jsonl", place.text("chat.jsonl")?)?;
    let outcome = bare.run("inspect data --model model --data chat.jsonl")?;
    assert_eq!(outcome.complaint(2, &["chat.jsonl line 1: ", "needs a tokenizer"]), None);
    bare.write("model/tokenizer.json", std::fs::read(golden("chat").join("tokenizer.json"))?)?;
    let outcome = bare.run("inspect data --model model --data chat.jsonl")?;
    let says = ["chat.jsonl line 1: ", "needs a chat template", "--chat-template FILE"];
    assert_eq!(outcome.complaint(2, &says), None);
    bare.write("model/tokenizer_config.json", r#"{"chat_template": [{"name": "default", "template": "{% if %}"}]}"#)?;
    let outcome = bare.run("inspect data --model model --data chat.jsonl")?;
    let says = ["chat.jsonl line 1: the chat template cannot be read", "the model's own", "--chat-template FILE"];
    assert_eq!(outcome.complaint(2, &says), None);
    // Rows that need none are none the worse for it.
    bare.trained("")?;
    Ok(())
}
