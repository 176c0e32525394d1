//! What is remembered of a place from one step to the next: the rank of a tolerance is held, a basis is started from, and
//! given up when it no longer serves.

use loract_autograd::{BasisRecord, Category, History, Memory, PlaceRecord, Policy, Site, StepKey, WarmStart};
use loract_testkit::oracle::relative_error;
use loract_testkit::spectrum::{Spectrum, with_spectrum};

use crate::decoder::{Decoder, Options};
use crate::harness::{Matrix, Result, everywhere, wide};
use crate::kept::{Kept, at, form, keep_with};

const M: usize = 96;
const N: usize = 40;

/// Rows of one space, of which each step sees others: m×n with singular values 1/i.
struct Space {
    numbers: Vec<f32>,
}

impl Space {
    fn new(seed: u64) -> Self {
        Self { numbers: with_spectrum(16 * M, N, Spectrum::Power(1.0), seed).0 }
    }

    fn step(&self, step: usize) -> Matrix {
        let numbers = self.numbers[step * M * N..(step + 1) * M * N].to_vec();
        Matrix { rows: M, cols: N, numbers }
    }
}

fn policy(words: &str, warm_start: WarmStart) -> Policy {
    Policy { warm_start, ..at(Site::AttnIn, form(words)) }
}

/// x as it is kept at `step`, and its true relative error.
fn kept(x: &Matrix, words: &str, warm: WarmStart, step: u64, history: &mut History) -> Result<(Kept, f64)> {
    let key = StepKey { seed: 1, step, micro_batch: 0 };
    let kept = keep_with(x, policy(words, warm), key, history)?;
    let error = relative_error(&kept.numbers, &wide(&x.numbers));
    Ok((kept, error))
}

fn rank(kept: &Kept) -> usize {
    kept.bytes / (4 * (M + N))
}

#[test]
fn the_rank_of_a_tolerance_is_held_while_it_serves() -> Result {
    let (space, words) = (Space::new(1), "rqb:auto@0.2:f32");
    let mut history = History::default();
    let first = rank(&kept(&space.step(0), words, WarmStart::None, 0, &mut history)?.0);
    let mut ranks = Vec::new();
    for step in 1..16 {
        let (kept, error) = kept(&space.step(step), words, WarmStart::None, step as u64, &mut history)?;
        assert!(error <= 0.2, "step {step}: {error}");
        ranks.push(rank(&kept));
    }
    // A little more than was found, and twice again where a step's activation needs more.
    assert!(
        ranks[7..].iter().all(|rank| *rank == ranks[7] && *rank > first && 2 * rank <= 3 * first),
        "{first}, {ranks:?}"
    );
    // Without memory it is found anew, and differs.
    let anew =
        |step| Ok(rank(&kept(&space.step(step), words, WarmStart::None, step as u64, &mut History::default())?.0));
    let anew: Vec<usize> = (0..8).map(anew).collect::<Result<_>>()?;
    assert!(anew.iter().any(|rank| *rank != anew[0]), "{anew:?}");
    Ok(())
}

#[test]
fn a_rank_that_no_longer_serves_is_found_anew() -> Result {
    let words = "rqb:auto@0.2:f32";
    let mut history = History::default();
    let low = Matrix::of_rank(3, M, N, 4);
    assert_eq!(rank(&kept(&low, words, WarmStart::None, 0, &mut history)?.0), 3);
    let flat = Space::new(2).step(0);
    let (more, error) = kept(&flat, words, WarmStart::None, 1, &mut history)?;
    assert!(error <= 0.2 && rank(&more) > 4, "too coarse is not kept: rank {}, error {error}", rank(&more));
    let (less, _) = kept(&low, words, WarmStart::None, 2, &mut history)?;
    assert_eq!(rank(&less), 3, "far too fine is not kept either");
    Ok(())
}

#[test]
fn a_warm_start_loses_little_where_the_space_stays_and_nothing_where_it_turns() -> Result {
    for words in ["rqb:10:f32", "gauss:10", "rqb:10:f32+q4", "rqb:auto@0.3:f32"] {
        for warm in [WarmStart::Reuse, WarmStart::Refresh] {
            let (space, other) = (Space::new(3), Space::new(4));
            let (mut history, mut cold_history) = (History::default(), History::default());
            for step in 0..8 {
                let x = if step < 5 { space.step(step) } else { other.step(step) };
                let what = format!("{words} {warm:?} step {step}");
                let (kept_warm, error) = kept(&x, words, warm, step as u64, &mut history)?;
                let (_, cold) = kept(&x, words, WarmStart::None, step as u64, &mut cold_history)?;
                let told = kept_warm.error.map(|e| f64::from(e.relative)).unwrap_or_default();
                assert!((told - error).abs() <= 0.02 * error + 5e-3, "{what}: told {told}, is {error}");
                assert!(error <= 1.25 * cold + 5e-3, "{what}: {error}, cold {cold}");
                let refreshed = warm == WarmStart::Refresh && (1..5).contains(&step) && words == "rqb:10:f32";
                assert!(!refreshed || error <= cold, "{what}: one pass from the last basis, {error}, cold {cold}");
            }
        }
    }
    Ok(())
}

#[test]
fn reuse_keeps_the_basis_itself() -> Result {
    let (space, mut history) = (Space::new(5), History::default());
    // Of the first basis's rows every later x̃ is a combination: x̃ of two steps together have its rank.
    let (a, _) = kept(&space.step(0), "rqb:6:f32", WarmStart::Reuse, 0, &mut history)?;
    let (b, _) = kept(&space.step(1), "rqb:6:f32", WarmStart::Reuse, 1, &mut history)?;
    let both = Matrix { rows: 2 * M, cols: N, numbers: [a.numbers, b.numbers].concat() };
    assert_eq!(numerical_rank(&both), 6);
    Ok(())
}

/// Numerical rank, by Gram–Schmidt on the rows.
fn numerical_rank(x: &Matrix) -> usize {
    let mut basis: Vec<Vec<f64>> = Vec::new();
    for row in wide(&x.numbers).chunks(x.cols) {
        let norm = |v: &[f64]| v.iter().map(|x| x * x).sum::<f64>().sqrt();
        let before = norm(row);
        let mut left = row.to_vec();
        for _ in 0..2 {
            for q in &basis {
                let along: f64 = q.iter().zip(&left).map(|(a, b)| a * b).sum();
                left.iter_mut().zip(q).for_each(|(x, q)| *x -= along * q);
            }
        }
        // bf16 rounding of the remembered basis is 2⁻⁹.
        if norm(&left) > 0.02 * before {
            let size = norm(&left);
            basis.push(left.iter().map(|x| x / size).collect());
        }
    }
    basis.len()
}

#[test]
fn remembered_bases_are_counted_and_foreseen() -> Result {
    for (words, starts_warm) in [("rqb:3", true), ("gauss:3+q4", true), ("tsvd:3", false), ("q4", false)] {
        let run = |memory: Memory| -> Result<_> {
            let policy = Policy { warm_start: WarmStart::Reuse, ..everywhere(form(words)) };
            let decoder = Decoder::new(&memory, Options::default())?;
            let mut history = History::default();
            let mut bytes = Vec::new();
            for _ in 0..2 {
                decoder.run_with(&memory, policy.clone(), &mut history, None)?;
                bytes.push(memory.ledger().live_in(Category::WarmBases));
            }
            drop(history);
            assert_eq!(memory.ledger().live_in(Category::WarmBases), 0, "{words}: freed with what remembers");
            Ok(bytes)
        };
        let (real, hollow) = (run(Memory::new())?, run(Memory::hollow())?);
        assert_eq!(real, hollow, "{words}");
        assert_eq!(real[0], real[1], "{words}: nothing grows");
        assert_eq!(real[0] > 0, starts_warm, "{words}");
    }
    Ok(())
}

#[test]
fn what_is_remembered_can_be_stored_and_goes_on_to_the_last_bit() -> Result {
    let cases =
        [("rqb:auto@0.2:f32", WarmStart::None), ("rqb:5", WarmStart::Reuse), ("rqb:auto@0.2", WarmStart::Refresh)];
    for (words, warm) in cases {
        let (space, mut history, memory) = (Space::new(7), History::default(), Memory::new());
        for step in 0..3 {
            kept(&space.step(step), words, warm, step as u64, &mut history)?;
        }
        let records = history.records();
        assert_eq!(records.len(), 1, "{words}");
        let mut again = History::from_records(records.clone(), &memory)?;
        assert_eq!(again.records(), records, "{words}");
        let mut forgotten = History::default();
        let mut differed = false;
        for step in 3..6 {
            let x = space.step(step);
            let run = |history: &mut History| -> Result<Vec<f32>> {
                Ok(kept(&x, words, warm, step as u64, history)?.0.numbers)
            };
            let (went_on, resumed, anew) = (run(&mut history)?, run(&mut again)?, run(&mut forgotten)?);
            assert_eq!(went_on, resumed, "{words}, step {step}");
            differed |= went_on != anew;
        }
        assert!(differed, "{words}: nothing that is remembered mattered");
    }
    Ok(())
}

#[test]
fn records_of_impossible_sizes_are_refused() -> Result {
    let record = |rank, cols, numbers: usize| PlaceRecord {
        layer: Some(0),
        site: Site::AttnIn,
        ordinal: 0,
        rank: None,
        basis: Some(BasisRecord { rank, cols, error: 0.1, halves: vec![0; numbers] }),
    };
    let memory = Memory::new();
    for (rank, cols, numbers) in [(0, 4, 0), (5, 4, 20), (2, 4, 7), (2, usize::MAX, 8), (1 << 33, 1 << 33, 0)] {
        let refused = History::from_records(vec![record(rank, cols, numbers)], &memory);
        assert!(refused.is_err(), "{rank}x{cols} in {numbers} numbers");
    }
    let held = PlaceRecord { rank: Some(0), basis: None, ..record(1, 1, 1) };
    assert!(History::from_records(vec![held], &memory).is_err());
    assert!(History::from_records(vec![record(2, 4, 8)], &memory).is_ok());
    Ok(())
}
