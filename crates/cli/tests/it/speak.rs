//! `generate` and `chat`, with the tokenizer of the golden GGUF model: lower-case words, digits, spaces.

use crate::harness::{Anyhow, Outcome, Place};

/// Each message behind its role's letter; an answer ends with the model's end token.
const TEMPLATE: &str = "{% for m in messages %}{{ m.role[:1] }} {{ m.content }}{% if m.role == 'assistant' %}{{ eos_token }}\
                        {% endif %} {% endfor %}{% if add_generation_prompt %}a {% endif %}";

fn model_that_answers() -> Anyhow<Place> {
    let place = Place::with_tokenizer()?;
    place.write("data.jsonl", r#"{"prompt":"the user","completion":" and us 7"}"#)?;
    place.trained("--model llama.gguf --data data.jsonl --batch-size 1 --steps 25 --lr 2e-2")?;
    Ok(place)
}

fn said(place: &Place, words: &str) -> Anyhow<Outcome> {
    let outcome = place.run_after("true", words)?;
    if outcome.code == Some(0) { Ok(outcome) } else { Err(outcome.told().into()) }
}

#[test]
fn a_model_goes_on_as_it_was_taught_and_stops_at_its_end() -> Anyhow {
    let place = model_that_answers()?;
    let words = "generate --model llama.gguf --adapter out --raw --threads 1 --prompt 'the user'";
    let outcome = said(&place, words)?;
    assert_eq!(outcome.stdout, " and us 7\n", "{}", outcome.told());
    for figure in ["prompt ", "tokens/s", "end of turn"] {
        assert!(outcome.stderr.contains(figure), "{}", outcome.told());
    }
    // From standard input, whose last line break is the shell's.
    let piped =
        place.run_after("echo 'the user' > asked", &format!("{} < asked", words.replace("--prompt 'the user'", "")))?;
    assert_eq!(piped.stdout, outcome.stdout, "{}", piped.told());
    // Without its adapter it says something else, as many tokens as allowed unless it ends by itself.
    let json = said(&place, "generate --model llama.gguf --raw --threads 1 --json --max-tokens 5 --prompt 'the user'")?;
    let answer: serde_json::Value = serde_json::from_str(&json.stdout)?;
    assert_ne!(answer["text"], " and us 7");
    let tokens = answer["token_ids"].as_array().map_or(0, Vec::len);
    assert!(tokens == 5 && answer["ended"] == "length" || tokens < 5 && answer["ended"] == "turn", "{answer}");
    Ok(())
}

#[test]
fn a_prompt_without_a_template_is_taken_as_it_is_and_that_is_said() -> Anyhow {
    let place = model_that_answers()?;
    said(&place, "merge --model llama.gguf --adapter out --out merged")?;
    std::fs::remove_file(place.path("merged/chat_template.jinja"))?;
    let outcome = said(&place, "generate --model merged --threads 1 --prompt 'the user'")?;
    assert_eq!(outcome.stdout, " and us 7\n", "{}", outcome.told());
    assert!(outcome.stderr.contains("note: the model has no chat template"), "{}", outcome.told());
    let chat = place.run("chat --model merged")?;
    assert_eq!(chat.complaint(2, &["give one with --chat-template"]), None);
    Ok(())
}

#[test]
fn an_answer_ends_where_the_context_does() -> Anyhow {
    let place = Place::with_tokenizer()?;
    let answer = |seed: u32| -> Anyhow<serde_json::Value> {
        let settings = format!("--max-tokens 500 --temperature 50 --seed {seed} --prompt 'the user'");
        let words = format!("generate --model llama.gguf --raw --threads 1 --json {settings}");
        Ok(serde_json::from_str(&said(&place, &words)?.stdout)?)
    };
    let mut full = 0;
    for seed in 0..6 {
        let answer = answer(seed)?;
        let tokens = answer["token_ids"].as_array().map_or(0, Vec::len) as u64;
        let all = answer["prompt_tokens"].as_u64().ok_or("prompt_tokens")? + tokens;
        // The token that ends a turn is drawn as likely as any of 64, so some seeds come to the end before it.
        match answer["ended"].as_str() {
            Some("context") => assert_eq!(all, 64, "{answer}"),
            ended => assert!(ended == Some("turn") && all < 64, "{answer}"),
        }
        full += u32::from(answer["ended"] == "context");
    }
    assert!(full > 0, "no answer of six came to the end of the context");
    assert_eq!(answer(1)?["token_ids"], answer(1)?["token_ids"]);
    Ok(())
}

#[test]
fn a_conversation_is_taught_and_then_held() -> Anyhow {
    let place = Place::with_tokenizer()?;
    place.write("chat.jinja", TEMPLATE)?;
    let turn = |role: &str, words: &str| format!(r#"{{"role":"{role}","content":"{words}"}}"#);
    let (asked, first) = (turn("user", "the user"), turn("assistant", "in the sea"));
    let row = |turns: &[&str]| format!("{{\"messages\":[{}]}}\n", turns.join(","));
    let rows = [row(&[&asked, &first]), row(&[&asked, &first, &turn("user", "1 2"), &turn("assistant", "3 4")])];
    place.write("data.jsonl", rows.concat())?;
    let model = "--model llama.gguf --chat-template chat.jinja";
    place.trained(&format!("{model} --data data.jsonl --batch-size 2 --steps 40 --lr 2e-2"))?;
    let talk = |lines: &str| -> Anyhow<Outcome> {
        let words = format!("chat {model} --adapter out --threads 1 < lines");
        let outcome = place.run_after(&format!("printf '{lines}' > lines"), &words)?;
        if outcome.code == Some(0) { Ok(outcome) } else { Err(outcome.told().into()) }
    };
    // The second question is answered in the light of the first; another conversation begins anew.
    let held = talk("the user\\n\\n1 2\\n/new\\nthe user\\n/quit\\nthe user\\n")?;
    assert_eq!(held.stdout, "in the sea\n3 4\nin the sea\n", "{}", held.told());
    let unknown = talk("/what\\nthe user")?;
    assert!(unknown.stderr.contains("/what is unknown: /new"), "{}", unknown.told());
    assert_eq!(unknown.stdout, "in the sea\n");
    // Too long for the model: said, and the conversation goes on without it.
    let long = talk(&format!("{}\\nthe user\\n", "the sea ".repeat(40)))?;
    assert!(long.stderr.contains("longer than the model"), "{}", long.told());
    assert_eq!(long.stdout, "in the sea\n", "{}", long.told());
    Ok(())
}

#[test]
fn bad_wishes_are_named() -> Anyhow {
    let place = Place::with_tokenizer()?;
    place.write("bad.jinja", "{% if %}")?;
    let bare = Place::with("llama-tied")?;
    let generate = "generate --model llama.gguf --raw --prompt a";
    for (place, words, says) in [
        (&place, format!("{generate} --temperature=-1"), "temperature: -1; it is 0"),
        (&place, format!("{generate} --top-p 0"), "top-p: 0; it is above 0"),
        (&place, format!("{generate} --repetition-penalty nan"), "repetition-penalty: NaN"),
        (&place, format!("{generate} --max-tokens 0"), "max-tokens: 0; the least is 1"),
        (&place, format!("{generate} --system x"), "cannot be used with"),
        (&place, "generate --model llama.gguf --raw --prompt ''".to_owned(), "has no tokens; give some"),
        (&place, "generate --model llama.gguf --prompt a --chat-template bad.jinja".to_owned(), "bad.jinja"),
        (&place, "generate --model llama.gguf --prompt a --chat-template none.jinja".to_owned(), "none.jinja"),
        (&place, "generate --model nowhere --prompt a".to_owned(), "no model at nowhere"),
        (&place, format!("{generate} --adapter nowhere"), "nowhere"),
        (&bare, "generate --model model --raw --prompt a".to_owned(), "has no tokenizer: put its tokenizer.json"),
    ] {
        let outcome = place.run_after("true", &words)?;
        assert_eq!(outcome.complaint(2, &[says]), None, "{}", outcome.told());
    }
    Ok(())
}
