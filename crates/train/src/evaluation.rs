//! What evaluations of the kinds of data find, and what of it goes into logs.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// What an evaluation found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Evaluation {
    /// Of text.
    Text(TextEvaluation),
    /// Of images.
    Images(ImageEvaluation),
}

/// What an evaluation of text found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TextEvaluation {
    /// Mean negative log-likelihood over all trained tokens.
    pub loss: f64,
    /// e^loss.
    pub perplexity: f64,
    /// Trained tokens.
    pub tokens: usize,
    /// Rows.
    pub rows: usize,
    /// Share of trained tokens that were the likeliest.
    pub token_accuracy: f64,
    /// Share of rows all of whose trained tokens were (greedy decoding gives the answer).
    pub exact_match: f64,
    /// Share of rows with `choices` whose right choice was the likeliest; absent without such rows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accuracy: Option<f64>,
}

/// What an evaluation of labelled images found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ImageEvaluation {
    /// Mean negative log-likelihood of the labels.
    pub loss: f64,
    /// Images.
    pub rows: usize,
    /// Share of images whose label was the likeliest class.
    pub accuracy: f64,
    /// Share of images whose label was among the five likeliest classes.
    pub top5_accuracy: f64,
    /// The names of the classes.
    pub classes: Vec<String>,
    /// Of the images of each class, how many were taken for each class; absent where there are more than
    /// [`ImageEvaluation::MOST_CONFUSED`] classes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confusion: Option<Vec<Vec<usize>>>,
}

impl ImageEvaluation {
    /// Most classes whose confusion is written down: a square of a million numbers.
    pub const MOST_CONFUSED: usize = 1000;
}

impl Evaluation {
    /// The mean loss, by which the best is told.
    pub fn loss(&self) -> f64 {
        match self {
            Evaluation::Text(found) => found.loss,
            Evaluation::Images(found) => found.loss,
        }
    }

    /// Share of rows that were answered rightly, if rows have answers.
    pub fn accuracy(&self) -> Option<f64> {
        match self {
            Evaluation::Text(found) => found.accuracy,
            Evaluation::Images(found) => Some(found.accuracy),
        }
    }

    /// The line of `metrics.jsonl` of an evaluation after `step`.
    pub(crate) fn line(&self, step: u64) -> Value {
        match self {
            Evaluation::Text(found) => json!({
                "step": step, "eval_loss": found.loss, "eval_tokens": found.tokens,
                "eval_exact_match": found.exact_match, "eval_accuracy": found.accuracy,
            }),
            Evaluation::Images(found) => json!({
                "step": step, "eval_loss": found.loss, "eval_rows": found.rows,
                "eval_accuracy": found.accuracy, "eval_top5_accuracy": found.top5_accuracy,
            }),
        }
    }

    /// What is drawn of it while a run goes on.
    pub(crate) fn scalars(&self) -> Vec<(&'static str, f64)> {
        let mut scalars = vec![("eval/loss", self.loss())];
        scalars.extend(self.accuracy().map(|accuracy| ("eval/accuracy", accuracy)));
        if let Evaluation::Images(found) = self {
            scalars.push(("eval/top5_accuracy", found.top5_accuracy));
        }
        scalars
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_are_read_back_as_what_they_were() -> serde_json::Result<()> {
        let text = TextEvaluation {
            loss: 1.5,
            perplexity: 4.5,
            tokens: 9,
            rows: 2,
            token_accuracy: 0.5,
            exact_match: 0.0,
            accuracy: None,
        };
        let images = ImageEvaluation {
            loss: 0.5,
            rows: 3,
            accuracy: 1.0,
            top5_accuracy: 1.0,
            classes: vec!["cat".into(), "dog".into()],
            confusion: Some(vec![vec![1, 0], vec![0, 2]]),
        };
        for (found, keys) in [
            (
                Evaluation::Text(text),
                r#"{"loss":1.5,"perplexity":4.5,"tokens":9,"rows":2,"token_accuracy":0.5,"exact_match":0.0}"#,
            ),
            (
                Evaluation::Images(images),
                r#"{"loss":0.5,"rows":3,"accuracy":1.0,"top5_accuracy":1.0,"classes":["cat","dog"],"confusion":[[1,0],[0,2]]}"#,
            ),
        ] {
            let written = serde_json::to_string(&found)?;
            assert_eq!(written, keys);
            assert_eq!(serde_json::from_str::<Evaluation>(&written)?, found);
        }
        Ok(())
    }
}
