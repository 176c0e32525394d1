//! What lies in the cache afterwards, and what is asked for again.

use std::fs;
use std::time::Duration;

use crate::harness::{Anyhow, Outcome};
use crate::hub::place::{WEIGHTS, World, eval};
use crate::hub::server::{COMMIT, ID, Wrong};

#[test]
fn a_model_lies_as_python_would_have_it() -> Anyhow {
    let world = World::new()?;
    world.evaluated(&[])?;
    let folder = world.place.path("hf/hub/models--owner--tiny");
    assert_eq!(fs::read_to_string(folder.join("refs/main"))?, COMMIT);
    for name in ["config.json", "tokenizer.json", WEIGHTS] {
        let link = world.snapshot(name);
        let blob = world.blob(name, "");
        assert_eq!(fs::canonicalize(&link)?, fs::canonicalize(&blob)?, "{name}");
        #[cfg(unix)]
        assert_eq!(fs::read_link(&link)?, std::path::Path::new("../../blobs").join(world.hub.etag(name)));
    }
    let mut names: Vec<_> = world.place.files("hf/hub/models--owner--tiny/blobs")?.into_keys().collect();
    names.sort();
    let mut want = ["config.json", "tokenizer.json", WEIGHTS].map(|name| world.hub.etag(name));
    want.sort();
    assert_eq!(names, want, "only what makes the model, and nothing by half");
    Ok(())
}

#[test]
fn what_is_there_is_not_asked_for_again() -> Anyhow {
    let world = World::new()?;
    world.evaluated(&[])?;
    assert_eq!(world.hub.requests().len(), 1 + 3 * 2 + 1, "a list; each file twice, and the weights' storage once");
    let again = world.evaluated(&[])?;
    assert_eq!(again.stderr, "", "nothing is said where nothing is done");
    let requests = world.hub.requests();
    let paths: Vec<_> = requests.iter().map(|request| &request.path[..]).collect();
    assert_eq!(paths, [format!("/api/models/{ID}/revision/main")]);
    // A commit never changes.
    let pinned = world.run(&[], &eval(&format!("{ID}@{COMMIT}")))?;
    assert_eq!(pinned.stdout, again.stdout, "{}", pinned.told());
    assert_eq!(world.hub.requests().len(), 0);
    // A file that is gone is fetched, and no other.
    fs::remove_file(world.blob(WEIGHTS, ""))?;
    world.evaluated(&[])?;
    let requests = world.hub.requests();
    assert_eq!(requests.iter().filter(|request| request.path.contains("resolve")).count(), 2);
    assert!(requests[1..].iter().all(|request| request.path.ends_with(WEIGHTS)), "{requests:?}");
    Ok(())
}

#[test]
fn shards_and_gguf_files() -> Anyhow {
    let world = World::with("llama-untied")?;
    world.evaluated(&[])?;
    assert!(world.snapshot("model-00003-of-00003.safetensors").is_file());
    world.hub.requests();
    let gguf = format!("{ID}/q/tiny.gguf@{COMMIT}");
    let plan = |variables: &[(&str, &str)]| {
        let words = format!("plan --model {gguf} --batch-size 1 --seq-len 4 --lora-rank 2 --threads 1");
        world.run(variables, &words)
    };
    let outcome = plan(&[])?;
    assert!(outcome.code == Some(0) && outcome.stdout.contains("owner/tiny/q/tiny.gguf:"), "{}", outcome.told());
    assert!(world.snapshot("q/tiny.gguf").is_file());
    assert_eq!(world.hub.requests().len(), 4);
    assert_eq!(plan(&[])?.code, Some(0));
    assert_eq!(world.hub.requests().len(), 0, "a commit and all that is wanted of it are there");
    assert_eq!(plan(&[("HF_HUB_OFFLINE", "1")])?.code, Some(0));
    Ok(())
}

#[test]
fn offline_the_cache_must_do() -> Anyhow {
    let world = World::new()?;
    let offline = [("HF_HUB_OFFLINE", "yes")];
    let says = ["no file or folder owner/tiny", "HF_HUB_OFFLINE", "hf/hub", "the revision main is missing"];
    assert_eq!(world.eval(&offline)?.complaint(2, &says), None);
    world.evaluated(&[])?;
    world.hub.requests();
    world.evaluated(&offline)?;
    fs::remove_file(world.blob(WEIGHTS, ""))?;
    let outcome = world.eval(&offline)?;
    assert_eq!(outcome.complaint(2, &["HF_HUB_OFFLINE", "model.safetensors is missing"]), None);
    assert_eq!(world.hub.requests().len(), 0);
    Ok(())
}

#[test]
fn a_hub_that_cannot_be_asked_is_no_harm_to_what_is_there() -> Anyhow {
    let world = World::new()?;
    world.evaluated(&[])?;
    world.hub.fault("GET", "/api/", 1, Wrong::Status(503, ""));
    let outcome = world.evaluated(&[])?;
    assert!(
        outcome.stderr.contains(&format!("taken as it was when last fetched, commit {COMMIT}")),
        "{}",
        outcome.told()
    );
    let nobody = world.evaluated(&[("HF_ENDPOINT", "http://127.0.0.1:1")])?;
    assert!(nobody.stderr.contains("taken as it was"), "{}", nobody.told());
    Ok(())
}

#[test]
fn other_places_for_the_cache() -> Anyhow {
    let world = World::new()?;
    let caches = world.place.path("caches").display().to_string();
    world.evaluated(&[("HF_HUB_CACHE", &caches)])?;
    assert!(world.place.path("caches/models--owner--tiny/refs/main").is_file());
    world.evaluated(&[("HF_HOME", ""), ("XDG_CACHE_HOME", &caches)])?;
    assert!(world.place.path("caches/huggingface/hub/models--owner--tiny/refs/main").is_file());
    assert!(!world.place.path("hf").exists());
    Ok(())
}

#[test]
fn two_at_once_fetch_once() -> Anyhow {
    let world = World::new()?;
    world.hub.fault("GET", "/storage/", 1, Wrong::Waits(Duration::from_secs(1)));
    let both = [0; 2].map(|_| world.command(&[], &eval(ID)).spawn());
    let mut outcomes = Vec::new();
    for one in both {
        outcomes.push(Outcome::of("eval", one?.wait_with_output()?)?);
    }
    assert!(outcomes.iter().all(|outcome| outcome.code == Some(0)), "{}", outcomes[0].told() + &outcomes[1].told());
    assert_eq!(outcomes[0].stdout, outcomes[1].stdout);
    let storage = world.hub.requests().into_iter().filter(|request| request.path.contains("/storage/"));
    assert_eq!(storage.count(), 1);
    let waited = outcomes.iter().filter(|outcome| outcome.stderr.contains("another process fetches model.safetensors"));
    assert_eq!(waited.count(), 1);
    Ok(())
}

#[cfg(unix)]
#[test]
fn a_full_disk_is_told_and_gone_on_from() -> Anyhow {
    let world = World::new()?;
    let bytes = world.place.read("model/model.safetensors")?.len();
    // In blocks of 512 bytes.
    let blocks = bytes / 2 / 512;
    let mut command = std::process::Command::new("sh");
    world.set_up(&mut command, &[]);
    command.args([
        "-c",
        &format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" {}", eval(ID)),
        env!("CARGO_BIN_EXE_loract"),
    ]);
    let outcome = Outcome::of("eval", command.output()?)?;
    let says = ["cannot write", ".incomplete", "make room there, or set HF_HOME", "is kept"];
    assert_eq!(outcome.complaint(1, &says), None);
    world.assert_no_weights();
    world.hub.requests();
    world.evaluated(&[])?;
    let first = blocks * 512;
    let gone_on = world.hub.requests().into_iter().find(|request| request.headers.contains_key("range"));
    assert_eq!(gone_on.and_then(|request| request.headers.get("range").cloned()), Some(format!("bytes={first}-")));
    Ok(())
}
