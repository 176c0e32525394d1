//! Evaluation of a file of text: loss, accuracy of tokens and rows, and multiple choice.

use loract_autograd::{Memory, Tape};
use loract_models::{Decoder, Row, TokenBatch};

use crate::data::Dataset;
use crate::error::Error;
use crate::evaluation::TextEvaluation;

/// Of one row: summed negative log-likelihood, trained tokens, and how many were the likeliest.
#[derive(Debug, Clone, Copy, Default)]
struct RowScore {
    nll: f64,
    tokens: usize,
    hits: usize,
}

/// Runs every row, about `batch_tokens` tokens at a time; nothing is kept for backward.
///
/// # Errors
/// Those of the model; [`Error::Evaluation`] if the loss is not finite.
pub fn evaluate(
    decoder: &Decoder,
    memory: &Memory,
    data: &Dataset,
    batch_tokens: usize,
) -> Result<TextEvaluation, Error> {
    // A row with choices is scored once for each; the right one stands for the row itself.
    let mut candidates: Vec<&Row> = Vec::new();
    let mut spans = Vec::with_capacity(data.examples().len());
    for example in data.examples() {
        let start = candidates.len();
        match &example.choices {
            None => candidates.push(&example.row),
            Some(choices) => candidates.extend(&choices.rows),
        }
        spans.push(start..candidates.len());
    }
    let scores = score(decoder, memory, &candidates, batch_tokens)?;
    let mut total = RowScore::default();
    let (mut exact, mut right, mut chosen) = (0usize, 0usize, 0usize);
    for (example, span) in data.examples().iter().zip(spans) {
        let scores = &scores[span];
        let own = match &example.choices {
            None => scores[0],
            Some(choices) => {
                let best = (0..scores.len()).fold(0, |b, i| if scores[i].nll < scores[b].nll { i } else { b });
                chosen += 1;
                right += usize::from(best == choices.answer);
                scores[choices.answer]
            }
        };
        total.nll += own.nll;
        total.tokens += own.tokens;
        total.hits += own.hits;
        exact += usize::from(own.hits == own.tokens);
    }
    let loss = total.nll / total.tokens.max(1) as f64;
    if !loss.is_finite() {
        return Err(Error::Evaluation { path: data.path().to_path_buf(), value: loss });
    }
    Ok(TextEvaluation {
        loss,
        perplexity: loss.exp(),
        tokens: total.tokens,
        rows: data.examples().len(),
        token_accuracy: total.hits as f64 / total.tokens.max(1) as f64,
        exact_match: exact as f64 / data.examples().len().max(1) as f64,
        accuracy: (chosen > 0).then(|| right as f64 / chosen as f64),
    })
}

fn score(decoder: &Decoder, memory: &Memory, rows: &[&Row], batch_tokens: usize) -> Result<Vec<RowScore>, Error> {
    let mut scores = Vec::with_capacity(rows.len());
    let mut start = 0;
    while start < rows.len() {
        let mut end = start + 1;
        let mut tokens = rows[start].ids.len();
        while end < rows.len() && tokens + rows[end].ids.len() <= batch_tokens {
            tokens += rows[end].ids.len();
            end += 1;
        }
        let batch = TokenBatch::new(rows[start..end].iter().copied());
        let mut tape = Tape::evaluation(memory);
        let output = decoder.loss(&mut tape, &batch)?;
        let mut targets = output.nll.iter().zip(&output.hits);
        for &count in batch.targets_by_row() {
            let mut one = RowScore { tokens: count, ..RowScore::default() };
            for (&nll, &hit) in targets.by_ref().take(count) {
                one.nll += f64::from(nll);
                one.hits += usize::from(hit);
            }
            scores.push(one);
        }
        start = end;
    }
    Ok(scores)
}
