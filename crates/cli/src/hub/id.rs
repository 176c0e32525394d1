//! Ids of models on the Hugging Face hub, as typed: `owner/name`, with `@revision` and with the path of a GGUF file in the
//! repository if wanted: `owner/name/model-q8_0.gguf@main`.

use std::fmt;

/// The branch that is meant where none is named.
const BRANCH: &str = "main";

/// What is asked of the hub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubId {
    /// `owner/name`.
    pub repository: String,
    /// A GGUF file in it; otherwise the model in safetensors is meant.
    pub file: Option<String>,
    /// Branch, tag or commit.
    pub revision: String,
}

impl HubId {
    /// Reads what may be an id; what looks like a path is none.
    pub fn read(text: &str) -> Option<Self> {
        let (place, revision) = text.split_once('@').unwrap_or((text, BRANCH));
        let mut parts = place.splitn(3, '/');
        let (owner, name, file) = (parts.next()?, parts.next()?, parts.next());
        let named = is_name(owner) && is_name(name) && is_revision(revision);
        let fits = match file {
            Some(file) => is_gguf(file) && file.split('/').all(is_plain),
            // One file of a folder, mistyped.
            None => !is_gguf(name) && !name.ends_with(".safetensors"),
        };
        (named && fits).then(|| Self {
            repository: format!("{owner}/{name}"),
            file: file.map(str::to_owned),
            revision: revision.to_owned(),
        })
    }
}

impl fmt::Display for HubId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.repository)?;
        if let Some(file) = &self.file {
            write!(f, "/{file}")?;
        }
        if self.revision == BRANCH { Ok(()) } else { write!(f, "@{}", self.revision) }
    }
}

/// Whether the hub would take it as the name of an owner or of a repository.
fn is_name(part: &str) -> bool {
    let of_name = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let at_end = |c: char| "-.".contains(c);
    (1..=96).contains(&part.len())
        && part.chars().all(of_name)
        && !part.starts_with(at_end)
        && !part.ends_with(at_end)
        && !part.contains("--")
        && !part.contains("..")
}

fn is_gguf(file: &str) -> bool {
    file.to_ascii_lowercase().ends_with(".gguf")
}

fn is_revision(text: &str) -> bool {
    text.split('/').all(is_plain)
}

/// Whether a part of a path names something in its folder, on every system.
pub fn is_plain(part: &str) -> bool {
    !part.is_empty() && !part.starts_with('.') && !part.contains(['/', '\\', ':', '\0'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_told_from_paths() {
        for (text, want) in [
            ("HuggingFaceTB/SmolLM2-135M-Instruct", Some(("HuggingFaceTB/SmolLM2-135M-Instruct", None, "main"))),
            ("a/b@v1.0", Some(("a/b", None, "v1.0"))),
            ("a/b@refs/pr/3", Some(("a/b", None, "refs/pr/3"))),
            ("a/b/c.gguf", Some(("a/b", Some("c.gguf"), "main"))),
            ("a/b/q/c.GGUF@12ab", Some(("a/b", Some("q/c.GGUF"), "12ab"))),
            ("model", None),
            ("./a/b", None),
            ("../a", None),
            ("/a/b", None),
            ("~/b", None),
            ("a/b/c", None),
            ("a/", None),
            ("a/b.gguf", None),
            ("a/model.safetensors", None),
            ("a/b/../c.gguf", None),
            ("a/b@", None),
            ("a/b@../c", None),
            ("a--b/c", None),
            (r"a\b/c", None),
            ("my model/x", None),
        ] {
            let read = HubId::read(text);
            let found = read.as_ref().map(|id| (&id.repository[..], id.file.as_deref(), &id.revision[..]));
            assert_eq!(found, want, "{text}");
            if let Some(id) = read {
                assert_eq!(id.to_string(), text);
            }
        }
    }
}
