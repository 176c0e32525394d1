//! What can go wrong between the hub and the cache.

use std::path::PathBuf;

/// A model that could not be had by its id.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing may be asked, and the cache does not have it all.
    #[error(
        "there is no file or folder {id}, and the Hugging Face cache at {} does not hold all of that model ({missing} is \
         missing); HF_HUB_OFFLINE is set: run once without it", cache.display()
    )]
    Offline {
        /// What was typed.
        id: String,
        /// The folder of all models.
        cache: PathBuf,
        /// What was looked for first and not found.
        missing: String,
    },
    /// The hub does not know it.
    #[error("there is no file or folder {id}, and {endpoint} has no {what} (404); check the name, or the path")]
    NotFound {
        /// What was typed.
        id: String,
        /// The server asked.
        endpoint: String,
        /// What it does not have: the repository with its revision, or a file in it.
        what: String,
    },
    /// The hub does not show it to us.
    #[error(
        "there is no file or folder {id}, and {endpoint} does not let us have that model ({status}): it does not exist, is \
         private, or is gated; check the name, accept its licence at {endpoint}/{repository}, and set HF_TOKEN to a token \
         that may read it ({token})"
    )]
    Locked {
        /// What was typed.
        id: String,
        /// The server asked.
        endpoint: String,
        /// `owner/name`.
        repository: String,
        /// 401 or 403.
        status: u16,
        /// Whether one was sent.
        token: &'static str,
    },
    /// The repository has no model that is read.
    #[error("{id}: its repository has {what}")]
    NoModel {
        /// What was typed.
        id: String,
        /// What is missing and what is there instead.
        what: String,
    },
    /// A variable of the environment cannot be used.
    #[error("{variable}: {what}")]
    Variable {
        /// Its name.
        variable: &'static str,
        /// What is wrong with it.
        what: String,
    },
    /// It did not answer, however often it was asked.
    #[error(
        "{url}: {reason}; asked {tries} times; what has come so far is kept, and the same command goes on from there"
    )]
    NoAnswer {
        /// Where it was asked.
        url: String,
        /// The last reason.
        reason: String,
        /// How often.
        tries: u32,
    },
    /// It asks for more patience than we have.
    #[error("{url}: {reason}, and asks to wait {seconds} s; try again then, the same command goes on from here")]
    TooLong {
        /// Where it was asked.
        url: String,
        /// What it answered.
        reason: String,
        /// How long.
        seconds: u64,
    },
    /// An answer that makes no sense.
    #[error("{url}: {what}; is HF_ENDPOINT right?")]
    Answer {
        /// Where it was asked.
        url: String,
        /// What is wrong with the answer.
        what: String,
    },
    /// What came is not what the hub announced.
    #[error(
        "{file} from {url} is damaged: {what}; it was deleted; try again, and if it comes again so, the server or a proxy \
         before it is at fault"
    )]
    Damaged {
        /// The file in the repository.
        file: String,
        /// Where it was fetched.
        url: String,
        /// Both sides.
        what: String,
    },
    /// A file of the cache could not be written.
    #[error(
        "cannot write {}: {reason}; make room there, or set HF_HOME to a folder that can be written; what has come so far is \
         kept", path.display()
    )]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's words.
        reason: std::io::Error,
    },
}

impl Error {
    /// Whether what was typed or set is at fault, rather than the network, the server or the machine.
    pub fn is_bad_input(&self) -> bool {
        match self {
            Error::Offline { .. }
            | Error::NotFound { .. }
            | Error::Locked { .. }
            | Error::NoModel { .. }
            | Error::Variable { .. } => true,
            Error::NoAnswer { .. }
            | Error::TooLong { .. }
            | Error::Answer { .. }
            | Error::Damaged { .. }
            | Error::Write { .. } => false,
        }
    }
}
