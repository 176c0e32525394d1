//! The head: logits by definition, the same with and without a loss, and what of its gradients is kept.

use loract_autograd::ops::{Targets, cross_entropy, project};
use loract_autograd::{Memory, Policy, SavedKind, Site, Tape, Values, Weight};
use loract_testkit::oracle;

use crate::harness::{KEY, Matrix, OwnedHead, Result, assert_close, param, random, wide};
use crate::kept::saved;

const M: usize = 9;
const N: usize = 24;
const V: usize = 50;

/// Every combination of bias, scale and cap.
fn heads(memory: &Memory) -> Vec<OwnedHead> {
    let weight = || Weight::Trained(param(memory, "head", V, N, 3));
    let mut heads = Vec::new();
    for biased in [false, true] {
        for scale in [1.0, 0.25] {
            for softcap in [None, Some(1.5), Some(30.0)] {
                let bias = biased.then(|| Values::Trained(param(memory, "bias", 1, V, 4)));
                heads.push(OwnedHead { weight: weight(), bias, scale, softcap });
            }
        }
    }
    heads
}

fn by_definition(head: &OwnedHead, x: &[f32]) -> Vec<f64> {
    let numbers = |weight: &Weight| wide(&weight.trained().expect("made so").value().to_vec());
    let (w, bias) = (numbers(&head.weight), head.bias.as_ref().map(|b| wide(&b.value().to_vec())));
    let (scale, softcap) = (f64::from(head.scale), head.softcap.map(f64::from));
    oracle::logits(&wide(x), N, oracle::Head { weight: &w, bias: bias.as_deref(), scale, softcap })
}

/// Sums of N, and 8 as ever.
const TOLERANCE: f64 = (N + 8) as f64 * f32::EPSILON as f64;

#[test]
fn logits_are_those_of_the_definition() -> Result {
    let memory = Memory::new();
    let x = Matrix::random(M, N, 1);
    for head in heads(&memory) {
        let want = by_definition(&head, &x.numbers);
        // Several rows, and one row alone, as generation has it.
        for rows in [0..M, 2..7, 4..5, 3..3] {
            let mut tape = Tape::evaluation(&memory);
            let input = tape.input(x.tensor(&memory), false);
            let got = project(&mut tape, &input, rows.clone(), head.head())?.tensor().to_vec();
            assert_close(&format!("{head:?}"), &[got], &[want[rows.start * V..rows.end * V].to_vec()], TOLERANCE);
        }
    }
    Ok(())
}

/// A loss that is not differentiated is the same, and hits are rows whose largest logit is the target's.
#[test]
fn losses_follow_from_the_logits() -> Result {
    let memory = Memory::new();
    let x = Matrix::random(M, N, 1);
    for head in heads(&memory) {
        let logits = by_definition(&head, &x.numbers);
        let row_of = |row: usize| &logits[row * V..(row + 1) * V];
        let best = |row| (0..V).max_by(|&a, &b| row_of(row)[a].total_cmp(&row_of(row)[b])).expect("some");
        let rows: Vec<u32> = vec![1, 2, 5, 8];
        let tokens: Vec<u32> = vec![best(1) as u32, 0, best(5) as u32, 49];
        let targets = Targets { rows: rows.clone(), tokens: tokens.clone() };
        let mut recording = Tape::new(&memory, Policy::exact(), KEY);
        let input = recording.input(x.tensor(&memory), true);
        let recorded = cross_entropy(&mut recording, input, head.head(), &targets)?;
        let mut kept = 4 * rows.len() * N + 4 * V * N;
        kept += head.bias.as_ref().map_or(0, |_| 4 * V);
        let found: Vec<_> = saved(&memory.ledger().live()).into_iter().collect();
        assert_eq!(found, [((Site::LossGrad, SavedKind::Exact), kept)]);
        drop(recording);
        let mut still = Tape::evaluation(&memory);
        let input = still.input(x.tensor(&memory), false);
        let out = cross_entropy(&mut still, input, head.head(), &targets)?;
        let nll: Vec<f64> = rows
            .iter()
            .zip(&tokens)
            .map(|(&row, &token)| {
                let row = row_of(row as usize);
                row.iter().map(|z| z.exp()).sum::<f64>().ln() - row[token as usize]
            })
            .collect();
        for got in [&recorded, &out] {
            assert_close("nll", std::slice::from_ref(&got.nll), std::slice::from_ref(&nll), 4.0 * TOLERANCE);
            assert_eq!(got.hits, [true, best(2) == 0, true, best(8) == 49]);
        }
    }
    Ok(())
}

/// Logits far beyond the cap: the loss and its gradient stay finite, and the gradient vanishes with the slope of the cap.
#[test]
fn logits_beyond_the_cap_have_no_gradient() -> Result {
    let memory = Memory::new();
    let numbers = random(V * N, 3).iter().map(|x| x * 1e6).collect();
    let weight = Weight::Trained(loract_autograd::Param::new(&memory, "head", V, N, numbers));
    let head = OwnedHead { softcap: Some(5.0), ..OwnedHead::plain(weight) };
    let mut tape = Tape::new(&memory, Policy::exact(), KEY);
    let x = tape.input(Matrix::random(M, N, 1).tensor(&memory), true);
    let id = x.id();
    let out = cross_entropy(&mut tape, x, head.head(), &Targets { rows: vec![0, 3], tokens: vec![7, 9] })?;
    // Logits are 5 or −5: at most 10 + ln V apart from the target's.
    assert!(out.nll.iter().all(|nll| (0.0..10.0 + (V as f32).ln()).contains(nll)), "{:?}", out.nll);
    let mut grads = loract_autograd::Grads::new();
    let dy = memory.tensor(1, 1, vec![1.0], loract_autograd::Category::Transient);
    let dx = tape.backward(out.loss.id(), dy, &mut grads)?.take(id).expect("x wants a gradient");
    assert!(dx.to_vec().iter().all(|&g| g == 0.0));
    Ok(())
}
