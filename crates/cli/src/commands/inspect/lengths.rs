//! A histogram of row lengths, in steps that read well.

use serde_json::{Value, json};

/// The most bars.
const BARS: usize = 12;
/// Signs of the longest bar.
const WIDTH: usize = 40;

/// Rows by length: bar i holds lengths from i·step to (i + 1)·step − 1.
#[derive(Debug, PartialEq, Eq)]
pub struct Lengths {
    step: usize,
    bars: Vec<usize>,
}

impl Lengths {
    /// Of rows of these lengths.
    pub fn of(lengths: impl Iterator<Item = usize>) -> Self {
        let lengths: Vec<usize> = lengths.collect();
        let longest = lengths.iter().copied().max().unwrap_or(0);
        let mut steps = (0..).flat_map(|power| [1, 2, 5].map(|digit| digit * 10usize.pow(power)));
        let step = steps.find(|step| longest / step < BARS).unwrap_or(1);
        let mut bars = vec![0; longest / step + 1];
        lengths.iter().for_each(|length| bars[length / step] += 1);
        Self { step, bars }
    }

    fn first(&self) -> usize {
        self.bars.iter().position(|&rows| rows > 0).unwrap_or(0)
    }

    /// A line a bar, from the first that holds a row.
    pub fn chart(&self) -> String {
        let most = self.bars.iter().copied().max().unwrap_or(0).max(1);
        let mut text = "tokens a row      rows".to_owned();
        for (i, &rows) in self.bars.iter().enumerate().skip(self.first()) {
            let range = format!("{} to {}", i * self.step, (i + 1) * self.step - 1);
            // A bar that holds a row is seen.
            let bar = "#".repeat((rows * WIDTH).div_ceil(most));
            text += format!("\n{range:>14}  {rows:>6}  {bar}").trim_end();
        }
        text
    }

    /// `[{"from": 0, "to": 9, "rows": 3}, …]`.
    pub fn to_json(&self) -> Value {
        let bar =
            |(i, rows): (usize, &usize)| json!({"from": i * self.step, "to": (i + 1) * self.step - 1, "rows": rows});
        self.bars.iter().enumerate().skip(self.first()).map(bar).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_have_round_steps_and_hold_every_row() {
        for (lengths, step, bars) in [
            (vec![3], 1, vec![0, 0, 0, 1]),
            (vec![11, 0], 1, vec![1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]),
            (vec![12, 13, 1], 2, vec![1, 0, 0, 0, 0, 0, 2]),
            (vec![512], 50, vec![0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]),
        ] {
            assert_eq!(Lengths::of(lengths.into_iter()), Lengths { step, bars });
        }
        let chart = Lengths::of([100, 101, 250].into_iter()).chart();
        let lines: Vec<_> = chart.lines().map(str::trim).collect();
        assert_eq!(lines[1], format!("100 to 149       2  {}", "#".repeat(40)));
        assert_eq!((lines[2], lines[4]), ("150 to 199       0", &*format!("250 to 299       1  {}", "#".repeat(20))));
    }
}
