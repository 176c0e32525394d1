//! Norms of every kind: x̂ is kept once, whatever weight and bias follow, and who needs the output reads it from there.

use std::sync::Arc;

use loract_autograd::ops::{
    Activation, AttentionShape, Linear, Norm, NormKind, RopePairs, RopeTable, attention, gated, linear, norm, rope,
};
use loract_autograd::{
    Category, Compress, Frozen, Grads, Memory, Param, Policy, Rank, Recompute, SavedKind, Site, Tape, Values, Var,
    Weight,
};

use crate::harness::{EPS, KEY, Matrix, Result, assert_close, compressed, everywhere, lora, param, random, wide};
use crate::kept::{form, forms, probe, saved, seen};

const M: usize = 40;
const N: usize = 16;
const R: usize = 3;

/// Without weight and bias.
fn bare(kind: NormKind) -> Norm {
    Norm { kind, width: N, eps: EPS, offset: 0.0, weight: None, bias: None }
}

fn weight(memory: &Memory) -> Option<Values> {
    Some(Values::frozen(memory, random(N, 2)))
}

fn bias(memory: &Memory) -> Option<Values> {
    Some(Values::Trained(param(memory, "bias", 1, N, 3)))
}

/// Every way to go on from x̂.
fn ways(memory: &Memory, kind: NormKind) -> [Norm; 5] {
    [
        Norm { weight: weight(memory), ..bare(kind) },
        Norm { weight: weight(memory), offset: 1.0, ..bare(kind) },
        Norm { bias: bias(memory), ..bare(kind) },
        Norm { weight: weight(memory), bias: bias(memory), ..bare(kind) },
        Norm { weight: weight(memory), bias: bias(memory), offset: 0.5, ..bare(kind) },
    ]
}

/// Bytes by site and form.
type Kept = Vec<((Site, SavedKind), usize)>;

/// What backward of a layer behind the norm reads, and what is kept.
fn read_behind(settings: &Norm, policy: Policy) -> Result<(Vec<f32>, Kept)> {
    let memory = Memory::new();
    let probe = probe(&memory, M, N);
    let (mut tape, mut grads) = (Tape::new(&memory, policy, KEY), Grads::new());
    let x = tape.input(Matrix::random(M, N, 1).tensor(&memory), true);
    let y = norm(&mut tape, &x, settings, &[Site::Norm, Site::AttnIn])?;
    let z = linear(&mut tape, &y, &probe, Site::AttnIn)?;
    drop((x, y));
    let kept = saved(&memory.ledger().live()).into_iter().collect();
    let one = (0..M * M).map(|i| f32::from(u8::from(i % (M + 1) == 0))).collect();
    tape.backward(z.id(), memory.tensor(M, M, one, Category::Transient), &mut grads)?;
    Ok((seen(&grads, &probe), kept))
}

#[test]
fn consumers_read_what_is_kept_of_x_hat_with_weight_and_bias_folded_in() -> Result {
    let memory = Memory::new();
    for kind in [NormKind::Rms, NormKind::Layer] {
        for (words, form) in forms(6) {
            let (x_hat, kept_bare) = read_behind(&bare(kind), everywhere(form))?;
            assert_eq!(kept_bare.len(), 2, "x̂ and its statistics: {kept_bare:?}");
            for settings in ways(&memory, kind) {
                let what = format!("{words} {settings:?}");
                let (got, mut kept) = read_behind(&settings, everywhere(form))?;
                let of = |values: &Option<Values>, usual| match values {
                    Some(values) => wide(&values.value().to_vec()),
                    None => vec![usual; N],
                };
                let (w, b) = (of(&settings.weight, 1.0), of(&settings.bias, 0.0));
                let y = |(i, h): (usize, f64)| h * (w[i % N] + f64::from(settings.offset)) + b[i % N];
                let want = wide(&x_hat).into_iter().enumerate().map(y).collect();
                // A sum, a product and a sum a number.
                assert_close(&what, &[got], &[want], 3.0 * f64::from(f32::EPSILON));
                if settings.offset != 0.0 {
                    let statistics = kept.last_mut().expect("two");
                    assert_eq!(statistics.0.0, Site::RowStats, "{what}");
                    statistics.1 -= 4 * N;
                }
                assert_eq!(kept, kept_bare, "{what}");
            }
        }
    }
    Ok(())
}

/// Two layers with LoRA behind a norm.
struct Behind {
    norm: Norm,
    layers: [Linear; 3],
}

impl Behind {
    fn new(memory: &Memory, norm: Norm) -> Result<Self> {
        let layer = |outputs: usize, inputs: usize, seed| -> Result<Linear> {
            let numbers: Vec<f32> = random(outputs * inputs, seed).iter().map(|x| 0.3 * x).collect();
            let weight = Weight::Frozen(Frozen::from_f32(memory, outputs, inputs, &numbers)?);
            Ok(Linear { weight, bias: None, lora: Some(lora(memory, inputs, outputs, R, 0.0)) })
        };
        Ok(Self { norm, layers: [layer(2 * N, N, 4)?, layer(2 * N, N, 5)?, layer(N, 2 * N, 6)?] })
    }

    fn mlp<'m>(&'m self, tape: &mut Tape<'m>, y: Var) -> Result<Var> {
        let [gate, up, down] = &self.layers;
        let (gate, up) = (linear(tape, &y, gate, Site::MlpIn)?, linear(tape, &y, up, Site::MlpIn)?);
        let h = gated(tape, Activation::Silu, gate, up)?;
        linear(tape, &h, down, Site::MlpOut)
    }

    fn params(&self) -> impl Iterator<Item = &Param> {
        let of_norm = [&self.norm.weight, &self.norm.bias].into_iter().flatten().filter_map(Values::trained);
        of_norm.chain(self.layers.iter().filter_map(|l| l.lora.as_ref()).flat_map(|l| l.params()))
    }

    /// dx, and the gradients of all that is trained.
    fn run(&self, policy: Policy) -> Result<Vec<Vec<f32>>> {
        let memory = Memory::new();
        let (mut tape, mut grads) = (Tape::new(&memory, policy, KEY), Grads::new());
        let x = tape.input(Matrix::random(M, N, 1).tensor(&memory), true);
        let id = x.id();
        let consumer = if tape.recomputes(Site::CkptMlp) { Site::CkptMlp } else { Site::MlpIn };
        let y = norm(&mut tape, &x, &self.norm, &[Site::Norm, consumer])?;
        let y = tape.segment(Site::CkptMlp, y, Box::new(|tape, y| self.mlp(tape, y)))?;
        drop(x);
        let dy = memory.tensor(M, N, random(M * N, 7), Category::Transient);
        let out = y.id();
        drop(y);
        let dx = tape.backward(out, dy, &mut grads)?.take(id).expect("x wants a gradient").to_vec();
        assert_eq!(memory.ledger().activation_bytes(), 0);
        let of = |p: &Param| grads.get(p).unwrap_or_else(|| panic!("no gradient of {}", p.name())).to_vec();
        Ok(std::iter::once(dx).chain(self.params().map(of)).collect())
    }
}

/// [U 1]·[V·diag(w); b] is what x̂ times w plus b is.
#[test]
fn recomputing_from_factors_equals_recomputing_from_the_rebuilt_input() -> Result {
    let memory = Memory::new();
    // A chain of some ten products with sums of 2·N.
    let tolerance = 20.0 * N as f64 * f64::from(f32::EPSILON);
    for kind in [NormKind::Rms, NormKind::Layer] {
        for settings in ways(&memory, kind) {
            let what = format!("{settings:?}");
            let block = Behind::new(&memory, settings)?;
            let exact = block.run(Policy::exact())?;
            for words in ["rqb:5:f32", "rqb:5", "tsvd:1", "rqb:16:f32"] {
                let run = |recompute| block.run(Policy { recompute, ..everywhere(form(words)) });
                let (dense, factored) = (run(Recompute::Sublayer)?, run(Recompute::Factored)?);
                let want: Vec<_> = dense.iter().map(|g| wide(g)).collect();
                assert_close(&format!("{what} {words}"), &factored, &want, tolerance);
                let exact: Vec<_> = exact.iter().map(|g| wide(g)).collect();
                match words {
                    "rqb:16:f32" => assert_close(&what, &factored, &exact, tolerance),
                    _ => assert!(factored.iter().zip(&exact).any(|(got, exact)| wide(got) != *exact), "{what} {words}"),
                }
            }
        }
    }
    Ok(())
}

/// x̂ as low-rank factors of full rank, with and without a rest: gradients behind a norm are the exact ones.
#[test]
fn forms_that_lose_nothing_give_the_exact_gradients() -> Result {
    let memory = Memory::new();
    let tolerance = 20.0 * N as f64 * f64::from(f32::EPSILON);
    for kind in [NormKind::Rms, NormKind::Layer] {
        for settings in ways(&memory, kind) {
            let what = format!("{settings:?}");
            let block = Behind::new(&memory, settings)?;
            let exact: Vec<_> = block.run(Policy::exact())?.iter().map(|g| wide(g)).collect();
            let x_hat_as = |words| Policy::uniform(Recompute::None, [Site::Norm, Site::MlpIn], form(words));
            for words in ["rqb:16:f32", "gauss:16:f32", "rqb:16:f32+q8"] {
                assert_close(&format!("{what} {words}"), &block.run(x_hat_as(words))?, &exact, tolerance);
            }
            // Numbers between −4 and 4, of deviation 1, each off by up to half of 255 steps.
            assert_close(&what, &block.run(x_hat_as("q8"))?, &exact, 4.0 / 255.0);
        }
    }
    Ok(())
}

#[test]
fn without_weight_and_bias_the_output_is_x_hat_itself() -> Result {
    let memory = Memory::new();
    for kind in [NormKind::Rms, NormKind::Layer] {
        let settings = bare(kind);
        let mut tape = Tape::new(&memory, Policy::exact(), KEY);
        let x = tape.input(Matrix::random(M, N, 1).tensor(&memory), true);
        let y = norm(&mut tape, &x, &settings, &[Site::Norm, Site::MlpIn])?;
        drop(x);
        assert_eq!(memory.ledger().activation_bytes(), 4 * M * N + 4 * M, "x̂ and the statistics");
        assert_eq!(memory.ledger().saved_bytes(), 4 * M * N + 4 * M);
        drop((tape, y));
    }
    Ok(())
}

/// Queries normed over all heads together (OLMo2): turned in place by rope they are other numbers than the norm's output,
/// and kept beside x̂; without rope they are x̂ with the weight folded in.
#[test]
fn what_is_written_in_place_over_a_norms_output_is_not_taken_for_it() -> Result {
    let memory = Memory::new();
    let settings = Norm { weight: Some(Values::Trained(param(&memory, "w", 1, N, 2))), ..bare(NormKind::Rms) };
    let table = Arc::new(RopeTable::new(M, 8, RopePairs::Halves, &[&[1.0, 0.3, 0.1, 0.03]], 1.0));
    let positions = (0..M as u32).collect();
    let heads = AttentionShape::causal(2, 2, N / 2);
    let sequences = std::iter::once(0..M).collect();
    let run = |turned: bool, policy| -> Result<_> {
        let memory = Memory::new();
        let (mut tape, mut grads) = (Tape::new(&memory, policy, KEY), Grads::new());
        let inputs = [1, 2, 3].map(|seed| tape.input(Matrix::random(M, N, seed).tensor(&memory), true));
        let ids = inputs.each_ref().map(Var::id);
        let [x, k, v] = inputs;
        let mut q = norm(&mut tape, &x, &settings, &[Site::AttnQkv])?;
        drop(x);
        if turned {
            q = rope(&mut tape, q, &table, &positions)?;
        }
        let o = attention(&mut tape, [q, k, v], heads, &sequences)?;
        let kept = saved(&memory.ledger().live());
        let dy = memory.tensor(M, N, random(M * N, 7), Category::Transient);
        let mut got = tape.backward(o.id(), dy, &mut grads)?;
        let w = settings.weight.as_ref().and_then(Values::trained).and_then(|w| grads.get(w)).expect("it is trained");
        let gradients = ids.into_iter().map(|id| got.take(id).expect("it wants a gradient").to_vec());
        let gradients: Vec<_> = gradients.chain([w.to_vec()]).collect();
        let at = |kind| kept.get(&(Site::AttnQkv, kind)).copied();
        Ok((gradients, at(SavedKind::Exact), at(SavedKind::LowRank)))
    };
    for (turned, tensors) in [(true, 4), (false, 3)] {
        let (exact, dense, _) = run(turned, Policy::exact())?;
        assert_eq!(dense, Some(tensors * 4 * M * N), "turned: {turned}");
        let (full, _, factors) = run(turned, compressed(Compress::Rqb, Rank::Count(N)))?;
        assert_eq!(factors, Some(tensors * 4 * N * (M + N)), "turned: {turned}");
        let want: Vec<_> = exact.iter().map(|g| wide(g)).collect();
        // Chains of some five products with sums of M.
        assert_close("queries", &full, &want, 10.0 * M as f64 * f64::from(f32::EPSILON));
    }
    Ok(())
}
