//! Attention in windows: the table of relative positions, frozen or trained, regions, caps and masks, windows of more rows than
//! a block; recomputed, compressed, foreseen, by any number of threads; and what is refused.

use std::ops::Range;
use std::sync::Arc;

use loract_autograd::ops::{AttentionShape, Linear, Mask, attention, gather_rows, linear, window_attention};
use loract_autograd::{
    Bytes, Category, DType, Form, Frozen, Grads, KvCache, Memory, Param, Policy, Recompute, SavedKind, Site, Tape, Var,
    Weight, to_bf16_bytes,
};

use crate::harness::{Case, KEY, Matrix, Op, Result, assert_close, everywhere, lora, param, random, recomputing, wide};
use crate::kept::{at, form, saved};
use crate::vision_op::{OwnedWindows, Vision};

/// Heads, key/value heads, features of a head.
type Sizes = (usize, usize, usize);

fn shape((heads, kv_heads, head_dim): Sizes) -> AttentionShape {
    AttentionShape { mask: Mask::None, ..AttentionShape::causal(heads, kv_heads, head_dim) }
}

/// The place of each row of a window of side×side from each other, among (2·side − 1)².
fn relative(side: u32) -> Arc<[u32]> {
    let rows = (0..side).flat_map(|y| (0..side).map(move |x| (y, x)));
    let from = |(y, x): (u32, u32)| {
        let to = (0..side).flat_map(|y| (0..side).map(move |x| (y, x)));
        to.map(move |(y2, x2)| (y + side - 1 - y2) * (2 * side - 1) + x + side - 1 - x2)
    };
    rows.flat_map(from).collect()
}

fn table(memory: &Memory, side: usize, heads: usize, trained: bool) -> Result<Weight> {
    let rows = (2 * side - 1) * (2 * side - 1);
    Ok(match trained {
        true => Weight::Trained(param(memory, "table", rows, heads, 9)),
        false => {
            let bytes = Bytes::owned(to_bf16_bytes(&random(rows * heads, 9)));
            Weight::Frozen(Frozen::new(memory, DType::Bf16, rows, heads, bytes)?)
        }
    })
}

/// `count` windows of side×side.
fn case(
    memory: &Memory,
    name: &'static str,
    sizes: Sizes,
    (side, count): (usize, usize),
    trained: bool,
) -> Result<Case> {
    let (heads, kv_heads, head_dim) = sizes;
    let (rows, all) = (side * side, count * side * side);
    let windows = OwnedWindows {
        shape: shape(sizes),
        sequences: (0..count).map(|at| at * rows..(at + 1) * rows).collect(),
        table: table(memory, side, heads, trained)?,
        index: relative(side as u32),
        regions: None,
    };
    let input = |heads, seed| Matrix::random(all, heads * head_dim, seed);
    let inputs = vec![input(heads, 1), input(kv_heads, 2), input(kv_heads, 3)];
    let terms = rows * count * heads / kv_heads + head_dim;
    Ok(Case { name, op: Op::Vision(Vision::WindowAttention(windows)), inputs, terms })
}

fn windows(case: &mut Case) -> &mut OwnedWindows {
    match &mut case.op {
        Op::Vision(Vision::WindowAttention(windows)) => windows,
        _ => unreachable!("a case of this file"),
    }
}

/// The same with the first window in one region, the others in several that are not neighbours.
fn with_regions(mut case: Case) -> Case {
    let of = windows(&mut case);
    let rows = of.sequences[0].len();
    let all = of.sequences.last().map_or(0, |last| last.end);
    of.regions = Some((0..all).map(|row| if row < rows && all > rows { 4 } else { [7, 2, 7][row % 3] }).collect());
    case
}

fn shaped(mut case: Case, change: impl FnOnce(&mut AttentionShape)) -> Case {
    change(&mut windows(&mut case).shape);
    case
}

fn cases(memory: &Memory) -> Result<Vec<Case>> {
    let case = |name, sizes, windows, trained| case(memory, name, sizes, windows, trained);
    let causal = |shape: &mut AttentionShape| shape.mask = Mask::Causal { window: Some(3) };
    let capped = |shape: &mut AttentionShape| (shape.softcap, shape.scale) = (Some(1.5), 1.1);
    Ok(vec![
        case("one row a window", (2, 2, 3), (1, 3), true)?,
        case("frozen table", (2, 2, 3), (2, 3), false)?,
        case("trained table", (3, 3, 4), (3, 4), true)?,
        with_regions(case("regions, frozen table", (2, 2, 4), (3, 3), false)?),
        with_regions(case("regions, trained table", (2, 2, 4), (3, 3), true)?),
        with_regions(case("grouped heads", (4, 2, 2), (2, 3), true)?),
        with_regions(shaped(case("capped", (2, 2, 3), (2, 3), true)?, capped)),
        with_regions(shaped(case("capped, frozen table", (2, 2, 3), (2, 3), false)?, capped)),
        with_regions(shaped(case("causal", (2, 2, 3), (3, 2), true)?, causal)),
        case("no window", (2, 2, 3), (2, 0), true)?,
    ])
}

fn check(case: &Case) -> Result {
    let dy = case.seed();
    let got = case.run(Policy::exact(), KEY, &dy, false)?;
    assert_close(case.name, std::slice::from_ref(&got.output), &[case.op.oracle(&case.args())], case.tolerance());
    assert_close(case.name, &got.gradients, &case.numeric_gradients(&dy), 4.0 * case.tolerance());
    assert_eq!(got, case.run(Policy::exact(), KEY, &dy, true)?, "{}: held inputs", case.name);
    Ok(())
}

#[test]
fn forward_and_gradients_equal_the_oracle() -> Result {
    cases(&Memory::new())?.iter().try_for_each(check)
}

#[test]
fn windows_of_more_rows_than_a_block() -> Result {
    let memory = &Memory::new();
    check(&with_regions(case(memory, "81 rows", (1, 1, 2), (9, 1), true)?))?;
    let causal = |shape: &mut AttentionShape| shape.mask = Mask::Causal { window: Some(70) };
    check(&shaped(case(memory, "81 rows, causal", (1, 1, 2), (9, 1), true)?, causal))
}

/// More windows than backward works on at a time: the table's gradient is that of all of them.
#[test]
fn many_windows_are_as_few() -> Result {
    let memory = Memory::new();
    let (many, few) = (300, 100);
    let case = |count| -> Result<_> { Ok(with_regions(case(&memory, "many", (2, 2, 64), (8, count), true)?)) };
    let (mut all, dy) = (case(many)?, random(many * 64 * 128, 8));
    let regions = windows(&mut all).regions.clone().expect("regions");
    let mut together = all.run(Policy::exact(), KEY, &dy, false)?.gradients;
    let table = together.pop().unwrap_or_default();
    let mut sum = vec![0.0f64; table.len()];
    for at in 0..many / few {
        let rows = at * few * 64..(at + 1) * few * 64;
        let part = |numbers: &[f32]| numbers[rows.start * 128..rows.end * 128].to_vec();
        let mut some = case(few)?;
        for (some, all) in some.inputs.iter_mut().zip(&all.inputs) {
            some.numbers = part(&all.numbers);
        }
        windows(&mut some).regions = Some(regions[rows.clone()].into());
        let mut apart = some.run(Policy::exact(), KEY, &part(&dy), false)?.gradients;
        let of_table = apart.pop().unwrap_or_default();
        sum.iter_mut().zip(of_table).for_each(|(sum, g)| *sum += f64::from(g));
        for (apart, together) in apart.iter().zip(&together) {
            assert!(apart == &part(together), "windows from {} on", at * few);
        }
    }
    // Sums of as many scores' gradients.
    assert_close("table", &[table], &[sum], f64::from(f32::EPSILON) * (many * 64) as f64);
    Ok(())
}

/// A table of zeros adds nothing, to the bit.
#[test]
fn without_a_bias_it_is_attention() -> Result {
    let memory = Memory::new();
    let mut windowed = case(&memory, "zeros", (2, 1, 4), (3, 4), false)?;
    let of = windows(&mut windowed);
    of.table = Weight::Frozen(Frozen::from_f32(&memory, 25, 2, &[0.0; 50])?);
    let plain = Op::Attention { shape: of.shape, sequences: Arc::clone(&of.sequences) };
    let plain = Case { name: "plain", op: plain, inputs: windowed.inputs.clone(), terms: windowed.terms };
    let dy = plain.seed();
    let run = |case: &Case| case.run(Policy::exact(), KEY, &dy, false);
    assert_eq!(run(&windowed)?, run(&plain)?);
    Ok(())
}

#[test]
fn q_k_and_v_are_all_that_is_kept() -> Result {
    let memory = Memory::new();
    let case = with_regions(case(&memory, "kept", (2, 2, 4), (3, 4), true)?);
    for (words, kind) in [("exact", SavedKind::Exact), ("bf16", SavedKind::Bf16)] {
        let mut tape = Tape::new(&memory, at(Site::AttnQkv, form(words)), KEY);
        let inputs = case.inputs.iter().map(|x| tape.input(x.tensor(&memory), true)).collect();
        let o = case.op.run(&mut tape, inputs)?;
        let kept: Vec<_> = saved(&memory.ledger().live()).into_iter().collect();
        let bytes = 3 * 36 * 8 * if kind == SavedKind::Exact { 4 } else { 2 };
        assert_eq!(kept, [((Site::AttnQkv, kind), bytes)]);
        drop((o, tape));
    }
    Ok(())
}

/// Rows put into windows, q, k and v projected, attention, and rows put back: what a layer of Swin does.
struct Layer {
    qkv: [Linear; 3],
    of: OwnedWindows,
    there: Arc<[Option<u32>]>,
    back: Arc<[Option<u32>]>,
}

const HEADS: usize = 2;
const FEATURES: usize = 6;
const ROWS: usize = 33;

impl Layer {
    /// 33 rows in four windows of nine, turned by five places; the last three of them are padding.
    fn new(memory: &Memory) -> Result<Self> {
        let linear = |tag: u64| -> Result<Linear> {
            let weight = Frozen::from_f32(memory, FEATURES, FEATURES, &random(FEATURES * FEATURES, tag))?;
            let lora = Some(lora(memory, FEATURES, FEATURES, 2, 0.0));
            Ok(Linear { weight: Weight::Frozen(weight), bias: None, lora })
        };
        let Op::Vision(Vision::WindowAttention(of)) =
            with_regions(case(memory, "layer", (HEADS, HEADS, FEATURES / HEADS), (3, 4), true)?).op
        else {
            unreachable!("a case of this file")
        };
        let there = (0..36).map(|place| (place + 5) % 36).map(|row| (row < ROWS as u32).then_some(row));
        let back = (0..ROWS as u32).map(|row| Some((row + 31) % 36));
        Ok(Self { qkv: [linear(1)?, linear(2)?, linear(3)?], of, there: there.collect(), back: back.collect() })
    }

    fn forward<'m>(&'m self, tape: &mut Tape<'m>, x: Var) -> Result<Var> {
        let segment = |tape: &mut Tape<'m>, x: Var| {
            let x = gather_rows(tape, &x, &self.there, 1)?;
            let mut project = |layer| linear(tape, &x, layer, Site::AttnIn);
            let [q, k, v] = &self.qkv;
            let qkv = [project(q)?, project(k)?, project(v)?];
            let o = window_attention(tape, qkv, self.of.shape, &self.of.sequences, self.of.windows())?;
            gather_rows(tape, &o, &self.back, 1)
        };
        tape.segment(Site::CkptAttn, x, Box::new(segment))
    }

    /// The output, then the gradients of x and of all that is trained.
    fn run(&self, memory: &Memory, policy: Policy) -> Result<Vec<Vec<f32>>> {
        let (mut tape, mut grads) = (Tape::new(memory, policy, KEY), Grads::new());
        let x = tape.input(Matrix::random(ROWS, FEATURES, 4).tensor(memory), true);
        let id = x.id();
        let y = self.forward(&mut tape, x)?;
        let (mut all, of) = (vec![y.tensor().to_vec()], y.id());
        drop(y);
        let seed = Matrix::random(ROWS, FEATURES, 5).tensor(memory);
        all.push(tape.backward(of, seed, &mut grads)?.take(id).expect("x wants a gradient").to_vec());
        let pairs = self.qkv.iter().filter_map(|layer| layer.lora.as_ref()).flat_map(|lora| lora.params());
        let gradient = |param: &Param| grads.get(param).expect("a gradient").to_vec();
        all.extend(pairs.chain(self.of.table.trained()).map(gradient));
        assert_eq!(memory.ledger().activation_bytes(), 0);
        Ok(all)
    }
}

#[test]
fn recomputed_and_kept_in_factors_of_full_rank_gradients_are_the_same() -> Result {
    let memory = Memory::new();
    let layer = Layer::new(&memory)?;
    let exact = layer.run(&memory, Policy::exact())?;
    assert!(exact.iter().all(|numbers| numbers.iter().any(|&x| x != 0.0) && numbers.iter().all(|x| x.is_finite())));
    assert_eq!(layer.run(&memory, recomputing(Recompute::Sublayer))?, exact);
    let again = [(Site::AttnQkv, Form::Again)].into();
    assert_eq!(layer.run(&memory, Policy { forms: again, ..Policy::exact() })?, exact);
    let full = form("rqb:1/1:f32");
    let kept = everywhere(full);
    let planned = kept.plan(&[Site::AttnQkv], 36, FEATURES).kind();
    assert_eq!(planned, SavedKind::LowRank, "more rows than features");
    for policy in [kept, Policy { recompute: Recompute::Sublayer, ..everywhere(full) }] {
        let got = layer.run(&memory, policy)?;
        assert_eq!(got[0], exact[0], "forward");
        let want: Vec<_> = exact.iter().map(|numbers| wide(numbers)).collect();
        // As of an op that rebuilds its input: sums of rows, heads' features, and twice those of the factors.
        let terms = 8 + 36 + FEATURES + 2 * 36;
        assert_close("full rank", &got, &want, 4.0 * terms as f64 * f64::from(f32::EPSILON));
    }
    Ok(())
}

#[test]
fn a_hollow_memory_foresees_it() -> Result {
    let run = |memory: &Memory, at: usize| -> Result<_> {
        let case = cases(memory)?.swap_remove(at);
        let mut tape = Tape::new(memory, everywhere(form("bf16")), KEY);
        let inputs = case.inputs.iter().map(|x| tape.input(x.tensor(memory), true)).collect();
        let o = case.op.run(&mut tape, inputs)?;
        let (id, live) = (o.id(), memory.ledger().live());
        let dy = memory.zeros(o.rows(), o.cols(), Category::Transient);
        drop(o);
        let mut grads = Grads::new();
        drop(tape.backward(id, dy, &mut grads)?);
        Ok((case.name, live, memory.ledger().live(), memory.ledger().peak()))
    };
    for at in 0..cases(&Memory::new())?.len() {
        assert_eq!(run(&Memory::hollow(), at)?, run(&Memory::new(), at)?);
    }
    Ok(())
}

#[test]
fn the_bits_do_not_depend_on_the_thread_count() -> Result {
    for case in cases(&Memory::new())? {
        let dy = case.seed();
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
            pool.install(|| case.run(Policy::exact(), KEY, &dy, false))
        };
        assert_eq!(run(1)?, run(3)?, "{}", case.name);
    }
    Ok(())
}

#[test]
fn what_does_not_fit_is_named() -> Result {
    let memory = &Memory::new();
    type Change<'a> = &'a dyn Fn(&mut OwnedWindows);
    let sequences = |ranges: &[Range<usize>]| -> Arc<[Range<usize>]> { ranges.into() };
    let changes: [(&str, Change<'_>); 7] = [
        ("index against the scores of a window: 15 against 9", &|of| of.index = vec![0; 15].into()),
        ("heads of the table against those there: 2 against 4", &|of| {
            (of.shape.heads, of.shape.kv_heads, of.shape.head_dim) = (4, 4, 1)
        }),
        ("relative position beyond the table: 9 against 9", &|of| of.index = (0..16).map(|i| i % 10).collect()),
        ("rows of a sequence against those of a window: 8 against 4", &|of| of.sequences = sequences(&[0..4, 4..12])),
        ("rows of a sequence against those of a window: 4 against 3", &|of| of.index = vec![0; 9].into()),
        ("rows covered by sequences: 8 against 12", &|of| of.sequences = sequences(&[0..4, 4..8])),
        ("regions against rows: 11 against 12", &|of| of.regions = Some(vec![0; 11].into())),
    ];
    for (want, change) in changes {
        let mut case = case(memory, "refused", (2, 2, 2), (2, 3), true)?;
        change(windows(&mut case));
        let error = case.run(Policy::exact(), KEY, &[], false).err().map(|error| error.to_string());
        assert_eq!(error, Some(format!("window_attention: {want}")));
    }
    let (case, mut cache) = (case(memory, "cache", (2, 2, 2), (2, 1), false)?, KvCache::new());
    let mut tape = Tape::generation(memory, &mut cache);
    let inputs = case.inputs.iter().map(|x| tape.input(x.tensor(memory), false)).collect();
    let error = case.op.run(&mut tape, inputs).err().map(|error| error.to_string());
    let want = "window_attention: tokens that see later ones, and earlier ones in a cache: 4 against 0";
    assert_eq!(error.as_deref(), Some(want));
    let plain = shape((2, 2, 2));
    let inputs = [0, 1, 2].map(|at| tape.input(case.inputs[at].tensor(memory), false));
    let error =
        attention(&mut tape, inputs, plain, &std::iter::once(0..4).collect()).err().map(|error| error.to_string());
    assert_eq!(error, Some(want.replace("window_attention", "attention")));
    Ok(())
}
