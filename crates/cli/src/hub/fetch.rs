//! From an id to a whole model in the cache.

use std::path::PathBuf;

use serde::Deserialize;

use super::cache::{ModelCache, is_commit};
use super::choice::{INDEX, missing, shards, wanted};
use super::client::{Ask, Client};
use super::download::bring;
use super::error::Error;
use super::id::HubId;
use super::patience::{Failed, Later, Patience};
use super::settings::{Reach, Settings};
use super::telling::Teller;
use crate::progress::Telling;

/// Most bytes of the hub's list of files.
const LISTING: u64 = 64 << 20;

/// Without it a folder may be whole and may not, so the hub is asked.
const TOKENIZER: &str = "tokenizer.json";

/// What the hub says of a revision.
#[derive(Debug, Deserialize)]
struct Listing {
    /// The commit.
    sha: String,
    siblings: Vec<Sibling>,
}

/// A file of the repository.
#[derive(Debug, Deserialize)]
struct Sibling {
    rfilename: String,
}

/// The path of the model in the cache; what is missing is fetched.
///
/// # Errors
/// If it cannot be had, is not a model, or cannot be written.
pub fn find(id: &HubId, telling: Telling) -> Result<PathBuf, Error> {
    let settings = Settings::of_environment()?;
    let cache = ModelCache::of(id, &settings.cache);
    let path = |commit: &str| id.file.iter().fold(cache.snapshot(commit), |folder, file| folder.join(file));
    let there = in_cache(id, &cache);
    if settings.reach == Reach::Offline {
        let root = cache.root().to_path_buf();
        let there = there.map_err(|missing| Error::Offline { id: id.to_string(), cache: root, missing });
        return there.map(|commit| path(&commit));
    }
    let there = there.ok();
    if let Some(commit) = &there
        && is_commit(&id.revision)
        && (id.file.is_some() || cache.snapshot(commit).join(TOKENIZER).is_file())
    {
        return Ok(path(commit));
    }
    let client = Client::new(&settings, id);
    let mut teller = Teller::new(telling);
    let commit = match ask(&client, id, there, &mut teller)? {
        Found::Listed(listing) => complete(&client, id, &cache, listing, &mut teller)?,
        Found::InCache(commit) => commit,
    };
    Ok(path(&commit))
}

/// The commit of which the cache holds all that is needed; otherwise what is missing.
fn in_cache(id: &HubId, cache: &ModelCache) -> Result<String, String> {
    let commit = cache.commit().ok_or_else(|| format!("the revision {}", id.revision))?;
    match missing(&cache.snapshot(&commit), id.file.as_deref()) {
        None => Ok(commit),
        Some(file) => Err(file),
    }
}

/// What there is to go by.
enum Found {
    Listed(Listing),
    /// The hub does not answer.
    InCache(String),
}

/// Asks for the commit and its files; patiently only if the cache has nothing to offer (`there`).
fn ask(client: &Client<'_>, id: &HubId, there: Option<String>, teller: &mut Teller) -> Result<Found, Error> {
    let mut patience = Patience::default();
    loop {
        match (list(client, id), &there) {
            (Ok(listing), _) => return Ok(Found::Listed(listing)),
            (Err(Failed::ForGood(error)), _) => return Err(error),
            (Err(Failed::ForNow(later)), None) => patience.wait(later, teller)?,
            (Err(Failed::ForNow(Later { url, reason, .. })), Some(commit)) => {
                let as_before = format!("{id} is taken as it was when last fetched, commit {commit}");
                teller.note(&format!("warning: {url}: {reason}; {as_before}"));
                return Ok(Found::InCache(commit.clone()));
            }
        }
    }
}

fn list(client: &Client<'_>, id: &HubId) -> Result<Listing, Failed> {
    let url = client.listing_url();
    let what = format!("repository {} with a revision {}", id.repository, id.revision);
    let mut answer = client.ask(&url, Ask::Page(&what))?;
    let page = answer.body_mut().with_config().limit(LISTING).read_to_vec();
    let page = page.map_err(|e| Failed::ForNow(Later { url: url.clone(), reason: e.to_string(), wait: None }))?;
    let odd = |what: String| Failed::ForGood(Error::Answer { url: url.clone(), what });
    let listing: Listing = serde_json::from_slice(&page).map_err(|e| odd(format!("not the hub's answer: {e}")))?;
    if is_commit(&listing.sha) { Ok(listing) } else { Err(odd(format!("`{}` is no commit", listing.sha))) }
}

/// Brings what is missing, and remembers where the branch is. The commit comes back.
fn complete(
    client: &Client<'_>,
    id: &HubId,
    cache: &ModelCache,
    listing: Listing,
    teller: &mut Teller,
) -> Result<String, Error> {
    let unfit = |what| Error::NoModel { id: id.to_string(), what };
    let Listing { sha: commit, siblings } = listing;
    let names: Vec<String> = siblings.into_iter().map(|file| file.rfilename).collect();
    let wanted = wanted(&names, id.file.as_deref()).map_err(unfit)?;
    let snapshot = cache.snapshot(&commit);
    let absent = |file: &str| !snapshot.join(file).is_file();
    if wanted.iter().any(|file| absent(file)) {
        teller.note(&format!("fetching {id}, commit {commit}, into {}", cache.root().display()));
    }
    for file in wanted {
        if absent(file) {
            bring(client, cache, &commit, file, teller)?;
        }
        if file == INDEX {
            let shards = shards(&snapshot.join(file)).map_err(|what| unfit(format!("a bad {INDEX}: {what}")))?;
            for shard in shards.iter().filter(|shard| absent(shard)) {
                bring(client, cache, &commit, shard, teller)?;
            }
        }
    }
    if !is_commit(&id.revision) {
        cache.set_commit(&commit)?;
    }
    Ok(commit)
}
