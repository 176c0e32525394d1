//! Attention: grouped heads, ragged sequences, sliding windows, capped scores, tokens that see all others, sequences longer
//! than a block of 64 rows, and tokens that follow those of a cache.

use std::ops::Range;

use loract_autograd::ops::{AttentionShape, Mask, attention};
use loract_autograd::{Category, KvCache, Memory, Policy, Tape};

use crate::harness::{Case, KEY, Matrix, Op, Result, assert_close, random};

/// Heads, key/value heads, features of a head.
type Sizes = (usize, usize, usize);

fn case(name: &'static str, sizes: Sizes, window: Option<usize>, lengths: &[usize]) -> Case {
    case_of(name, AttentionShape { mask: Mask::Causal { window }, ..plain(sizes) }, lengths)
}

fn plain((heads, kv_heads, head_dim): Sizes) -> AttentionShape {
    AttentionShape::causal(heads, kv_heads, head_dim)
}

fn case_of(name: &'static str, shape: AttentionShape, lengths: &[usize]) -> Case {
    let AttentionShape { heads, kv_heads, head_dim, .. } = shape;
    let mut end = 0;
    let sequences: Vec<Range<usize>> = lengths
        .iter()
        .map(|len| {
            end += len;
            end - len..end
        })
        .collect();
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

#[test]
fn every_token_sees_every_other_of_its_sequence() -> Result {
    let of_all = |sizes| AttentionShape { mask: Mask::None, ..plain(sizes) };
    for case in [
        case_of("all: one row", of_all((2, 1, 4)), &[1]),
        case_of("all: grouped heads, ragged", of_all((6, 2, 4)), &[5, 1, 12, 3]),
        case_of("all: several blocks", of_all((2, 1, 2)), &[5, 131]),
        case_of("all: whole blocks", of_all((1, 1, 2)), &[64, 128]),
    ] {
        check(&case)?;
    }
    Ok(())
}

/// From four sequences on blocks are as large as a cache allows: 300 rows are two of 150, the others one each.
#[test]
fn large_blocks_where_every_token_sees_every_other() -> Result {
    check(&case_of("large blocks", AttentionShape { mask: Mask::None, ..plain((1, 1, 1)) }, &[2, 300, 1, 70]))
}

/// More sequences than backward works on at a time: the same bits as of a few at a time.
#[test]
fn many_sequences_are_as_few() -> Result {
    let shape = AttentionShape { mask: Mask::None, ..plain((4, 2, 64)) };
    let (many, few) = (160, 20);
    let case = |count: usize| case_of("many", shape, &vec![64; count]);
    let (all, dy) = (case(many), random(many * 64 * 256, 8));
    let together = all.run(Policy::exact(), KEY, &dy, false)?;
    for at in 0..many / few {
        let part = |numbers: &[f32]| {
            let len = numbers.len() * few / many;
            numbers[at * len..(at + 1) * len].to_vec()
        };
        let mut some = case(few);
        for (some, all) in some.inputs.iter_mut().zip(&all.inputs) {
            some.numbers = part(&all.numbers);
        }
        let apart = some.run(Policy::exact(), KEY, &part(&dy), false)?;
        assert_eq!(apart.output, part(&together.output));
        for (apart, together) in apart.gradients.iter().zip(&together.gradients) {
            assert!(apart == &part(together), "sequences from {} on", at * few);
        }
    }
    Ok(())
}

#[test]
fn another_scale_than_that_of_the_width() -> Result {
    check(&case_of("scale", AttentionShape { scale: 0.3, ..plain((4, 2, 4)) }, &[7, 3]))
}

#[test]
fn scores_are_capped_before_the_mask() -> Result {
    for (mask, sizes, lengths) in [
        (Mask::Causal { window: None }, (6, 2, 4), &[5, 1, 12, 3][..]),
        (Mask::Causal { window: Some(3) }, (4, 2, 4), &[2, 11, 5]),
        (Mask::None, (4, 2, 4), &[2, 11, 5]),
        (Mask::Causal { window: Some(70) }, (2, 1, 2), &[3, 131, 1, 20]),
        (Mask::None, (2, 1, 2), &[70, 3]),
    ] {
        for cap in [0.5, 4.0] {
            let shape = AttentionShape { softcap: Some(cap), mask, scale: 1.2, ..plain(sizes) };
            check(&case_of("capped", shape, lengths))?;
        }
    }
    Ok(())
}

/// Queries of zeros give every key that is seen the same weight, capped or not: the output is a mean of values.
#[test]
fn equal_scores_give_the_mean() -> Result {
    let lengths = [80, 1, 30];
    for (mask, softcap) in [(Mask::None, None), (Mask::None, Some(2.0)), (Mask::Causal { window: Some(9) }, Some(2.0))]
    {
        let mut case = case_of("mean", AttentionShape { softcap, mask, ..plain((2, 1, 3)) }, &lengths);
        case.inputs[0].numbers.fill(0.0);
        let output = case.run(Policy::exact(), KEY, &random(111 * 6, 1), false)?.output;
        let v = &case.inputs[2].numbers;
        let mut start = 0;
        for len in lengths {
            for row in start..start + len {
                let seen = match mask {
                    Mask::None => start..start + len,
                    Mask::Causal { .. } => (row + 1).saturating_sub(9).max(start)..row + 1,
                };
                for (at, &o) in output[row * 6..(row + 1) * 6].iter().enumerate() {
                    let sum: f64 = seen.clone().map(|key| f64::from(v[key * 3 + at % 3])).sum();
                    let off = (f64::from(o) - sum / seen.len() as f64).abs();
                    assert!(off <= 100.0 * f64::from(f32::EPSILON), "row {row}: off by {off:e}");
                }
            }
            start += len;
        }
    }
    Ok(())
}

/// Tokens one by one, or some at a time, after those of a cache see what they would see in a whole sequence.
#[test]
fn tokens_after_those_of_a_cache() -> Result {
    const TOKENS: usize = 90;
    for (softcap, window) in [(None, None), (Some(1.5), None), (Some(1.5), Some(20)), (None, Some(70))] {
        let shape = AttentionShape { softcap, mask: Mask::Causal { window }, ..plain((4, 2, 4)) };
        let case = case_of("whole", shape, &[TOKENS]);
        let whole = case.op.oracle(&case.args());
        let (memory, mut cache) = (Memory::new(), KvCache::new());
        let (mut output, mut start) = (Vec::new(), 0);
        for count in [70, 1, 1, 10, 1, 7] {
            let mut tape = Tape::generation(&memory, &mut cache);
            let inputs: Vec<_> = case
                .inputs
                .iter()
                .map(|x| {
                    let rows = x.numbers[start * x.cols..(start + count) * x.cols].to_vec();
                    tape.input(memory.tensor(count, x.cols, rows, Category::Transient), false)
                })
                .collect();
            let inputs = inputs.try_into().expect("q, k and v");
            let o = attention(&mut tape, inputs, shape, &std::iter::once(0..count).collect())?;
            output.extend(o.tensor().to_vec());
            start += count;
        }
        assert_eq!(start, TOKENS);
        assert_close(&format!("cache, {softcap:?}, {window:?}"), &[output], &[whole], case.tolerance());
    }
    Ok(())
}

/// Each sequence as if it were alone: no row sees another sequence.
#[test]
fn sequences_do_not_see_each_other() -> Result {
    let windowed = AttentionShape { mask: Mask::Causal { window: Some(66) }, ..plain((4, 2, 4)) };
    for shape in [windowed, AttentionShape { mask: Mask::None, softcap: Some(1.0), ..windowed }] {
        alone_and_together(shape)?;
    }
    Ok(())
}

fn alone_and_together(shape: AttentionShape) -> Result {
    let lengths = [70, 3, 90];
    let together = case_of("together", shape, &lengths);
    let dy = random(163 * 16, 8);
    let all = together.run(Policy::exact(), KEY, &dy, false)?;
    let mut start = 0;
    for len in lengths {
        let rows = |numbers: &[f32]| {
            let cols = numbers.len() / 163;
            numbers[start * cols..(start + len) * cols].to_vec()
        };
        let mut alone = case_of("alone", shape, &[len]);
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
