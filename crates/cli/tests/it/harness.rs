//! A fresh folder to run the program in, and what came of it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;

pub type Anyhow<T = ()> = Result<T, Box<dyn std::error::Error>>;

/// Files by path within a folder.
pub type Files = BTreeMap<String, Vec<u8>>;

/// The flags of a short run on the place's own model; a test replaces or adds some.
const TRAIN: &[&str] = &[
    "--model model",
    "--data rows.jsonl",
    "--out out",
    "--steps 2",
    "--batch-size 2",
    "--lora-rank 2",
    "--threads 1",
    "--activations exact",
];

/// A temporary folder that is removed afterwards. Programs run in it.
pub struct Place(PathBuf);

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Place {
    /// Empty.
    pub fn empty() -> Anyhow<Self> {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("loract-cli-{}-{number}", std::process::id()));
        fs::create_dir_all(&path)?;
        Ok(Self(path))
    }

    /// With a copy of a golden case: `model/`, `adapter/`, `rows.jsonl`.
    pub fn with(case: &str) -> Anyhow<Self> {
        let place = Self::empty()?;
        for (name, bytes) in files(&golden(case))? {
            let to = if name.starts_with("adapter/") || name == "rows.jsonl" { name } else { format!("model/{name}") };
            if !to.contains("golden") && !to.contains("fullgrad") {
                place.write(&to, &bytes)?;
            }
        }
        Ok(place)
    }

    /// With a copy of a golden case of images: `model/`, `adapter/`, `images.safetensors`.
    pub fn with_images(case: &str) -> Anyhow<Self> {
        let place = Self::empty()?;
        for (name, bytes) in files(&golden("vision").join(case))? {
            match name.as_str() {
                "config.json" | "model.safetensors" | "preprocessor_config.json" => {
                    place.write(&format!("model/{name}"), &bytes)?;
                }
                "input.safetensors" => place.write("images.safetensors", &bytes)?,
                _ if name.starts_with("adapter/") => place.write(&name, &bytes)?,
                _ => {}
            }
        }
        Ok(place)
    }

    /// Writes pictures: a folder for each class, whose pictures are of about one grey, of several sizes.
    pub fn write_pictures(&self, folder: &str, classes: &[(&str, u8)], of_class: u8) -> Anyhow {
        for (class, grey) in classes {
            for number in 0..of_class {
                let (height, width) = (20 + u32::from(number % 3), 22 - u32::from(number % 2));
                let pixels =
                    (0..height * width).map(|i| grey.saturating_add((i * 7 % 23) as u8).saturating_sub(number));
                self.write(
                    &format!("{folder}/{class}/{number:02}.png"),
                    png(height, width, &pixels.collect::<Vec<_>>())?,
                )?;
            }
        }
        Ok(())
    }

    /// Writes a grey picture of so many pixels in height and width.
    pub fn write_large_picture(&self, name: &str, edge: u32) -> Anyhow {
        let pixels: Vec<u8> = (0..edge * edge).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        self.write(name, png(edge, edge, &pixels)?)
    }

    /// With the golden GGUF model, which has a tokenizer, and no data.
    pub fn with_tokenizer() -> Anyhow<Self> {
        let place = Self::empty()?;
        place.write("llama.gguf", &fs::read(golden("gguf").join("llama.gguf"))?)?;
        Ok(place)
    }

    /// With a model, and an adapter trained on it in `run`.
    pub fn with_run(flags: &str) -> Anyhow<Self> {
        let place = Self::with("llama-tied")?;
        place.trained(&format!("--out run --steps 12 --lr 5e-2 {flags}"))?;
        Ok(place)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Writes a file, and the folders it is in.
    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> Anyhow {
        let path = self.path(name);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        Ok(fs::write(path, bytes)?)
    }

    pub fn read(&self, name: &str) -> Anyhow<Vec<u8>> {
        fs::read(self.path(name)).map_err(|e| format!("{name}: {e}").into())
    }

    pub fn text(&self, name: &str) -> Anyhow<String> {
        Ok(String::from_utf8(self.read(name)?)?)
    }

    pub fn json(&self, name: &str) -> Anyhow<Value> {
        Ok(serde_json::from_slice(&self.read(name)?)?)
    }

    /// The lines of a JSONL file.
    pub fn lines(&self, name: &str) -> Anyhow<Vec<Value>> {
        Ok(self.text(name)?.lines().map(serde_json::from_str).collect::<Result<_, _>>()?)
    }

    /// The losses of the steps in `OUT/metrics.jsonl`.
    pub fn losses(&self, out: &str) -> Anyhow<Vec<f64>> {
        let lines = self.lines(&format!("{out}/metrics.jsonl"))?;
        Ok(lines.iter().filter_map(|line| line.get("loss")?.as_f64()).collect())
    }

    /// The adapter's file in a folder.
    pub fn adapter(&self, out: &str) -> Anyhow<Vec<u8>> {
        self.read(&format!("{out}/adapter_model.safetensors"))
    }

    /// Every file below a folder.
    pub fn files(&self, folder: &str) -> Anyhow<Files> {
        files(&self.path(folder))
    }

    /// Copies a folder, over what is there.
    pub fn copy(&self, from: &str, to: &str) -> Anyhow {
        self.files(from)?.into_iter().try_for_each(|(name, bytes)| self.write(&format!("{to}/{name}"), bytes))
    }

    /// Runs the program with words as typed.
    pub fn run(&self, words: &str) -> Anyhow<Outcome> {
        Outcome::of(words, self.start(words)?.wait_with_output()?)
    }

    /// The same through `sh`, after its commands `before`.
    pub fn run_after(&self, before: &str, words: &str) -> Anyhow<Outcome> {
        let script = format!("{before}; exec \"$0\" {words}");
        let mut command = Command::new("sh");
        command.args(["-c", &script, env!("CARGO_BIN_EXE_loract")]).current_dir(&self.0);
        Outcome::of(words, command.output()?)
    }

    /// Starts the program and leaves it running.
    pub fn start(&self, words: &str) -> Anyhow<Child> {
        Ok(Command::new(env!("CARGO_BIN_EXE_loract"))
            .args(words.split_whitespace())
            .current_dir(&self.0)
            // A backtrace, if there is one to be had, must not be shown even when asked for.
            .env("RUST_BACKTRACE", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?)
    }

    /// `loract train` with the flags of [`TRAIN`], less those that `flags` has and those that `--config` or `--adapter`
    /// say in their place.
    pub fn train(&self, flags: &str) -> Anyhow<Outcome> {
        self.run(&train(flags))
    }

    /// As [`Self::train`]; a failure is an error.
    pub fn trained(&self, flags: &str) -> Anyhow<Outcome> {
        let outcome = self.train(flags)?;
        if outcome.code == Some(0) { Ok(outcome) } else { Err(outcome.told().into()) }
    }

    /// Runs `loract eval --json` and reads the object.
    pub fn eval(&self, flags: &str) -> Anyhow<Value> {
        let outcome = self.run(&format!("eval --json --threads 1 {flags}"))?;
        if outcome.code != Some(0) {
            return Err(outcome.told().into());
        }
        assert_eq!(outcome.stdout.lines().count(), 1, "{}", outcome.told());
        Ok(serde_json::from_str(&outcome.stdout)?)
    }

    /// The loss that `eval` finds on rows.jsonl.
    pub fn loss(&self, flags: &str) -> Anyhow<f64> {
        self.eval(&format!("{flags} --data rows.jsonl"))?["loss"].as_f64().ok_or_else(|| "no loss".into())
    }
}

/// The words of `loract train` with `flags` in place of the defaults.
pub fn train(flags: &str) -> String {
    let given = |flag: &str| flags.split_whitespace().any(|word| word.split('=').next() == Some(flag));
    let kept = TRAIN.iter().filter(|default| {
        let flag = default.split(' ').next().unwrap_or_default();
        !(given(flag) || flag == "--lora-rank" && given("--adapter") || given("--config"))
    });
    format!("train {} {flags}", kept.copied().collect::<Vec<_>>().join(" "))
}

/// What a run of the program came to.
pub struct Outcome {
    pub words: String,
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Outcome {
    /// Of a program that has ended.
    pub fn of(words: &str, output: Output) -> Anyhow<Self> {
        Ok(Self {
            words: words.to_owned(),
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout)?,
            stderr: String::from_utf8(output.stderr)?,
        })
    }

    /// Everything, for a message.
    pub fn told(&self) -> String {
        let Outcome { words, code, stdout, stderr } = self;
        format!("loract {words}\nexit code {code:?}\nstdout:\n{stdout}\nstderr:\n{stderr}")
    }

    /// What is wrong with it as an answer to bad input: it must end with `code`, print nothing on stdout, and tell every
    /// word of `says` on stderr, without a panic.
    pub fn complaint(&self, code: i32, says: &[&str]) -> Option<String> {
        let stderr = self.stderr.to_lowercase();
        let panicked = ["panicked", "stack backtrace", "rust_backtrace", ".rs:"].iter().find(|p| stderr.contains(**p));
        // Facts and the configuration come before; the complaint itself must say it.
        let complaint = self.stderr.find("error: ").map_or(&self.stderr[..], |at| &self.stderr[at..]);
        let unsaid: Vec<_> = says.iter().filter(|word| !complaint.contains(**word)).collect();
        let what = if let Some(panicked) = panicked {
            format!("it says {panicked:?}")
        } else if self.code != Some(code) {
            format!("expected exit code {code}")
        } else if !self.stdout.is_empty() {
            "expected nothing on stdout".to_owned()
        } else if !unsaid.is_empty() {
            format!("stderr lacks {unsaid:?}")
        } else {
            return None;
        };
        Some(format!("{what}\n{}", self.told()))
    }
}

/// A grey PNG.
fn png(height: u32, width: u32, pixels: &[u8]) -> Anyhow<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(png::ColorType::Grayscale);
    encoder.set_depth(png::BitDepth::Eight);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(pixels)?;
    writer.finish()?;
    Ok(bytes)
}

/// The folder of a golden case.
pub fn golden(case: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../testkit/golden").join(case)
}

fn files(folder: &Path) -> Anyhow<Files> {
    let mut found = Files::new();
    let mut open = vec![folder.to_path_buf()];
    while let Some(next) = open.pop() {
        for entry in fs::read_dir(&next)? {
            let path = entry?.path();
            if path.is_dir() {
                open.push(path);
            } else {
                let name = path.strip_prefix(folder)?.to_string_lossy().replace('\\', "/");
                found.insert(name, fs::read(&path)?);
            }
        }
    }
    Ok(found)
}

/// A table of bad inputs against one good earlier run in `out`: each case is prepared in a place of its own, run with
/// its words, and must be refused with `code` and leave `out` as it was.
pub struct Bad {
    pub name: &'static str,
    pub prepare: fn(&Place) -> Anyhow,
    /// Flags for [`Place::train`].
    pub flags: &'static str,
    pub says: &'static [&'static str],
}

/// Runs a table; every failure is told, not only the first.
pub fn refuse(case: &str, code: i32, table: &[Bad]) -> Anyhow {
    let mut failures = Vec::new();
    for bad in table {
        let place = Place::with(case)?;
        place.write("llama.gguf", &fs::read(golden("gguf").join("llama.gguf"))?)?;
        earlier_run(&place)?;
        let earlier = place.files("out")?;
        (bad.prepare)(&place).map_err(|e| format!("{}: {e}", bad.name))?;
        let outcome = place.train(bad.flags)?;
        let mut found = outcome.complaint(code, bad.says);
        if found.is_none() {
            found = changed(&earlier, &place.files("out")?, code).map(|what| format!("{what}\n{}", outcome.told()));
        }
        failures.extend(found.map(|what| format!("=== {}: {what}", bad.name)));
    }
    if failures.is_empty() { Ok(()) } else { Err(failures.join("\n").into()) }
}

/// What a good run leaves in `out`, made once for all tests (they only look whether it stays).
pub fn earlier_run(place: &Place) -> Anyhow {
    static EARLIER: std::sync::OnceLock<Files> = std::sync::OnceLock::new();
    if EARLIER.get().is_none() {
        let good = Place::with("llama-tied")?;
        good.trained("--eval-data rows.jsonl --eval-every 1")?;
        EARLIER.get_or_init(|| good.files("out").unwrap_or_default());
    }
    let files = EARLIER.get().ok_or("no earlier run")?;
    for name in ["adapter_model.safetensors", "best/adapter_model.safetensors", "report.json"] {
        assert!(files.contains_key(name), "{name}");
    }
    files.iter().try_for_each(|(name, bytes)| place.write(&format!("out/{name}"), bytes))
}

/// What a refused run changed of an earlier one. Only a run that began, and failed, may leave its log beside.
pub fn changed(earlier: &Files, now: &Files, code: i32) -> Option<String> {
    let log = if code == 1 { "metrics.jsonl.partial" } else { "" };
    let gone = earlier.iter().find(|(name, bytes)| now.get(*name) != Some(bytes));
    let new = now.keys().find(|name| !earlier.contains_key(*name) && *name != log);
    gone.map(|(name, _)| format!("the earlier {name} was changed")).or(new.map(|name| format!("{name} was left")))
}
