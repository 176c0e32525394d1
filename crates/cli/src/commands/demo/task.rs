//! Generated tasks over short words: what the embedded model was pre-trained on, and what the demo teaches it.
//!
//! A row is  begin, task, letters…, `=`, letters of the answer…, end.  Only the answer and the end are trained.

use loract_autograd::Rng;
use loract_models::Row;

/// Tokens that the model knows.
#[cfg(test)]
const VOCABULARY: usize = 32;
const BEGIN: u32 = 1;
const END: u32 = 2;
const EQUALS: u32 = 3;
const FIRST_LETTER: u32 = 12;
const LETTERS: usize = 20;

/// What is to be done with a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Task {
    /// The word again (pre-training).
    Copy,
    /// From back to front (pre-training).
    Reverse,
    /// Each letter twice, the second half of the word left out (pre-training).
    Double,
    /// The first letter moved to the end (the demo's own task; its token never occurs in pre-training).
    Rotate,
}

impl Task {
    /// Those of pre-training.
    pub const PRETRAINING: [Task; 3] = [Task::Copy, Task::Reverse, Task::Double];

    fn token(self) -> u32 {
        match self {
            Task::Copy => 4,
            Task::Reverse => 5,
            Task::Double => 6,
            Task::Rotate => 7,
        }
    }

    fn answer(self, word: &[u32]) -> Vec<u32> {
        match self {
            Task::Copy => word.to_vec(),
            Task::Reverse => word.iter().rev().copied().collect(),
            Task::Double => word.iter().take(word.len().div_ceil(2)).flat_map(|&l| [l, l]).collect(),
            Task::Rotate => word[1..].iter().chain(&word[..1]).copied().collect(),
        }
    }

    /// A row with a random word of 4 to 9 letters.
    pub fn row(self, rng: &mut Rng) -> Row {
        let word: Vec<u32> = (0..4 + rng.below(6)).map(|_| FIRST_LETTER + rng.below(LETTERS) as u32).collect();
        let mut ids = vec![BEGIN, self.token()];
        ids.extend(&word);
        ids.push(EQUALS);
        let prompt = ids.len();
        ids.extend(self.answer(&word));
        ids.push(END);
        let labels = ids.iter().enumerate().map(|(i, &id)| (i >= prompt).then_some(id)).collect();
        Row { ids, labels }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_what_they_are_called() {
        let word = [13, 14, 15];
        assert_eq!(Task::Rotate.answer(&word), [14, 15, 13]);
        assert_eq!(Task::Reverse.answer(&word), [15, 14, 13]);
        assert_eq!(Task::Double.answer(&word), [13, 13, 14, 14]);
        let row = Task::Copy.row(&mut Rng::new(&[1]));
        assert!(row.ids.iter().all(|&id| (id as usize) < VOCABULARY));
        assert_eq!(row.trained_tokens(), (row.ids.len() - 4) / 2 + 1);
    }
}
