//! How a token is picked from its logits. Steps and their order are those of Transformers (`generation/logits_process.py` of
//! version 5.24): repetition penalty, temperature, top-k, top-p, and a draw.

use loract_autograd::Rng;

/// How a token is picked.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampling {
    /// Logits are divided by it before the draw; 0 = the likeliest token, without a draw.
    pub temperature: f32,
    /// Only this many of the likeliest tokens; 0 = all.
    pub top_k: usize,
    /// Only the likeliest tokens that make up this share of the probability, in 0..=1; 1 = all.
    pub top_p: f32,
    /// Logits of tokens in the text so far are divided by it (multiplied, below 0); 1 = off. Source: Keskar et al., CTRL
    /// (arXiv 1909.05858), section 4.1.
    pub repetition_penalty: f32,
}

impl Default for Sampling {
    /// The likeliest token.
    fn default() -> Self {
        Self { temperature: 0.0, top_k: 0, top_p: 1.0, repetition_penalty: 1.0 }
    }
}

/// A setting that means nothing.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[error("{value}; {expected}")]
pub struct SamplingError {
    /// The setting, as flags call it.
    pub key: &'static str,
    /// What was given.
    pub value: f32,
    /// What may be given.
    pub expected: &'static str,
}

impl Sampling {
    /// Itself, if every setting means something.
    ///
    /// # Errors
    /// [`SamplingError`] for the first that does not.
    pub fn checked(self) -> Result<Self, SamplingError> {
        let wrong = |key, value, expected| Err(SamplingError { key, value, expected });
        if !(self.temperature >= 0.0 && self.temperature.is_finite()) {
            return wrong("temperature", self.temperature, "it is 0 (the likeliest token) or more");
        }
        if !(self.top_p > 0.0 && self.top_p <= 1.0) {
            return wrong("top-p", self.top_p, "it is above 0 and at most 1");
        }
        if !(self.repetition_penalty > 0.0 && self.repetition_penalty.is_finite()) {
            return wrong("repetition-penalty", self.repetition_penalty, "it is above 0; 1 is off, 1.1 is usual");
        }
        Ok(self)
    }
}

/// Picks tokens.
#[derive(Debug)]
pub(super) struct Sampler {
    sampling: Sampling,
    rng: Rng,
}

impl Sampler {
    pub(super) fn new(sampling: Sampling, seed: u64) -> Self {
        Self { sampling, rng: Rng::new(&[seed, 0x7465_7874]) }
    }

    /// A token that follows `text`, whose logits are given and used up. `None` if one of them is not finite.
    pub(super) fn pick(&mut self, logits: &mut [f32], text: &[u32]) -> Option<u32> {
        if logits.iter().any(|x| !x.is_finite()) {
            return None;
        }
        if self.sampling.repetition_penalty != 1.0 {
            penalise(logits, text, self.sampling.repetition_penalty);
        }
        if self.sampling.temperature == 0.0 {
            return likeliest(logits);
        }
        let candidates = candidates(logits, &self.sampling);
        let mut left = f64::from(self.rng.uniform());
        let drawn = candidates.iter().find(|(_, share)| {
            left -= share;
            left < 0.0
        });
        // The shares may sum to a little less than 1.
        drawn.or(candidates.first()).map(|&(token, _)| token)
    }
}

/// The first of the largest.
fn likeliest(logits: &[f32]) -> Option<u32> {
    let best = (0..logits.len()).reduce(|best, i| if logits[i] > logits[best] { i } else { best });
    best.map(|token| token as u32)
}

/// Each token of the text once, however often it is there.
fn penalise(logits: &mut [f32], text: &[u32], penalty: f32) {
    let mut tokens = text.to_vec();
    tokens.sort_unstable();
    tokens.dedup();
    for token in tokens {
        if let Some(logit) = logits.get_mut(token as usize) {
            *logit = if *logit < 0.0 { *logit * penalty } else { *logit / penalty };
        }
    }
}

/// Tokens that may be drawn, the likeliest first, with their probabilities, which sum to 1. There is always one.
fn candidates(logits: &[f32], sampling: &Sampling) -> Vec<(u32, f64)> {
    let mut order: Vec<u32> = (0..logits.len() as u32).collect();
    let logit = |token: u32| f64::from(logits[token as usize]) / f64::from(sampling.temperature);
    let by_logit = |a: &u32, b: &u32| logits[*b as usize].total_cmp(&logits[*a as usize]).then(a.cmp(b));
    if (1..order.len()).contains(&sampling.top_k) {
        order.select_nth_unstable_by(sampling.top_k - 1, by_logit);
        order.truncate(sampling.top_k);
    }
    order.sort_unstable_by(by_logit);
    let best = order.first().map_or(0.0, |&token| logit(token));
    let mut shares: Vec<(u32, f64)> = order.into_iter().map(|token| (token, (logit(token) - best).exp())).collect();
    scale_to_one(&mut shares);
    if sampling.top_p < 1.0 {
        let mut before = 0.0;
        let kept = shares.iter().take_while(|(_, share)| {
            let kept = before < f64::from(sampling.top_p);
            before += share;
            kept
        });
        let kept = kept.count().max(1);
        shares.truncate(kept);
        scale_to_one(&mut shares);
    }
    shares
}

fn scale_to_one(shares: &mut [(u32, f64)]) {
    let total: f64 = shares.iter().map(|(_, share)| share).sum();
    shares.iter_mut().for_each(|(_, share)| *share /= total);
}

#[cfg(test)]
mod tests {
    use loract_testkit::golden::{folder, json};

    use super::*;

    const LOGITS: [f32; 5] = [1.0, 3.0, 2.0, 3.0, -1.0];

    fn pick(sampling: Sampling, text: &[u32]) -> Option<u32> {
        Sampler::new(sampling, 0).pick(&mut LOGITS.to_vec(), text)
    }

    #[test]
    fn greedy_takes_the_first_of_the_largest_and_a_penalty_moves_it() {
        assert_eq!(pick(Sampling::default(), &[]), Some(1));
        assert_eq!(pick(Sampling { repetition_penalty: 2.0, ..Sampling::default() }, &[1, 1]), Some(3));
        assert_eq!(pick(Sampling { repetition_penalty: 2.0, ..Sampling::default() }, &[1, 3, 77]), Some(2));
    }

    #[test]
    fn what_is_not_finite_is_never_picked() {
        let mut sampler = Sampler::new(Sampling { temperature: 1.0, ..Sampling::default() }, 0);
        for odd in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            assert_eq!(sampler.pick(&mut [0.0, odd], &[]), None);
        }
        assert_eq!(sampler.pick(&mut [], &[]), None);
    }

    #[test]
    fn probabilities_equal_those_of_transformers() {
        let rows = json(&folder("generate").join("sampling.json"));
        let rows = rows.as_array().map_or(&[][..], Vec::as_slice);
        assert_eq!(rows.len(), 6);
        for row in rows {
            let number = |key: &str| row[key].as_f64().unwrap_or(f64::NAN);
            let numbers = |key: &str| -> Vec<f64> {
                row[key].as_array().into_iter().flatten().filter_map(serde_json::Value::as_f64).collect()
            };
            let sampling = Sampling {
                temperature: number("temperature") as f32,
                top_k: number("top_k") as usize,
                top_p: number("top_p") as f32,
                repetition_penalty: number("repetition_penalty") as f32,
            };
            let mut logits: Vec<f32> = numbers("logits").into_iter().map(|x| x as f32).collect();
            let text: Vec<u32> = numbers("text").into_iter().map(|x| x as u32).collect();
            penalise(&mut logits, &text, sampling.repetition_penalty);
            let mut got = vec![0.0; logits.len()];
            candidates(&logits, &sampling).into_iter().for_each(|(token, share)| got[token as usize] = share);
            let want = numbers("probabilities");
            assert_eq!(got.len(), want.len());
            for (token, (got, want)) in got.iter().zip(&want).enumerate() {
                assert!((got - want).abs() < 1e-5, "{sampling:?}, token {token}: {got} against {want}");
            }
        }
    }

    #[test]
    fn draws_follow_the_probabilities() {
        let sampling = Sampling { temperature: 0.7, top_k: 4, top_p: 0.97, repetition_penalty: 1.0 };
        let shares = candidates(&LOGITS, &sampling);
        let mut sampler = Sampler::new(sampling, 3);
        let mut counts = [0usize; 5];
        let draws = 20_000;
        for _ in 0..draws {
            counts[sampler.pick(&mut LOGITS.to_vec(), &[]).map_or(4, |token| token as usize)] += 1;
        }
        for (token, share) in shares {
            let got = counts[token as usize] as f64 / draws as f64;
            // Four standard deviations.
            let off = 4.0 * (share * (1.0 - share) / draws as f64).sqrt();
            assert!((got - share).abs() < off, "token {token}: {got} against {share}");
        }
        assert_eq!(counts[0] + counts[4], 0, "outside of top-p and top-k");
    }

    #[test]
    fn extreme_settings_leave_a_token() {
        for (temperature, top_p, top_k) in [(1e-30, 1.0, 0), (1e30, 1e-30, 0), (1.0, 1e-30, 1), (1.0, 1.0, 900)] {
            let shares = candidates(&LOGITS, &Sampling { temperature, top_k, top_p, repetition_penalty: 1.0 });
            let total: f64 = shares.iter().map(|(_, share)| share).sum();
            assert!((total - 1.0).abs() < 1e-12 && !shares.is_empty(), "{shares:?}");
        }
    }

    #[test]
    fn settings_that_mean_nothing_are_named() {
        let default = Sampling::default();
        for (sampling, key) in [
            (Sampling { temperature: -1.0, ..default }, "temperature"),
            (Sampling { temperature: f32::NAN, ..default }, "temperature"),
            (Sampling { top_p: 0.0, ..default }, "top-p"),
            (Sampling { top_p: 1.5, ..default }, "top-p"),
            (Sampling { repetition_penalty: 0.0, ..default }, "repetition-penalty"),
        ] {
            assert_eq!(sampling.checked().err().map(|error| error.key), Some(key));
        }
        assert_eq!(default.checked(), Ok(default));
    }
}
