//! Slices of columns, multiplication by a number, and clamps: what harness cases do not show of them.

use loract_autograd::ops::{add, clamp, scale, slice};
use loract_autograd::{Category, Error, Grads, Memory, Policy, SavedKind, Site, Tape, Var};

use crate::harness::{KEY, Matrix, Result, random};
use crate::kept::saved;

const M: usize = 70;
const N: usize = 12;

/// Runs `build` on x, and backward from `dy`: the output and the gradient of x.
fn through(
    memory: &Memory,
    x: &Matrix,
    dy: &[f32],
    build: impl Fn(&mut Tape<'_>, Var) -> Result<Var>,
) -> Result<[Vec<f32>; 2]> {
    let mut tape = Tape::new(memory, Policy::exact(), KEY);
    let x = tape.input(x.tensor(memory), true);
    let id = x.id();
    let y = build(&mut tape, x)?;
    let (output, id_of_y) = (y.tensor().to_vec(), y.id());
    let seed = memory.tensor(y.rows(), y.cols(), dy.to_vec(), Category::Transient);
    drop(y);
    let dx = tape.backward(id_of_y, seed, &mut Grads::new())?.take(id).expect("x wants a gradient");
    Ok([output, dx.to_vec()])
}

/// As q, k and v of one projection: two slices that overlap and a column that nobody takes. Numbers are added, never
/// rounded: all are multiples of 1/8.
#[test]
fn slices_of_one_tensor_share_its_gradient() -> Result {
    let memory = Memory::new();
    let eighths = |seed| random(M * N, seed).iter().map(|x| (x * 8.0).round() / 8.0).collect::<Vec<_>>();
    let (x, dy) = (Matrix { rows: M, cols: N, numbers: eighths(1) }, &eighths(2)[..M * 5]);
    let [y, dx] = through(&memory, &x, dy, |tape, x| {
        let (first, second) = (slice(tape, &x, 0..5)?, slice(tape, &x, 3..8)?);
        drop(x);
        assert_eq!(memory.ledger().saved_bytes(), 0, "a slice keeps nothing");
        add(tape, first, &second)
    })?;
    for row in 0..M {
        let (x, dx) = (&x.numbers[row * N..(row + 1) * N], &dx[row * N..(row + 1) * N]);
        let (y, dy) = (&y[row * 5..(row + 1) * 5], &dy[row * 5..(row + 1) * 5]);
        for i in 0..5 {
            assert_eq!(y[i], x[i] + x[i + 3]);
        }
        for (i, dx) in dx.iter().enumerate() {
            let of = |start: usize| i.checked_sub(start).and_then(|i| dy.get(i)).copied().unwrap_or(0.0);
            assert_eq!(*dx, of(0) + of(3), "row {row}, column {i}");
        }
    }
    Ok(())
}

#[test]
fn a_factor_of_one_is_no_op() -> Result {
    let memory = Memory::new();
    let mut tape = Tape::new(&memory, Policy::exact(), KEY);
    let x = tape.input(Matrix::random(2, 3, 1).tensor(&memory), true);
    let id = x.id();
    let same = scale(&mut tape, x, 1.0)?;
    assert_eq!(same.id(), id);
    let half = scale(&mut tape, same.clone(), 0.5)?;
    let want: Vec<f32> = same.tensor().to_vec().iter().map(|x| x * 0.5).collect();
    assert_eq!(half.tensor().to_vec(), want);
    assert_eq!(memory.ledger().saved_bytes(), 0);
    Ok(())
}

/// The limit itself passes its gradient, what lies beyond it and NaN do not; the bits are counted where they are kept.
#[test]
fn a_clamp_keeps_a_bit_an_element() -> Result {
    let memory = Memory::new();
    let mut x = Matrix::random(M, N, 3);
    let special =
        [1.0, -1.0, 1.0 + f32::EPSILON, -1.0 - f32::EPSILON, f32::INFINITY, f32::NEG_INFINITY, f32::NAN, -0.0];
    x.numbers[..special.len()].copy_from_slice(&special);
    let dy: Vec<f32> = random(M * N, 4);
    let [y, dx] = through(&memory, &x, &dy, |tape, x| {
        let y = clamp(tape, x, 1.0)?;
        let words = (M * N).div_ceil(32);
        let kept: Vec<_> = saved(&memory.ledger().live()).into_iter().collect();
        assert_eq!(kept, [((Site::Clamped, SavedKind::Exact), 4 * words)]);
        Ok(y)
    })?;
    let mut cut = 0;
    for (((&x, &y), &dx), &dy) in x.numbers.iter().zip(&y).zip(&dx).zip(&dy) {
        let inside = (-1.0..=1.0).contains(&x);
        assert_eq!(dx, if inside { dy } else { 0.0 }, "at {x}");
        assert!(y == x.clamp(-1.0, 1.0) || x.is_nan() && y.is_nan(), "{x} became {y}");
        cut += usize::from(!inside);
    }
    assert!((100..M * N - 100).contains(&cut), "{cut} of {} are cut", M * N);
    let mut tape = Tape::evaluation(&memory);
    let input = tape.input(x.tensor(&memory), false);
    let still = clamp(&mut tape, input, 1.0)?.tensor().to_vec();
    assert!(still.iter().zip(&y).all(|(a, b)| a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan()));
    Ok(())
}

#[test]
fn a_hollow_memory_foresees_them() -> Result {
    let run = |memory: &Memory| -> Result<_> {
        let mut tape = Tape::new(memory, Policy::exact(), KEY);
        let x = tape.input(Matrix::random(M, N, 3).tensor(memory), true);
        let (y, z) = (slice(&mut tape, &x, 0..4)?, slice(&mut tape, &x, 5..9)?);
        drop(x);
        let y = clamp(&mut tape, y, 0.5)?;
        let z = scale(&mut tape, z, 3.0)?;
        let out = add(&mut tape, y, &z)?;
        drop(z);
        let (id, live) = (out.id(), memory.ledger().live());
        drop(out);
        let dy = Matrix::random(M, 4, 4).tensor(memory);
        drop(tape.backward(id, dy, &mut Grads::new())?);
        assert_eq!(memory.ledger().activation_bytes(), 0);
        Ok((live, memory.ledger().peak()))
    };
    assert_eq!(run(&Memory::hollow())?, run(&Memory::new())?);
    Ok(())
}

#[test]
fn what_does_not_fit_is_named() -> Result {
    let memory = Memory::new();
    let mut tape = Tape::new(&memory, Policy::exact(), KEY);
    let x = tape.input(Matrix::random(4, 6, 1).tensor(&memory), true);
    let mut message = |columns| slice(&mut tape, &x, columns).err().map(|e| e.to_string());
    assert_eq!(message(4..7).as_deref(), Some("slice: end of the columns against those there: 7 against 6"));
    assert_eq!(message(3..3).as_deref(), Some("slice: end of the columns against their start: 3 against 3"));
    for limit in [0.0, -1.0, f32::NAN, f32::INFINITY] {
        match clamp(&mut tape, x.clone(), limit) {
            Err(Error::NotPositive { op: "clamp", what: "limit", value }) => {
                assert_eq!(value.to_bits(), limit.to_bits());
            }
            other => panic!("{limit}: {:?}", other.map(|_| "clamped")),
        }
    }
    let error = clamp(&mut tape, x, -1.0).err().map(|e| e.to_string());
    assert_eq!(error.as_deref(), Some("clamp: limit has to be a finite number above 0, not -1"));
    Ok(())
}
