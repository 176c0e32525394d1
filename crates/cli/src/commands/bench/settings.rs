//! Settings of `loract bench decompose`, checked before anything is measured.

use loract_linalg::gallery::Kind;
use loract_train::Error;

use super::args::DecomposeArgs;
use crate::commands::captured::ChoiceArgs;

/// More elements than this (1 GB of f32) take the machine down rather than tell anything.
const MOST_ELEMENTS: usize = 1 << 28;
const MOST_REPEATS: usize = 1000;

/// What is measured.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// m×n of the matrices by name.
    pub shape: (usize, usize),
    /// k, ascending, each once.
    pub ranks: Vec<usize>,
    /// Timed runs, and seeds.
    pub repeats: usize,
    /// Matrices by name.
    pub kinds: Vec<(&'static str, Kind)>,
}

fn wrong<T>(key: &'static str, what: impl Into<String>) -> Result<T, Error> {
    Err(Error::Setting { key, what: what.into() })
}

impl Settings {
    /// What the arguments mean.
    pub fn of(args: &DecomposeArgs) -> Result<Self, Error> {
        let kinds = kinds(args.matrices.as_deref())?;
        if args.model.is_none() {
            if args.choice != ChoiceArgs::default() {
                return wrong(
                    "model",
                    "missing: --adapter, --rows, --seq-len, --layers and --sites choose activations of a model; give --model and --data",
                );
            }
            if kinds.is_empty() {
                return wrong("matrices", "none are left to measure; name some, or give --model and --data");
            }
        }
        let repeats = args.repeats.unwrap_or(3);
        if !(1..=MOST_REPEATS).contains(&repeats) {
            return wrong("repeats", format!("{repeats}; from 1 to {MOST_REPEATS} are possible"));
        }
        let settings = Self {
            shape: shape(args.shape.as_deref().unwrap_or("2048x512"))?,
            ranks: ranks(args.ranks.as_deref())?,
            repeats,
            kinds,
        };
        if !settings.kinds.is_empty() {
            let (m, n) = settings.shape;
            settings.check_ranks("the matrices by name", m, n, "another --shape or --matrices none")?;
        }
        Ok(settings)
    }

    /// Whether all ranks exist in an m×n matrix.
    pub fn check_ranks(&self, what: &str, m: usize, n: usize, otherwise: &str) -> Result<(), Error> {
        match self.ranks.iter().find(|&&k| k > m.min(n)) {
            None => Ok(()),
            Some(k) => wrong(
                "ranks",
                format!(
                    "{k} is more than a {m}x{n} matrix has ({what}), {}; leave it out or give {otherwise}",
                    m.min(n)
                ),
            ),
        }
    }
}

fn shape(text: &str) -> Result<(usize, usize), Error> {
    let read = |side: &str| side.trim().parse::<usize>().ok().filter(|&x| x > 0);
    let sides = text.split_once(['x', 'X', '×']).and_then(|(m, n)| Some((read(m)?, read(n)?)));
    let Some((m, n)) = sides else {
        return wrong("shape", format!("`{text}` is not rows x columns of at least 1; give e.g. 2048x512"));
    };
    match m.checked_mul(n) {
        Some(elements) if elements <= MOST_ELEMENTS => Ok((m, n)),
        _ => wrong("shape", format!("{m}x{n} is too large; the most is {MOST_ELEMENTS} elements")),
    }
}

fn ranks(words: Option<&[String]>) -> Result<Vec<usize>, Error> {
    let Some(words) = words else { return Ok(vec![16, 32, 64, 128]) };
    let mut ranks = Vec::with_capacity(words.len());
    for word in words {
        match word.trim().parse::<usize>() {
            Ok(0) => return wrong("ranks", "0; the least is 1"),
            Ok(rank) => ranks.push(rank),
            Err(_) => return wrong("ranks", format!("`{word}` is not a positive number; give e.g. 16,32,64")),
        }
    }
    ranks.sort_unstable();
    ranks.dedup();
    Ok(ranks)
}

fn kinds(words: Option<&[String]>) -> Result<Vec<(&'static str, Kind)>, Error> {
    let Some(words) = words else { return Ok(Kind::ALL.to_vec()) };
    let mut chosen = Vec::new();
    for word in words.iter().map(|word| word.trim()) {
        match (word, Kind::ALL.iter().find(|(name, _)| *name == word)) {
            ("all", _) => chosen.extend(Kind::ALL),
            ("none", _) => {}
            (_, Some(found)) => chosen.push(*found),
            (_, None) => {
                let known: Vec<_> = Kind::ALL.iter().map(|(name, _)| *name).collect();
                return wrong("matrices", format!("`{word}` is none of all, none, {}", known.join(", ")));
            }
        }
    }
    // In the order of the list, each once.
    Ok(Kind::ALL.into_iter().filter(|kind| chosen.contains(kind)).collect())
}
