//! Every format × masking × template family against Transformers' own chat template code (`golden/make_chat.py`).

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use loract_models::{ChatTemplate, Tokenizer};
use loract_testkit::golden::folder;
use loract_train::data::{Dataset, Reader, TrainOn};
use loract_train::parse_name;
use serde_json::Value;

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

/// A folder that is removed afterwards.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Outcome<Self> {
        let path = std::env::temp_dir().join(format!("loract-chat-{}-{name}", std::process::id()));
        fs::create_dir_all(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A family's tokenizer and template.
fn family(name: &str, scratch: &Path) -> Outcome<(Tokenizer, Option<ChatTemplate>)> {
    let golden = folder("chat");
    fs::copy(golden.join("tokenizer.json"), scratch.join("tokenizer.json"))?;
    fs::copy(golden.join(name).join("tokenizer_config.json"), scratch.join("tokenizer_config.json"))?;
    let tokenizer = Tokenizer::from_file(&scratch.join("tokenizer.json"))?;
    let template = match fs::read_to_string(golden.join(name).join("chat_template.jinja")) {
        Ok(text) => Some(ChatTemplate::new(&text, &tokenizer)?),
        Err(_) => None,
    };
    Ok((tokenizer, template))
}

fn reader<'a>(tokenizer: &'a Tokenizer, template: Option<ChatTemplate>, train_on: TrainOn) -> Reader<'a> {
    Reader {
        tokenizer: Some(tokenizer),
        template: template.map(Ok),
        train_on,
        vocabulary: tokenizer.vocab_size(),
        context: 10_000,
        cut_to: None,
    }
}

/// Ids and mask of the only row of a file.
fn read(file: &Path, reader: &Reader<'_>) -> Result<(Vec<u32>, String), String> {
    let data = Dataset::read(file, reader).map_err(|e| e.to_string())?;
    let row = &data.examples()[0].row;
    for (id, label) in row.ids.iter().zip(&row.labels) {
        assert!(label.is_none_or(|label| label == *id));
    }
    Ok((row.ids.clone(), row.labels.iter().map(|l| if l.is_some() { '1' } else { '0' }).collect()))
}

#[test]
fn ids_and_masks_are_those_of_transformers() -> Outcome {
    let scratch = Scratch::new("golden")?;
    let cases = fs::read_to_string(folder("chat").join("cases.jsonl"))?;
    let (mut failures, mut compared, mut refused) = (Vec::new(), BTreeMap::<String, usize>::new(), 0);
    for line in cases.lines() {
        let case: Value = serde_json::from_str(line)?;
        let name = case["family"].as_str().ok_or("family")?;
        let (tokenizer, template) = family(name, &scratch.0)?;
        let file = scratch.0.join("row.jsonl");
        fs::write(&file, case["row"].to_string())?;
        for word in ["assistant", "last", "all"] {
            let got = read(&file, &reader(&tokenizer, template.clone(), parse_name(word)?));
            let right = match (&case["error"], &got) {
                (Value::String(want), Err(what)) => {
                    refused += 1;
                    what.contains("row.jsonl line 1: the chat template refuses the conversation") && what.contains(want)
                }
                (Value::Null, Ok((ids, mask))) => {
                    *compared.entry(name.to_owned()).or_default() += 1;
                    case["ids"] == serde_json::json!(ids) && case["masks"][word] == **mask
                }
                _ => false,
            };
            if !right {
                let want = (&case["ids"], &case["masks"][word], &case["error"]);
                failures.push(format!("{name} --train-on {word} {}\n  want {want:?}\n  got  {got:?}", case["row"]));
            }
        }
    }
    assert!(failures.is_empty(), "{} differ:\n{}", failures.len(), failures.join("\n"));
    let families: BTreeSet<_> = compared.keys().map(String::as_str).collect();
    let all = ["gemma", "llama3", "mistral", "mistral-v3", "none", "qwen2", "qwen3", "smollm2"];
    assert_eq!(families, BTreeSet::from(all));
    assert!(compared.values().all(|&rows| rows >= 12) && refused >= 12, "{compared:?} {refused}");
    Ok(())
}

/// The example rows of docs/data.md, as they stand there.
#[test]
fn the_examples_of_the_documentation_are_read() -> Outcome {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/data.md"))?;
    let scratch = Scratch::new("docs")?;
    let (tokenizer, template) = family("smollm2", &scratch.0)?;
    let lines = text.split("```json\n").nth(1).and_then(|rest| rest.split("```").next()).ok_or("no rows")?;
    let table = text.split("    instruction,").nth(1).and_then(|rest| rest.split("\n\n").next()).ok_or("no table")?;
    let table = format!("instruction,{}", table.replace("\n    ", "\n"));
    for (name, content, rows) in [("rows.jsonl", lines, 7), ("rows.csv", &table, 2)] {
        let file = scratch.0.join(name);
        fs::write(&file, content)?;
        let data = Dataset::read(&file, &reader(&tokenizer, template.clone(), TrainOn::Assistant))?;
        assert_eq!(data.examples().len(), rows, "{name}");
        assert!(data.examples().iter().all(|e| e.row.trained_tokens() > 0), "{name}");
    }
    Ok(())
}

const CHATML: &str = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}\
                      {% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

/// What a template trains of a conversation, as text.
fn trained(template: &str, messages: &Value) -> Outcome<Result<String, String>> {
    static NUMBER: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let scratch = Scratch::new(&format!("trained-{number}"))?;
    let (tokenizer, _) = family("smollm2", &scratch.0)?;
    let file = scratch.0.join("row.jsonl");
    fs::write(&file, serde_json::json!({ "messages": messages }).to_string())?;
    let template = ChatTemplate::new(template, &tokenizer)?;
    let data = Dataset::read(&file, &reader(&tokenizer, Some(template), TrainOn::Assistant));
    let Ok(data) = data else { return Ok(Err(data.err().map(|e| e.to_string()).unwrap_or_default())) };
    let mut parts = vec![Vec::new()];
    for label in &data.examples()[0].row.labels {
        match label {
            Some(id) => parts.last_mut().ok_or("a part")?.push(*id),
            None => parts.push(Vec::new()),
        }
    }
    let texts = parts.iter().filter(|part| !part.is_empty()).map(|part| tokenizer.decode(part));
    Ok(Ok(texts.collect::<Result<Vec<_>, _>>()?.join(" | ")))
}

#[test]
fn templates_that_give_no_prefixes() -> Outcome {
    let messages = serde_json::json!([
        {"role": "user", "content": "one"}, {"role": "assistant", "content": "two"},
        {"role": "user", "content": "three"}, {"role": "assistant", "content": "four"},
    ]);
    let both = "two<|im_end|> | four<|im_end|>";
    for (name, template, want) in [
        ("plain", CHATML.to_owned(), both),
        ("the number of messages in front", format!("{{{{ messages|length }}}} {CHATML}"), both),
        (
            "what is marked for Transformers",
            CHATML.replace("{{ m.content }}", "{% generation %}{{ m.content }}{%- endgeneration %}"),
            both,
        ),
        (
            "an open thought in the generation prompt",
            CHATML.replace("assistant\n{% endif", "assistant\n<think>\n{% endif"),
            both,
        ),
        (
            "no generation prompt",
            CHATML.split("{% if add").next().unwrap_or_default().to_owned(),
            "<|im_start|>assistant\ntwo<|im_end|> | <|im_start|>assistant\nfour<|im_end|>",
        ),
    ] {
        assert_eq!(trained(&template, &messages)?.as_deref(), Ok(want), "{name}");
    }
    for (name, template, want) in [
        (
            "contents that cannot be found",
            format!("{{{{ messages|length }}}} {}", CHATML.replace("m.content", "m.content|upper")),
            "cannot find where message 2 (assistant) begins and ends",
        ),
        ("a template that fails", CHATML.replace("m.content", "m.content.nonsense()"), "the chat template fails: "),
        (
            "a template that does not end",
            format!("{{% for i in range(100000) %}}{{% for j in range(100000) %}}{{% endfor %}}{{% endfor %}}{CHATML}"),
            "out of fuel",
        ),
    ] {
        let got = trained(&template, &messages)?.err().unwrap_or_default();
        assert!(got.contains("row.jsonl line 1: ") && got.contains(want), "{name}: {got}");
    }
    let silent = serde_json::json!([{"role": "user", "content": "one"}, {"role": "tool", "content": "two"}]);
    let got = trained(CHATML, &silent)?.err().unwrap_or_default();
    assert!(
        got.contains("no message of the role assistant (its roles: user, tool)") && got.contains("--train-on all"),
        "{got}"
    );
    Ok(())
}

#[test]
fn templates_print_what_python_prints() -> Outcome {
    let scratch = Scratch::new("python")?;
    let (tokenizer, _) = family("qwen2", &scratch.0)?;
    let messages = [serde_json::json!({
        "role": "user", "content": "a<b>", "none": null, "thinking": "hm",
        "more": {"z": [1, 2.5, true, {"é": "it's"}], "a": "\"q\""},
    })];
    // The right sides are Jinja2's and json.dumps'.
    for (template, want) in [
        ("{{ messages[0].more }}", r#"{'z': [1, 2.5, True, {'é': "it's"}], 'a': '"q"'}"#),
        ("{{ messages[0].more | tojson }}", r#"{"z": [1, 2.5, true, {"é": "it's"}], "a": "\"q\""}"#),
        ("{{ [1, {}, []] | tojson(indent=2) }}", "[\n  1,\n  {},\n  []\n]"),
        ("{{ messages[0].content | tojson }}", "\"a<b>\""),
        ("{{ 'none' in messages[0] }} {{ tools }} {{ messages[0].nothing }}|", "False None |"),
        ("{{ messages[0].reasoning_content }} {{ bos_token is defined }} {{ eos_token }}", "hm False <|im_end|>"),
        (
            "{{ ' a b '.strip().split(' ')[-1] }} {{ 'ab'[::-1] }} {{ (messages[0].more.items() | list)[1][0] }}",
            "b ba a",
        ),
        ("{% for i in range(9) %}{% if i == 2 %}{% break %}{% endif %}{{ i }}{% endfor %}", "01"),
        ("  {% if true %}\n  x\n  {% endif %}\ny\n", "  x\ny"),
        ("{{ strftime_now('%Y') | int >= 2024 }}", "True"),
    ] {
        let rendered = ChatTemplate::new(template, &tokenizer)?
            .render(&messages, None, loract_models::chat::Ending::AsItIs)
            .map_err(|e| format!("{template}: {e}"))?;
        assert_eq!(rendered, want, "{template}");
    }
    let broken = ChatTemplate::new("{% for x in %}", &tokenizer).err().map(|e| e.to_string()).unwrap_or_default();
    assert!(
        broken.starts_with("the chat template cannot be read: syntax error") && broken.ends_with("(its line 1)"),
        "{broken}"
    );
    Ok(())
}
