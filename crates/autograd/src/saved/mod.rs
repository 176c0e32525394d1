//! What is kept for backward, and in what form.

mod site;

pub use site::Site;

use std::fmt;

/// The form of something saved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SavedKind {
    /// The tensor itself, f32.
    Exact,
    /// Factors of rank k, f32.
    LowRank,
}

impl fmt::Display for SavedKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SavedKind::Exact => "exact",
            SavedKind::LowRank => "low_rank",
        })
    }
}
