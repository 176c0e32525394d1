//! Completions, manual pages, and the reference in `docs/`.

use std::fs;
use std::path::Path;

use crate::harness::{Anyhow, Place};

#[test]
fn the_reference_in_docs_is_that_of_this_program() -> Anyhow {
    let place = Place::empty()?;
    let outcome = place.run("reference .")?;
    assert_eq!(outcome.code, Some(0), "{}", outcome.told());
    for name in ["commands.md", "config.md"] {
        let in_docs = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(name))?;
        assert!(
            in_docs.replace("\r\n", "\n") == place.text(name)?,
            "docs/{name} does not say what this program takes; renew it: cargo run -p loract -- reference docs"
        );
    }
    Ok(())
}

#[test]
fn completions_know_commands_and_flags() -> Anyhow {
    let place = Place::empty()?;
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let outcome = place.run(&format!("completions {shell}"))?;
        assert_eq!((outcome.code, &outcome.stderr[..]), (Some(0), ""), "{shell}");
        for word in ["merge", "inspect", "gradients", "lora-targets"] {
            assert!(outcome.stdout.contains(word), "{shell}: {word}");
        }
    }
    assert_eq!(place.run("completions tcsh")?.complaint(2, &["tcsh", "bash", "elvish"]), None);
    Ok(())
}

#[test]
fn manual_pages() -> Anyhow {
    let place = Place::empty()?;
    for (words, says) in [
        ("man", &[".TH loract 1", "loract\\-train(1)", ".SH SUBCOMMANDS"][..]),
        ("man train", &[".TH loract-train 1", "\\-\\-lora\\-rank", "loract train"]),
        ("man inspect data", &[".TH loract-inspect-data 1", "\\-\\-model"]),
    ] {
        let outcome = place.run(words)?;
        assert_eq!(outcome.code, Some(0), "{}", outcome.told());
        for word in says {
            assert!(outcome.stdout.contains(word), "{word}\n{}", outcome.told());
        }
    }
    assert_eq!(place.run("man inspect date")?.complaint(2, &["`loract inspect` has no command `date`", "data"]), None);
    assert_eq!(place.run("man train x")?.complaint(2, &["`loract train` has no command `x`"]), None);
    Ok(())
}

#[cfg(not(feature = "hub"))]
#[test]
fn an_id_says_what_it_needs() -> Anyhow {
    let place = Place::with("llama-tied")?;
    for (model, says) in [
        ("owner/name", &["no file or folder owner/name", "--features hub", "into a folder"][..]),
        ("owner/name/a.gguf@v1", &["no file or folder owner/name/a.gguf@v1", "--features hub"]),
        ("owner/name/other", &["no model at owner/name/other"]),
    ] {
        let outcome = place.run(&format!("eval --model {model} --data rows.jsonl"))?;
        assert_eq!(outcome.complaint(2, says), None);
    }
    Ok(())
}
