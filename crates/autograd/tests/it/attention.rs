//! Attention: grouped heads, ragged sequences, sliding windows, sequences longer than a block of 64 rows.

use std::ops::Range;

use loract_autograd::Policy;
use loract_autograd::ops::AttentionShape;

use crate::harness::{Case, KEY, Matrix, Op, Result, assert_close, random};

fn case(
    name: &'static str,
    (heads, kv_heads, head_dim): (usize, usize, usize),
    window: Option<usize>,
    lengths: &[usize],
) -> Case {
    let mut end = 0;
    let sequences: Vec<Range<usize>> = lengths
        .iter()
        .map(|len| {
            end += len;
            end - len..end
        })
        .collect();
    let shape = AttentionShape { heads, kv_heads, head_dim, window };
    let input = |heads, seed| Matrix::random(end, heads * head_dim, seed);
    let inputs = vec![input(heads, 1), input(kv_heads, 2), input(kv_heads, 3)];
    // Sums over keys seen, over features, and for k and v over the queries of a group's heads.
    let longest = lengths.iter().copied().max().unwrap_or(0);
    let terms = longest * heads / kv_heads + head_dim;
    Case { name, op: Op::Attention { shape, sequences: sequences.into() }, inputs, terms }
}

fn check(case: &Case) -> Result {
    let dy = case.seed();
    let got = case.run(Policy::exact(), KEY, &dy, false)?;
    assert_close(case.name, std::slice::from_ref(&got.output), &[case.op.oracle(&case.args())], case.tolerance());
    // Backward is a chain of four products: the scores, dy·vᵀ, the row sums, and the products with q and k.
    assert_close(case.name, &got.gradients, &case.numeric_gradients(&dy), 4.0 * case.tolerance());
    assert_eq!(got, case.run(Policy::exact(), KEY, &dy, true)?, "{}: held inputs", case.name);
    Ok(())
}

#[test]
fn short_sequences() -> Result {
    for case in [
        case("no rows", (2, 1, 4), None, &[]),
        case("one row", (2, 1, 4), None, &[1]),
        case("one head", (1, 1, 6), None, &[9]),
        case("grouped heads, ragged", (6, 2, 4), None, &[5, 1, 12, 3]),
        case("a key head each, odd width", (3, 3, 5), None, &[7, 10]),
        case("window of 1", (2, 1, 4), Some(1), &[6, 1, 4]),
        case("window of 3, ragged", (4, 2, 4), Some(3), &[2, 11, 5]),
        case("window beyond the sequence", (2, 2, 4), Some(50), &[9, 4]),
    ] {
        check(&case)?;
    }
    Ok(())
}

#[test]
fn several_blocks() -> Result {
    check(&case("three blocks", (2, 1, 2), None, &[5, 131]))
}

#[test]
fn several_blocks_with_a_window_across_them() -> Result {
    for (window, lengths) in [(70, &[3, 131][..]), (20, &[131, 2][..]), (64, &[128][..]), (1, &[129][..])] {
        check(&case("window across blocks", (2, 1, 2), Some(window), lengths))?;
    }
    Ok(())
}

/// Each sequence as if it were alone: no row sees another sequence.
#[test]
fn sequences_do_not_see_each_other() -> Result {
    let lengths = [70, 3, 90];
    let together = case("together", (4, 2, 4), Some(66), &lengths);
    let dy = random(163 * 16, 8);
    let all = together.run(Policy::exact(), KEY, &dy, false)?;
    let mut start = 0;
    for len in lengths {
        let rows = |numbers: &[f32]| {
            let cols = numbers.len() / 163;
            numbers[start * cols..(start + len) * cols].to_vec()
        };
        let mut alone = case("alone", (4, 2, 4), Some(66), &[len]);
        for (alone, input) in alone.inputs.iter_mut().zip(&together.inputs) {
            alone.numbers = rows(&input.numbers);
        }
        let one = alone.run(Policy::exact(), KEY, &rows(&dy), false)?;
        assert_eq!(one.output, rows(&all.output));
        let of_all: Vec<_> = all.gradients.iter().map(|g| rows(g)).collect();
        assert_eq!(one.gradients, of_all);
        start += len;
    }
    Ok(())
}

/// Scores of some hundred: softmax must neither overflow nor lose the row.
#[test]
fn large_scores_stay_finite() -> Result {
    let mut case = case("large", (1, 1, 4), None, &[80]);
    for input in &mut case.inputs[..2] {
        input.numbers.iter_mut().for_each(|x| *x *= 20.0);
    }
    let got = case.run(Policy::exact(), KEY, &random(80 * 4, 1), false)?;
    assert!(got.output.iter().chain(got.gradients.iter().flatten()).all(|x| x.is_finite()));
    // A rounding of a score s changes its weight by |s|·eps: |s| is up to 4·30²/2.
    let want = case.op.oracle(&case.args());
    assert_close("large", &[got.output], &[want], case.tolerance() + 1800.0 * f64::from(f32::EPSILON));
    Ok(())
}
