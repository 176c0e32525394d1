//! Activation functions, alone (h = f(x)) and with a gate (h = f(gate)·up), and their gradients.

use loract_linalg::{with_buffer, with_buffers};
use rayon::prelude::*;

use super::elementwise::{GRAIN, rows_per_task};
use super::parts::split;
use super::simd;
use crate::saved::Tiles;

/// A function of one number between the projections of an MLP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Activation {
    /// x·σ(x); `silu`, `swish`.
    Silu,
    /// x·Φ(x), Φ being the normal distribution's: x·(1 + erf(x/√2))/2; `gelu`.
    Gelu,
    /// The approximation x·(1 + tanh(√(2/π)·(x + 0.044715·x³)))/2; `gelu_new`, `gelu_pytorch_tanh`, `gelu_fast`.
    GeluTanh,
    /// The approximation x·σ(1.702·x); `quick_gelu`.
    QuickGelu,
    /// The larger of x and 0; `relu`.
    Relu,
}

/// An [`Activation`] that is compiled into the loops.
trait Curve {
    /// f(x) and f′(x).
    fn with_slope(x: f32) -> (f32, f32);

    /// f(x), the same bits.
    #[inline(always)]
    fn value(x: f32) -> f32 {
        Self::with_slope(x).0
    }
}

struct Silu;
struct Gelu;
struct GeluTanh;
struct QuickGelu;
struct Relu;

/// x·σ(βx), and its slope σ·(1 + βx·(1 − σ)).
#[inline(always)]
fn sigmoid_weighted(x: f32, beta: f32) -> (f32, f32) {
    let z = beta * x;
    let sigma = simd::sigmoid(z);
    (x * sigma, sigma * (1.0 + z * (1.0 - sigma)))
}

impl Curve for Silu {
    #[inline(always)]
    fn with_slope(x: f32) -> (f32, f32) {
        sigmoid_weighted(x, 1.0)
    }
}

impl Curve for QuickGelu {
    #[inline(always)]
    fn with_slope(x: f32) -> (f32, f32) {
        sigmoid_weighted(x, 1.702)
    }
}

impl Curve for Gelu {
    /// Slope Φ(x) + x·φ(x).
    #[inline(always)]
    fn with_slope(x: f32) -> (f32, f32) {
        const DENSITY_AT_0: f32 = 0.398_942_3; // 1/√(2π)
        let below = 0.5 + 0.5 * simd::erf(x * std::f32::consts::FRAC_1_SQRT_2);
        (x * below, below + x * (DENSITY_AT_0 * simd::exp(-0.5 * x * x)))
    }
}

impl Curve for GeluTanh {
    /// Slope (1 + t)/2 + x·(1 − t²)/2·z′(x) for t = tanh(z(x)).
    #[inline(always)]
    fn with_slope(x: f32) -> (f32, f32) {
        const LINEAR: f32 = 0.797_884_6; // √(2/π)
        const CUBIC: f32 = 0.044_715 * LINEAR;
        // Beyond ±10 t is ±1 to the last bit, and x² cannot overflow.
        let near = if x > 10.0 { 10.0 } else { x };
        let near = if near < -10.0 { -10.0 } else { near };
        let square = near * near;
        let t = simd::tanh(near * (LINEAR + CUBIC * square));
        let half = 0.5 + 0.5 * t;
        (x * half, half + 0.5 * near * ((1.0 - t) * (1.0 + t)) * (LINEAR + 3.0 * CUBIC * square))
    }
}

impl Curve for Relu {
    /// Slope 0 at 0, as elsewhere.
    #[inline(always)]
    fn with_slope(x: f32) -> (f32, f32) {
        (if x < 0.0 { 0.0 } else { x }, if x > 0.0 { 1.0 } else { 0.0 })
    }
}

/// Calls `f::<Curve>`.
macro_rules! for_curve {
    ($activation:expr, $f:ident($($arg:expr),*)) => {
        match $activation {
            Activation::Silu => $f::<Silu>($($arg),*),
            Activation::Gelu => $f::<Gelu>($($arg),*),
            Activation::GeluTanh => $f::<GeluTanh>($($arg),*),
            Activation::QuickGelu => $f::<QuickGelu>($($arg),*),
            Activation::Relu => $f::<Relu>($($arg),*),
        }
    };
}

// Loops, not `for_each`: a closure with all that in it would be a function of its own, without vectors.

#[inline(always)]
fn values<C: Curve>(x: &[f32], h: &mut [f32]) {
    for (h, &x) in h.iter_mut().zip(x) {
        *h = C::value(x);
    }
}

#[inline(always)]
fn gated_values<C: Curve>(gate: &[f32], up: &[f32], h: &mut [f32]) {
    for ((h, &g), &u) in h.iter_mut().zip(gate).zip(up) {
        *h = C::value(g) * u;
    }
}

#[inline(always)]
fn slopes<C: Curve>(x: &[f32], d: &mut [f32]) {
    for (d, &x) in d.iter_mut().zip(x) {
        *d *= C::with_slope(x).1;
    }
}

#[inline(always)]
fn slopes_and_values<C: Curve>(x: &[f32], d: &mut [f32], h: &mut [f32]) {
    for ((d, h), &x) in d.iter_mut().zip(h).zip(x) {
        let (value, slope) = C::with_slope(x);
        *d *= slope;
        *h = value;
    }
}

#[inline(always)]
fn gated_slopes<C: Curve>(gate: &[f32], up: &[f32], dgate: &mut [f32], dup: &mut [f32]) {
    for (((dgate, dup), &g), &u) in dgate.iter_mut().zip(dup).zip(gate).zip(up) {
        let (dh, (value, slope)) = (*dup, C::with_slope(g));
        *dgate = dh * u * slope;
        *dup = dh * value;
    }
}

#[inline(always)]
fn gated_slopes_and_values<C: Curve>(gate: &[f32], up: &[f32], dgate: &mut [f32], dup: &mut [f32], h: &mut [f32]) {
    for ((((dgate, dup), h), &g), &u) in dgate.iter_mut().zip(dup).zip(h).zip(gate).zip(up) {
        let (dh, (value, slope)) = (*dup, C::with_slope(g));
        *dgate = dh * u * slope;
        *dup = dh * value;
        *h = value * u;
    }
}

simd::vectorised! {
    /// [`forward`] by the calling thread.
    pub(crate) fn forward_here<'a>(activation: Activation, x: &'a [f32], h: &'a mut [f32]) -> () {
        for_curve!(activation, values(x, h));
    }

    /// [`gated_forward`] by the calling thread.
    pub(crate) fn gated_forward_here<'a>(
        activation: Activation, gate: &'a [f32], up: &'a [f32], h: &'a mut [f32],
    ) -> () {
        for_curve!(activation, gated_values(gate, up, h));
    }

    /// [`backward`] of some elements.
    fn backward_here<'a>(activation: Activation, x: &'a [f32], d: &'a mut [f32], h: &'a mut [f32]) -> () {
        match h {
            [] => for_curve!(activation, slopes(x, d)),
            h => for_curve!(activation, slopes_and_values(x, d, h)),
        }
    }

    /// [`gated_backward`] of some elements.
    fn gated_backward_here<'a>(
        activation: Activation, gate: &'a [f32], up: &'a [f32], dgate: &'a mut [f32], dup: &'a mut [f32], h: &'a mut [f32],
    ) -> () {
        match h {
            [] => for_curve!(activation, gated_slopes(gate, up, dgate, dup)),
            h => for_curve!(activation, gated_slopes_and_values(gate, up, dgate, dup, h)),
        }
    }
}

/// h = f(x).
pub(crate) fn forward(activation: Activation, x: &[f32], h: &mut [f32]) {
    h.par_chunks_mut(GRAIN).zip(x.par_chunks(GRAIN)).for_each(|(h, x)| forward_here(activation, x, h));
}

/// h = f(gate)·up.
pub(crate) fn gated_forward(activation: Activation, gate: &[f32], up: &[f32], h: &mut [f32]) {
    h.par_chunks_mut(GRAIN).zip(gate.par_chunks(GRAIN)).zip(up.par_chunks(GRAIN)).for_each(|((h, gate), up)| {
        gated_forward_here(activation, gate, up, h);
    });
}

/// dx = dh·f′(x) of rows from `first` on. `d` holds dh when called, and is overwritten; `h` becomes f(x), or is empty.
pub(crate) fn backward(activation: Activation, x: &Tiles<'_>, first: usize, d: &mut [f32], h: &mut [f32]) {
    let (cols, tile) = (x.cols(), rows_per_task(x.cols()).max(16));
    let values = parts_like(d.len(), tile * cols, h);
    d.par_chunks_mut(tile * cols).zip(values).enumerate().for_each(|(at, (d, h))| {
        with_buffer(tile * cols, |buffer| {
            let rows = first + at * tile..first + at * tile + d.len() / cols;
            backward_here(activation, x.get(rows, buffer), d, h);
        });
    });
}

/// dgate = dh·up·f′(gate), dup = dh·f(gate) of rows from `first` on. `dup` holds dh when called, and is overwritten; `h` becomes
/// f(gate)·up, or is empty.
pub(crate) fn gated_backward(
    activation: Activation,
    [gate, up]: [&Tiles<'_>; 2],
    first: usize,
    [dgate, dup, h]: [&mut [f32]; 3],
) {
    let (cols, tile) = (gate.cols(), rows_per_task(gate.cols()).max(16));
    let values = parts_like(dup.len(), tile * cols, h);
    let parts = dgate.par_chunks_mut(tile * cols).zip(dup.par_chunks_mut(tile * cols)).zip(values);
    parts.enumerate().for_each(|(at, ((dgate, dup), h))| {
        with_buffers([tile * cols; 2], |[gates, ups]| {
            let rows = first + at * tile..first + at * tile + dup.len() / cols;
            let (gate, up) = (gate.get(rows.clone(), gates), up.get(rows, ups));
            gated_backward_here(activation, gate, up, dgate, dup, h);
        });
    });
}

/// `h` in the parts of `len` numbers in chunks; as many empty ones if it is empty.
fn parts_like(len: usize, chunk: usize, h: &mut [f32]) -> Vec<&mut [f32]> {
    let all = if h.is_empty() { 0 } else { chunk };
    split(h, (0..len).step_by(chunk.max(1)).map(|start| all.min(len - start)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use loract_testkit::oracle;

    /// With its definition.
    type Defined = (Activation, fn(f64) -> f64);

    const ALL: [Defined; 5] = [
        (Activation::Silu, oracle::silu),
        (Activation::Gelu, oracle::gelu),
        (Activation::GeluTanh, oracle::gelu_tanh),
        (Activation::QuickGelu, oracle::quick_gelu),
        (Activation::Relu, oracle::relu),
    ];

    /// Every 10 007th f32 of all, both signs, and finer where the curves bend.
    fn numbers() -> Vec<f32> {
        let all = (0..f32::INFINITY.to_bits()).step_by(10_007).map(f32::from_bits);
        let bend = (0..240_000u32).map(|i| i as f32 * 1e-4);
        all.chain(bend).flat_map(|x| [x, -x]).collect()
    }

    /// f to 3·eps·|x|: f is at most |x|, and its factor, of order 1, is off by a few roundings. Where the oracle rounds
    /// to 0 so may f, and a product may vanish among the denormals.
    #[test]
    fn values_are_close_everywhere() {
        let x = numbers();
        let mut h = vec![0.0; x.len()];
        for (activation, exact) in ALL {
            forward_here(activation, &x, &mut h);
            for (&x, &h) in x.iter().zip(&h) {
                let error = (f64::from(h) - exact(f64::from(x))).abs();
                let bound = 3.0 * f64::from(f32::EPSILON) * f64::from(x).abs() + f64::from(f32::from_bits(2));
                assert!(error <= bound, "{activation:?} of {x}: {h}, off by {error:e}");
            }
        }
    }

    /// f′ to 16·eps against central differences of the oracle, which are themselves good to 1e-9. Where 1 − σ or 1 − t²
    /// vanishes, a rounding of it counts as often as x and z′(x) are large: up to 16 times.
    #[test]
    fn slopes_are_close_everywhere() {
        let x: Vec<f32> = numbers().into_iter().filter(|x| x.abs() > 1e-3 && x.abs() < 30.0).collect();
        for (activation, exact) in ALL {
            let mut d = vec![1.0; x.len()];
            backward_here(activation, &x, &mut d, &mut []);
            for (&x, &d) in x.iter().zip(&d) {
                let (x, h) = (f64::from(x), 1e-5);
                let error = (f64::from(d) - (exact(x + h) - exact(x - h)) / (2.0 * h)).abs();
                assert!(error <= 16.0 * f64::from(f32::EPSILON), "{activation:?}′ of {x}: {d}, off by {error:e}");
            }
        }
    }

    /// Far out f is x or 0 (to 1e-38·|x|: σ has a least value) and f′ is 1 or 0, whatever overflows on the way; NaN stays
    /// NaN.
    #[test]
    fn extremes() {
        for (activation, _) in ALL {
            for far in [200.0, 1e15, 1e20, 1e30, 1e38] {
                let (mut h, mut d) = ([0.0; 3], [1.0; 3]);
                let x = [far, -far, f32::NAN];
                forward_here(activation, &x, &mut h);
                backward_here(activation, &x, &mut d, &mut []);
                let small = |y: f32| y.abs() <= 1e-38 * far;
                assert!(h[0] == far && small(h[1]) && h[2].is_nan(), "{activation:?} of {x:?}: {h:?}");
                assert!(d[0] == 1.0 && small(d[1]), "{activation:?}′ of {x:?}: {d:?}");
            }
        }
    }
}
