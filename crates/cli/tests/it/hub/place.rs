//! A place with a hub and a cache, and the program run in it.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::harness::{Anyhow, Files, Outcome, Place, golden};
use crate::hub::server::{COMMIT, Hub, ID};

/// Variables that a user's environment may have, and that would change what is tested.
const FOREIGN: [&str; 17] = [
    "HF_TOKEN",
    "HF_TOKEN_PATH",
    "HF_HUB_CACHE",
    "HF_HUB_OFFLINE",
    "HF_HUB_DOWNLOAD_TIMEOUT",
    "XDG_CACHE_HOME",
    "HTTP_PROXY",
    "http_proxy",
    "HTTPS_PROXY",
    "https_proxy",
    "ALL_PROXY",
    "all_proxy",
    "NO_PROXY",
    "no_proxy",
    "HF_HOME",
    "HF_ENDPOINT",
    "RUST_LOG",
];

/// The weights of the model with one file.
pub const WEIGHTS: &str = "model.safetensors";

/// A hub with a model, a cache `hf/` that is empty at first, rows, and the same model in `model/`.
pub struct World {
    pub hub: Hub,
    pub place: Place,
}

impl World {
    /// With the model of a golden case.
    pub fn with(case: &str) -> Anyhow<Self> {
        let place = Place::with(case)?;
        let mut files: Files = place.files("model")?;
        files.retain(|name, _| name == "config.json" || name.starts_with("model"));
        files.insert("tokenizer.json".into(), fs::read(golden("chat").join("tokenizer.json"))?);
        files.insert("README.md".into(), "not wanted".into());
        files.insert("q/tiny.gguf".into(), fs::read(golden("gguf").join("llama.gguf"))?);
        Ok(Self { hub: Hub::start(files)?, place })
    }

    /// With the model in one file.
    pub fn new() -> Anyhow<Self> {
        Self::with("llama-tied")
    }

    /// The program with words as typed and these variables, not started yet.
    pub fn command(&self, variables: &[(&str, &str)], words: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_loract"));
        self.set_up(&mut command, variables).args(words.split_whitespace());
        command
    }

    /// Where and how every program runs here.
    pub fn set_up<'a>(&self, command: &'a mut Command, variables: &[(&str, &str)]) -> &'a mut Command {
        for variable in FOREIGN {
            command.env_remove(variable);
        }
        command
            .env("HF_HOME", self.place.path("hf"))
            .env("HF_ENDPOINT", self.hub.endpoint())
            .env("RUST_BACKTRACE", "1")
            .envs(variables.iter().copied())
            .current_dir(self.place.path(""))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
    }

    /// Runs the program.
    pub fn run(&self, variables: &[(&str, &str)], words: &str) -> Anyhow<Outcome> {
        Outcome::of(words, self.command(variables, words).output()?)
    }

    /// `loract eval` of the model by its id.
    pub fn eval(&self, variables: &[(&str, &str)]) -> Anyhow<Outcome> {
        self.run(variables, &eval(ID))
    }

    /// As [`Self::eval`]; it must come to what the model in `model/` comes to.
    pub fn evaluated(&self, variables: &[(&str, &str)]) -> Anyhow<Outcome> {
        let outcome = self.eval(variables)?;
        let want = self.run(&[], &eval("model"))?;
        assert_eq!(outcome.code, Some(0), "{}", outcome.told());
        assert_eq!(outcome.stdout, want.stdout, "{}", outcome.told());
        assert!(!want.stdout.is_empty(), "{}", want.told());
        Ok(outcome)
    }

    /// A file of the repository in the cache.
    pub fn snapshot(&self, name: &str) -> PathBuf {
        self.place.path(&format!("hf/hub/models--owner--tiny/snapshots/{COMMIT}/{name}"))
    }

    /// The contents of a file of the repository in the cache, or with `.incomplete` the beginning of it.
    pub fn blob(&self, name: &str, end: &str) -> PathBuf {
        self.place.path(&format!("hf/hub/models--owner--tiny/blobs/{}{end}", self.hub.etag(name)))
    }

    /// What an earlier program that was killed may have left of a file.
    pub fn leave_part(&self, name: &str, bytes: &[u8]) -> Anyhow {
        let path = format!("hf/hub/models--owner--tiny/blobs/{}.incomplete", self.hub.etag(name));
        self.place.write(&path, bytes)
    }

    /// Nothing in the cache may look like a whole file and not be one.
    pub fn assert_no_weights(&self) {
        for path in [self.snapshot(WEIGHTS), self.blob(WEIGHTS, "")] {
            assert!(!path.exists(), "{}", path.display());
        }
        let reference = self.place.path("hf/hub/models--owner--tiny/refs/main");
        assert!(!reference.exists(), "a branch of a model that is not whole");
    }
}

/// The words of `loract eval`.
pub fn eval(model: &str) -> String {
    format!("eval --json --threads 1 --data rows.jsonl --model {model}")
}
