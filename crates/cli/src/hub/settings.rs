//! What the environment says, in the variables of Python's `huggingface_hub`.

use std::env;
use std::path::PathBuf;
use std::time::Duration;

use hf_hub::Cache;

use super::error::Error;
use super::url;

const ENDPOINT: &str = "https://huggingface.co";

/// How long a server may be silent. Python's is 10 s, which a slow line goes beyond.
const SILENCE: Duration = Duration::from_secs(60);

/// Whether requests may be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Yes.
    Online,
    /// `HF_HUB_OFFLINE`: the cache must do.
    Offline,
}

/// Where to ask, as whom, and where things are kept.
#[derive(Debug)]
pub struct Settings {
    /// `HF_ENDPOINT`, without a slash at its end.
    pub endpoint: String,
    /// `HF_TOKEN`, or the contents of the file at `HF_TOKEN_PATH` or `HF_HOME/token`.
    pub token: Option<String>,
    /// Whether requests may be made.
    pub reach: Reach,
    /// `HF_HUB_CACHE`, or `HF_HOME/hub`, or `~/.cache/huggingface/hub`.
    pub cache: Cache,
    /// `HF_HUB_DOWNLOAD_TIMEOUT`: how long the server may be silent.
    pub silence: Duration,
}

impl Settings {
    /// Reads the environment.
    ///
    /// # Errors
    /// [`Error::Variable`].
    pub fn of_environment() -> Result<Self, Error> {
        let endpoint = given("HF_ENDPOINT").unwrap_or_else(|| ENDPOINT.to_owned());
        let endpoint = endpoint.trim_end_matches('/').to_owned();
        if url::server(&endpoint).is_none() {
            return Err(wrong("HF_ENDPOINT", format!("`{endpoint}` is no address such as {ENDPOINT}")));
        }
        let at_home = Cache::new(home()?.join("hub"));
        let token = given("HF_TOKEN").or_else(|| match given("HF_TOKEN_PATH") {
            Some(path) => std::fs::read_to_string(path).ok(),
            None => at_home.token(),
        });
        let token = token.map(|token| token.trim().to_owned()).filter(|token| !token.is_empty());
        if token.as_ref().is_some_and(|token| !token.chars().all(|c| c.is_ascii_graphic())) {
            return Err(wrong("HF_TOKEN", "the token has characters that no token has".into()));
        }
        let offline = given("HF_HUB_OFFLINE").is_some_and(|word| is_yes(&word));
        Ok(Self {
            endpoint,
            token,
            reach: if offline { Reach::Offline } else { Reach::Online },
            cache: given("HF_HUB_CACHE").map_or(at_home, |path| Cache::new(path.into())),
            silence: silence(given("HF_HUB_DOWNLOAD_TIMEOUT"))?,
        })
    }
}

fn given(variable: &str) -> Option<String> {
    env::var(variable).ok().filter(|value| !value.is_empty())
}

fn wrong(variable: &'static str, what: String) -> Error {
    Error::Variable { variable, what }
}

/// `HF_HOME`, or huggingface in `XDG_CACHE_HOME` or ~/.cache.
fn home() -> Result<PathBuf, Error> {
    if let Some(home) = given("HF_HOME") {
        return Ok(home.into());
    }
    if let Some(caches) = given("XDG_CACHE_HOME") {
        return Ok(PathBuf::from(caches).join("huggingface"));
    }
    let user = env::home_dir().filter(|user| !user.as_os_str().is_empty());
    let user =
        user.ok_or_else(|| wrong("HF_HOME", "not set, and there is no home directory: set it to a folder".into()))?;
    Ok(user.join(".cache").join("huggingface"))
}

fn is_yes(word: &str) -> bool {
    ["1", "on", "yes", "true"].contains(&word.to_ascii_lowercase().as_str())
}

fn silence(given: Option<String>) -> Result<Duration, Error> {
    let Some(text) = given else { return Ok(SILENCE) };
    match text.trim().parse::<u64>() {
        Ok(seconds) if seconds > 0 => Ok(Duration::from_secs(seconds)),
        _ => Err(wrong("HF_HUB_DOWNLOAD_TIMEOUT", format!("`{text}` is not a number of seconds"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_seconds() {
        assert!(["1", "ON", "yes", "True"].into_iter().all(is_yes));
        assert!(!["0", "off", "no", "2"].into_iter().any(is_yes));
        assert_eq!(silence(Some("7".into())).ok(), Some(Duration::from_secs(7)));
        assert!(silence(Some("0".into())).is_err() && silence(Some("soon".into())).is_err());
    }
}
