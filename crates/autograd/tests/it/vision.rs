//! The ops of vision: forward and gradients against the oracle, what they keep, what a hollow memory foresees, outputs that
//! nobody reads, and what is refused.

use std::cell::RefCell;
use std::ops::Range;
use std::sync::Arc;

use loract_autograd::ops::{Linear, Pool, add, gather_rows, linear, place_patches, pool, scale_columns};
use loract_autograd::{
    Bytes, Category, DType, Error, Frozen, Grads, Memory, Policy, Recompute, SavedKind, Site, Tape, Values, Var,
    Weight, to_bf16_bytes,
};

use crate::harness::{Case, KEY, Matrix, Op, Result, assert_close, everywhere, lora, param, random, recomputing, wide};
use crate::kept::{form, saved};
use crate::vision_op::Vision;

fn trained(memory: &Memory, cols: usize, seed: u64) -> Values {
    Values::Trained(param(memory, "values", 1, cols, seed))
}

fn bf16(memory: &Memory, rows: usize, cols: usize) -> Result<Weight> {
    let bytes = Bytes::owned(to_bf16_bytes(&random(rows * cols, 31)));
    Ok(Weight::Frozen(Frozen::new(memory, DType::Bf16, rows, cols, bytes)?))
}

fn sequences(lengths: &[usize]) -> Arc<[Range<usize>]> {
    let mut end = 0;
    let range = |len: &usize| {
        end += len;
        end - len..end
    };
    lengths.iter().map(range).collect()
}

/// Every row once but the second; some twice and one thrice; places without a row.
fn taken(rows: u32) -> Vec<Option<u32>> {
    let once = (0..rows).rev().filter(|&row| row != 1).map(Some);
    once.chain([None, Some(3), Some(0), None, Some(3), Some(rows - 1), None]).collect()
}

/// Cases with rows of `few` features.
fn cases(memory: &Memory, few: usize) -> Result<Vec<Case>> {
    let frozen = |cols| Values::frozen(memory, random(cols, 41));
    let weight = |rows, cols| Weight::Trained(param(memory, "positions", rows, cols, 42));
    let mut cases = Vec::new();
    let mut case = |name, terms, x, op| cases.push(Case { name, terms, inputs: vec![x], op: Op::Vision(op) });
    let mut place = |name, (patches, cols), specials, positions, images| {
        let x = Matrix::random(images * patches, cols, 1);
        case(name, images, x, Vision::PlacePatches { specials, positions, images });
    };
    place("patches alone", (4, few), vec![], None, 3);
    place("one image", (4, few), vec![frozen(few)], Some(bf16(memory, 5, few)?), 1);
    place("class token, frozen", (6, few), vec![frozen(few)], Some(bf16(memory, 7, few)?), 3);
    place("class token, trained", (6, few), vec![trained(memory, few, 43)], Some(weight(7, few)), 3);
    let two = vec![trained(memory, few, 43), trained(memory, few, 44)];
    place("two tokens, trained, no positions", (5, few), two, None, 4);
    let two = vec![frozen(few), trained(memory, few, 44)];
    place("two tokens, one of them trained", (5, few), two, Some(bf16(memory, 7, few)?), 4);
    place("positions alone, trained", (9, few), vec![], Some(weight(9, few)), 2);
    for (name, kind) in [
        ("first", Pool::First),
        ("mean", Pool::Mean { skip: 0 }),
        ("mean of patches", Pool::Mean { skip: 2 }),
        ("first and mean", Pool::FirstAndMean { skip: 1 }),
        ("first and mean of all", Pool::FirstAndMean { skip: 0 }),
    ] {
        let lengths = [4, 9, 3, 30];
        case(name, 30, Matrix::random(46, few, 2), Vision::Pool { sequences: sequences(&lengths), pool: kind });
    }
    let one = sequences(&[1, 1]);
    case("first of one", 1, Matrix::random(2, few, 2), Vision::Pool { sequences: one, pool: Pool::First });
    case("layer scale, frozen", 1, Matrix::random(9, few, 3), Vision::ScaleColumns { factors: frozen(few) });
    let factors = trained(memory, few, 45);
    case("layer scale, trained", 70, Matrix::random(70, few, 3), Vision::ScaleColumns { factors });
    let mut gather = |name, m: usize, cols, rows: Vec<Option<u32>>, fold| {
        let op = Vision::GatherRows { rows: rows.into(), fold, cols };
        case(name, 4, Matrix::random(m, cols, 4), op);
    };
    gather("rows gathered", 12, few, taken(12), 1);
    gather("rows beside each other", 12, few, taken(12), 3);
    gather("no row", 3, few, vec![None; 4], 4);
    Ok(cases)
}

/// What it keeps beside the index: nothing, but of a trained layer scale its input.
fn kinds(case: &Case) -> Vec<SavedKind> {
    let keeps = matches!(&case.op, Op::Vision(Vision::ScaleColumns { factors }) if factors.trained().is_some());
    if keeps { vec![SavedKind::Exact] } else { Vec::new() }
}

#[test]
fn forward_and_gradients_equal_the_oracle() -> Result {
    for case in cases(&Memory::new(), 5)? {
        let dy = case.seed();
        let got = case.run(everywhere(form("rqb:2")), KEY, &dy, false)?;
        let tolerance = case.tolerance();
        assert_close(case.name, std::slice::from_ref(&got.output), &[case.op.oracle(&case.args())], tolerance);
        assert_close(case.name, &got.gradients, &case.numeric_gradients(&dy), tolerance);
        assert_eq!(got.kinds.iter().copied().collect::<Vec<_>>(), kinds(&case), "{}", case.name);
        assert_eq!(got, case.run(Policy::exact(), KEY, &dy, true)?, "{}: held inputs", case.name);
    }
    Ok(())
}

/// Rows of so many features that a task has a few of them, where differences would take too long. Of a function f of degree d
/// in inputs and parameters together, Σ⟨gradient, argument⟩ is d·⟨dy, f − f(0)⟩; f(0) is what frozen rows add.
#[test]
fn several_tasks() -> Result {
    for case in cases(&Memory::new(), 2500)? {
        let (args, dy) = (case.args(), case.seed());
        let (want, none) = (case.op.oracle(&args), args.iter().map(|x| vec![0.0; x.len()]).collect::<Vec<_>>());
        let got = case.run(Policy::exact(), KEY, &dy, false)?;
        assert_close(case.name, std::slice::from_ref(&got.output), std::slice::from_ref(&want), case.tolerance());
        let degree = if kinds(&case).is_empty() { 1.0 } else { 2.0 };
        let moved = want.iter().zip(case.op.oracle(&none)).map(|(f, none)| f - none);
        let forward: Vec<f64> = moved.zip(&dy).map(|(f, dy)| degree * f * f64::from(*dy)).collect();
        let pairs = args.iter().zip(&got.gradients).flat_map(|(x, gradient)| x.iter().zip(gradient));
        let backward: f64 = pairs.map(|(x, gradient)| x * f64::from(*gradient)).sum();
        let size: f64 = forward.iter().map(|x| x.abs()).sum();
        let off = (backward - forward.iter().sum::<f64>()).abs();
        assert!(off <= case.tolerance() * size, "{}: off by {off:e} of {size:e}", case.name);
    }
    Ok(())
}

#[test]
fn a_trained_layer_scale_keeps_its_input_exactly() -> Result {
    let memory = Memory::new();
    let (m, n) = (70, 12);
    let factors = trained(&memory, n, 1);
    let mut tape = Tape::new(&memory, everywhere(form("rqb:2")), KEY);
    let x = tape.input(Matrix::random(m, n, 2).tensor(&memory), true);
    let y = scale_columns(&mut tape, x, &factors)?;
    let kept: Vec<_> = saved(&memory.ledger().live()).into_iter().collect();
    assert_eq!(kept, [((Site::LayerScale, SavedKind::Exact), 4 * m * n)]);
    drop((y, tape));
    assert_eq!(Site::LayerScale.to_string(), "layer_scale");
    assert!("layer_scale".parse::<Site>().is_err(), "not a site to compress");
    Ok(())
}

/// The patch projection: pixels have no gradient, and are kept only for a projection that is trained.
#[test]
fn pixels_are_kept_for_a_trained_projection_only() -> Result {
    let memory = Memory::new();
    let (m, pixels, n) = (70, 12, 8);
    let x = Matrix::random(m, pixels, 1);
    let frozen = || -> Result<_> { Ok(Weight::Frozen(Frozen::from_f32(&memory, n, pixels, &random(n * pixels, 2))?)) };
    let bias = || Some(trained(&memory, n, 3));
    let full = Weight::Trained(param(&memory, "projection", n, pixels, 4));
    for (name, layer) in [
        ("frozen", Linear { weight: frozen()?, bias: Some(Values::frozen(&memory, random(n, 3))), lora: None }),
        ("trained bias", Linear { weight: frozen()?, bias: bias(), lora: None }),
        ("a pair", Linear { weight: frozen()?, bias: None, lora: Some(lora(&memory, pixels, n, 2, 0.0)) }),
        ("trained", Linear { weight: full, bias: bias(), lora: None }),
    ] {
        let case = Case { name, op: Op::Linear { layer, mask: None }, inputs: vec![x.clone()], terms: m + pixels };
        let Op::Linear { layer, .. } = &case.op else { unreachable!("a linear layer") };
        let mut tape = Tape::new(&memory, everywhere(form("rqb:2")), KEY);
        let input = tape.input(x.tensor(&memory), false);
        assert!(!input.needs_grad());
        let y = linear(&mut tape, &input, layer, Site::Pixels)?;
        drop(input);
        let kept = saved(&memory.ledger().live());
        let needs_pixels = layer.weight.trained().is_some() || layer.lora.is_some();
        let want = needs_pixels.then_some(4 * m * pixels);
        assert_eq!(kept.get(&(Site::Pixels, SavedKind::Exact)).copied(), want, "{name}");
        assert_eq!(kept.len(), usize::from(needs_pixels) + usize::from(layer.lora.is_some()), "{name}: {kept:?}");
        assert_eq!(y.needs_grad(), name != "frozen");
        assert_close(name, &[y.tensor().to_vec()], &[case.op.oracle(&case.args())], case.tolerance());
        if name == "frozen" {
            continue;
        }
        let (dy, mut grads) = (random(m * n, 5), Grads::new());
        let seed = memory.tensor(m, n, dy.clone(), Category::Transient);
        let id = y.id();
        drop(y);
        drop(tape.backward(id, seed, &mut grads)?);
        let got: Vec<_> = case.op.params().iter().map(|p| grads.get(p).expect("a gradient").to_vec()).collect();
        // All but that of the pixels.
        assert_close(name, &got, &case.numeric_gradients(&dy)[1..], 4.0 * case.tolerance());
        assert_eq!(memory.ledger().activation_bytes(), 0, "{name}");
    }
    assert_eq!(Site::Pixels.to_string(), "pixels");
    assert!("pixels".parse::<Site>().is_err(), "not a site to compress");
    Ok(())
}

/// Gradients add up where a value is used by another op too.
#[test]
fn gradients_of_a_value_used_twice_add_up() -> Result {
    let memory = Memory::new();
    let (m, n) = (6, 4);
    let x = Matrix::random(m, n, 1);
    let factors = trained(&memory, n, 2);
    for op in [
        Vision::GatherRows { rows: vec![Some(3), None, Some(0), Some(3), Some(5), Some(2)].into(), fold: 1, cols: n },
        Vision::ScaleColumns { factors },
        Vision::Pool { sequences: sequences(&[1; 6]), pool: Pool::First },
        Vision::Pool { sequences: sequences(&[1; 6]), pool: Pool::Mean { skip: 0 } },
        Vision::PlacePatches { specials: Vec::new(), positions: None, images: 2 },
    ] {
        let case = Case { name: "alone", op: Op::Vision(op), inputs: vec![x.clone()], terms: n };
        let dy = random(m * n, 3);
        let alone = case.run(Policy::exact(), KEY, &dy, false)?;
        let mut tape = Tape::new(&memory, Policy::exact(), KEY);
        let x = tape.input(x.tensor(&memory), true);
        let y = case.op.run(&mut tape, vec![x.clone()])?;
        let z = add(&mut tape, y, &x)?;
        let seed = memory.tensor(m, n, dy.clone(), Category::Transient);
        let gradient = tape.backward(z.id(), seed, &mut Grads::new())?.take(x.id()).expect("x wants a gradient");
        let want = alone.gradients[0].iter().zip(&dy).map(|(g, d)| f64::from(*g) + f64::from(*d)).collect();
        assert_close("used twice", &[gradient.to_vec()], &[want], case.tolerance());
    }
    Ok(())
}

/// x, and its projection through what keeps nothing: gathered twice, scaled.
struct Closed {
    layer: Linear,
    factors: Values,
    there: Arc<[Option<u32>]>,
    back: Arc<[Option<u32>]>,
    /// Numbers that the outputs had, in each run.
    numbers: RefCell<Vec<Vec<usize>>>,
}

impl Closed {
    fn new(memory: &Memory, n: usize, factors: Values) -> Result<Self> {
        let weight = Weight::Frozen(Frozen::from_f32(memory, n, n, &random(n * n, 1))?);
        let layer = Linear { weight, bias: None, lora: Some(lora(memory, n, n, 2, 0.0)) };
        let there = [Some(2), Some(0), None, Some(3), Some(1), None];
        let back = [Some(1), Some(4), Some(0), Some(3)];
        Ok(Self { layer, factors, there: there.into(), back: back.into(), numbers: RefCell::default() })
    }

    fn run<'m>(&'m self, tape: &mut Tape<'m>, x: Var, closes: &'static [Site]) -> Result<Var> {
        let segment = |tape: &mut Tape<'m>, x: Var| {
            let h = gather_rows(tape, &x, &self.there, 1)?;
            tape.closes(closes);
            let mut numbers = Vec::new();
            let mut note = |h: Var| {
                numbers.push(h.tensor().to_vec().len());
                h
            };
            let h = note(linear(tape, &h, &self.layer, Site::AttnOut)?);
            let h = note(gather_rows(tape, &h, &self.back, 1)?);
            let h = note(scale_columns(tape, h, &self.factors)?);
            let h = note(place_patches(tape, h, &[], None, 2)?);
            let h = note(pool(tape, &h, &sequences(&[1; 4]), Pool::First)?);
            let y = note(add(tape, h, &x)?);
            self.numbers.borrow_mut().push(numbers);
            Ok(y)
        };
        tape.segment(Site::CkptAttn, x, Box::new(segment))
    }
}

/// A recomputed segment whose output nobody reads: the same gradients, with numbers or without.
#[test]
fn outputs_that_nobody_reads_are_not_computed() -> Result {
    let run = |memory: &Memory, policy: Policy, closes| -> Result<_> {
        let closed = Closed::new(memory, 6, Values::frozen(memory, random(6, 2)))?;
        let mut tape = Tape::new(memory, policy, KEY);
        let x = tape.input(Matrix::random(4, 6, 3).tensor(memory), true);
        let id = x.id();
        let y = closed.run(&mut tape, x, closes)?;
        let (output, of) = (y.tensor().to_vec(), y.id());
        drop(y);
        memory.ledger().reset_peak();
        let mut grads = Grads::new();
        let seed = Matrix::random(4, 6, 4).tensor(memory);
        let dx = tape.backward(of, seed, &mut grads)?.take(id).expect("x wants a gradient").to_vec();
        let params = closed.layer.lora.iter().flat_map(|lora| lora.params());
        let mut all: Vec<_> = params.map(|p| grads.get(p).expect("a gradient").to_vec()).collect();
        all.extend([output, dx]);
        assert_eq!(memory.ledger().activation_bytes(), 0);
        Ok((all, closed.numbers.into_inner(), memory.ledger().peak()))
    };
    let memory = Memory::new;
    let sublayer = || recomputing(Recompute::Sublayer);
    let there = [36, 24, 24, 24, 24, 24];
    let (whole, numbers, _) = run(&memory(), Policy::exact(), &[Site::CkptAttn])?;
    assert_eq!(numbers, [&there[..]]);
    let (again, numbers, _) = run(&memory(), sublayer(), &[])?;
    assert_eq!(numbers, [&there[..], &there[..]]);
    let (closed, numbers, peak) = run(&memory(), sublayer(), &[Site::CkptAttn])?;
    assert_eq!(numbers, [&there[..], &[0; 6]]);
    assert!(whole.iter().flatten().all(|x| x.is_finite()));
    assert_eq!([&again, &closed], [&whole; 2]);
    assert_eq!(run(&Memory::hollow(), sublayer(), &[Site::CkptAttn])?.2, peak);
    Ok(())
}

#[test]
fn trained_factors_need_the_output_that_they_scale() -> Result {
    let memory = Memory::new();
    let closed = Closed::new(&memory, 6, trained(&memory, 6, 2))?;
    let mut tape = Tape::new(&memory, recomputing(Recompute::Sublayer), KEY);
    let x = tape.input(Matrix::random(4, 6, 3).tensor(&memory), true);
    let y = closed.run(&mut tape, x, &[Site::CkptAttn])?.id();
    let error = tape.backward(y, Matrix::random(4, 6, 4).tensor(&memory), &mut Grads::new()).err();
    let what = "factors of an output that is not computed";
    assert_eq!(error, Some(Error::NoGradient { op: "scale_columns", what }));
    Ok(())
}

#[test]
fn a_hollow_memory_foresees_them() -> Result {
    let run = |memory: &Memory, at: usize| -> Result<_> {
        let case = cases(memory, 5)?.swap_remove(at);
        let mut tape = Tape::new(memory, Policy::exact(), KEY);
        let inputs = case.inputs.iter().map(|x| tape.input(x.tensor(memory), true)).collect();
        let y = case.op.run(&mut tape, inputs)?;
        let (id, live, shape) = (y.id(), memory.ledger().live(), (y.rows(), y.cols()));
        drop(y);
        let dy = memory.zeros(shape.0, shape.1, Category::Transient);
        let mut grads = Grads::new();
        drop(tape.backward(id, dy, &mut grads)?);
        let after = memory.ledger().live();
        assert_eq!(memory.ledger().activation_bytes(), 0);
        Ok((case.name, live, after, memory.ledger().peak()))
    };
    for at in 0..cases(&Memory::new(), 5)?.len() {
        assert_eq!(run(&Memory::hollow(), at)?, run(&Memory::new(), at)?);
    }
    Ok(())
}

/// Nothing is recorded and nothing kept where nothing is trained, or in evaluation.
#[test]
fn nothing_trained_records_nothing() -> Result {
    let memory = Memory::new();
    let factors = trained(&memory, 4, 1);
    let input = Matrix::random(6, 4, 1);
    let mut still = Tape::evaluation(&memory);
    let x = still.input(input.tensor(&memory), true);
    assert!(!scale_columns(&mut still, x, &factors)?.needs_grad());
    let mut tape = Tape::new(&memory, Policy::exact(), KEY);
    let x = tape.input(input.tensor(&memory), false);
    assert!(!pool(&mut tape, &x, &sequences(&[2, 4]), Pool::First)?.needs_grad());
    assert!(!gather_rows(&mut tape, &x, &taken(6).into(), 1)?.needs_grad());
    assert!(!place_patches(&mut tape, x.clone(), &[], None, 2)?.needs_grad());
    // A trained token alone makes all of it need a gradient.
    let placed = place_patches(&mut tape, x, &[&factors], None, 2)?;
    assert!(placed.needs_grad());
    let mut grads = Grads::new();
    let dy = Matrix::random(8, 4, 2);
    tape.backward(placed.id(), dy.tensor(&memory), &mut grads)?;
    let of = |row: usize| wide(&dy.numbers[row * 4..(row + 1) * 4]);
    let want = of(0).iter().zip(of(4)).map(|(a, b)| a + b).collect();
    let got = factors.trained().and_then(|param| grads.get(param)).expect("a gradient").to_vec();
    assert_close("token", &[got], &[want], 2.0 * f64::from(f32::EPSILON));
    Ok(())
}

#[test]
fn what_does_not_fit_is_named() -> Result {
    let memory = &Memory::new();
    let (four, five) = (trained(memory, 4, 1), trained(memory, 5, 1));
    let square = Values::Trained(param(memory, "rows", 2, 4, 1));
    let (positions, wide) = (bf16(memory, 4, 4)?, bf16(memory, 4, 5)?);
    let mut tape = Tape::new(memory, Policy::exact(), KEY);
    let x = tape.input(Matrix::random(6, 4, 1).tensor(memory), true);
    let t = &mut tape;
    let message = |result: Result<Var>| result.err().map_or_else(|| "no error".into(), |e| e.to_string());
    let place = |specials: &[&'_ Values], positions, images| {
        message(place_patches(&mut Tape::evaluation(memory), x.clone(), specials, positions, images))
    };
    let check = |got: String, want: &str| assert_eq!(got, want);
    check(place(&[], None, 4), "place_patches: patches against those of all images: 6 against 4");
    check(place(&[], None, 0), "place_patches: patches against those of all images: 6 against 0");
    check(
        place(&[&four, &five], None, 2),
        "place_patches: features of a special row against those of patches: 5 against 4",
    );
    check(place(&[&square], None, 2), "place_patches: rows of a special row: 2 against 1");
    check(place(&[], Some(&positions), 2), "place_patches: positions against the rows of an image: 4 against 3");
    check(
        place(&[&four], Some(&wide), 2),
        "place_patches: features of positions against those of patches: 5 against 4",
    );
    check(place(&[&four], Some(&positions), 2), "no error");

    let mut pooled = |lengths: &[usize], kind| message(pool(t, &x, &sequences(lengths), kind));
    check(pooled(&[2, 3], Pool::First), "pool: rows covered by sequences: 5 against 6");
    check(pooled(&[6, 0], Pool::First), "pool: end of a sequence against its start: 6 against 6");
    check(pooled(&[4, 2], Pool::Mean { skip: 2 }), "pool: rows of a sequence against the fewest: 2 against 3");
    let most = usize::MAX;
    let want = format!("pool: rows of a sequence against the fewest: 4 against {most}");
    check(pooled(&[4, 2], Pool::FirstAndMean { skip: most }), &want);
    let gap: Arc<[_]> = Arc::from([0..2, 3..6]);
    let gap = message(pool(t, &x, &gap, Pool::First));
    check(gap, "pool: start of a sequence against the end of the one before: 3 against 2");

    check(message(scale_columns(t, x.clone(), &five)), "scale_columns: features against factors: 4 against 5");
    check(message(scale_columns(t, x.clone(), &square)), "scale_columns: rows of factors: 2 against 1");

    let mut taken = |rows: &[Option<u32>], fold| message(gather_rows(t, &x, &rows.into(), fold));
    check(taken(&[Some(5), None, Some(6)], 1), "gather_rows: row taken beyond the rows: 6 against 6");
    check(taken(&[Some(5); 6], 4), "gather_rows: rows left over by those beside each other: 2 against 0");
    check(taken(&[Some(5); 6], 0), "gather_rows: rows beside each other against the fewest: 0 against 1");
    Ok(())
}
