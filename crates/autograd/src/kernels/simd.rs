//! The loops that compilers do not vectorise by themselves. They are called from functions defined by [`vectorised!`],
//! which are compiled for every instruction set; all of them are `#[inline(always)]`.

pub(crate) use loract_linalg::vectorised;

/// Running sums kept side by side, so that a reduction vectorises; also fixes the order of additions.
const LANES: usize = 16;

/// Σ f(a_i, b_i).
#[inline(always)]
pub(crate) fn sum2(a: &[f32], b: &[f32], f: impl Fn(f32, f32) -> f32) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let (ca, cb) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let mut rest = 0.0;
    for (&x, &y) in ca.remainder().iter().zip(cb.remainder()) {
        rest += f(x, y);
    }
    for (xs, ys) in ca.zip(cb) {
        for ((lane, &x), &y) in lanes.iter_mut().zip(xs).zip(ys) {
            *lane += f(x, y);
        }
    }
    lanes.iter().sum::<f32>() + rest
}

/// Σ f(a_i).
#[inline(always)]
pub(crate) fn sum(a: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    sum2(a, a, |x, _| f(x))
}

/// The largest element; −∞ of none. NaN is passed over.
#[inline(always)]
pub(crate) fn max(a: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let chunks = a.chunks_exact(LANES);
    let mut best = f32::NEG_INFINITY;
    for &x in chunks.remainder() {
        best = if x > best { x } else { best };
    }
    for xs in chunks {
        for (lane, &x) in lanes.iter_mut().zip(xs) {
            *lane = if x > *lane { x } else { *lane };
        }
    }
    lanes.iter().fold(best, |m, &x| if x > m { x } else { m })
}

/// eˣ to 2 units in the last place for −87.3 ≤ x ≤ 88.3; 0 below, the largest such value above; NaN stays NaN.
///
/// Cody–Waite reduction by multiples of ln 2 and the degree-5 polynomial of the Cephes library's `expf`.
#[inline(always)]
#[allow(clippy::excessive_precision)]
pub(crate) fn exp(x: f32) -> f32 {
    const ROUND: f32 = 12_582_912.0; // 1.5·2²³: adding it rounds to the nearest integer
    let clamped = if x > 88.3 { 88.3 } else { x };
    let clamped = if clamped < -87.33 { -87.33 } else { clamped };
    let shifted = clamped * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = clamped - n * 0.693_359_375 + n * 2.121_944_4e-4;
    let p = 1.987_569_1e-4f32;
    let p = p * r + 1.398_199_9e-3;
    let p = p * r + 8.333_452e-3;
    let p = p * r + 4.166_579_6e-2;
    let p = p * r + 1.666_666_5e-1;
    let p = p * r + 5.000_000_1e-1;
    let p = p * r * r + r + 1.0;
    let exponent = shifted.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(127) << 23;
    let y = p * f32::from_bits(exponent);
    if x < -87.33 { 0.0 } else { y }
}

/// 1 / (1 + e⁻ˣ).
#[inline(always)]
pub(crate) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// `a` if `condition` holds, else `b`. Both are there already; of a branch the compiler would make one that only computes
/// what it needs, and no vectors.
#[inline(always)]
fn select(condition: bool, a: f32, b: f32) -> f32 {
    let mask = 0u32.wrapping_sub(u32::from(condition));
    f32::from_bits(a.to_bits() & mask | b.to_bits() & !mask)
}

/// erf(x) to 2 units in the last place: ±1 at ±∞, NaN stays NaN.
///
/// x + x·p(x²) up to 475/512, 1 − e^q(|x|) beyond, with the polynomials of N. Juffa's `erff` (public domain; less than 1
/// unit with fused operations).
#[inline(always)]
#[allow(clippy::excessive_precision)]
pub(crate) fn erf(x: f32) -> f32 {
    let (t, s) = (x.abs(), x * x);
    let q = -1.728_534_70e-5f32 * t + 3.831_971_26e-4;
    let q = q * s + (-3.883_964_38e-3 * t + 2.425_462_19e-2);
    let q = q * t - 1.067_778_77e-1;
    let q = q * t - 6.348_466_87e-1;
    let q = q * t - 1.287_175_12e-1;
    let outer = 1.0 - exp(q * t - t);
    let p = -5.967_617_03e-4f32 * s + 4.991_194_23e-3;
    let p = p * s - 2.676_813_49e-2;
    let p = p * s + 1.128_199_25e-1;
    let p = p * s - 3.761_253_36e-1;
    let p = p * s + 1.283_791_66e-1;
    let inner = p * t + t;
    // NaN is not larger than anything: it takes the polynomial.
    select(t > 0.927_734_375, outer, inner).copysign(x)
}

/// tanh(x) to 2 units in the last place: ±1 at ±∞, NaN stays NaN.
///
/// x + x³·p(x²) up to 0.625, 1 − 2/(e^(2|x|) + 1) beyond, as in the Cephes library's `tanhf`.
#[inline(always)]
#[allow(clippy::excessive_precision)]
pub(crate) fn tanh(x: f32) -> f32 {
    let (t, s) = (x.abs(), x * x);
    let outer = 1.0 - 2.0 / (exp(2.0 * t) + 1.0);
    let p = -5.704_988_727_45e-3f32 * s + 2.063_908_879_54e-2;
    let p = p * s - 5.373_971_555_31e-2;
    let p = p * s + 1.333_144_220_36e-1;
    let p = p * s - 3.333_328_194_22e-1;
    let inner = p * s * t + t;
    // NaN is not larger than anything: it takes the polynomial.
    select(t > 0.625, outer, inner).copysign(x)
}

#[cfg(test)]
mod tests {
    use super::*;

    vectorised! {
        fn exp_of<'a>(x: &'a f32) -> f32 {
            exp(*x)
        }

        fn erf_of<'a>(x: &'a [f32], y: &'a mut [f32]) -> () {
            y.iter_mut().zip(x).for_each(|(y, &x)| *y = erf(x));
        }

        fn tanh_of<'a>(x: &'a [f32], y: &'a mut [f32]) -> () {
            y.iter_mut().zip(x).for_each(|(y, &x)| *y = tanh(x));
        }
    }

    /// Every 1009th f32 from 0 to ∞, and finer where the functions bend; against `exact` in f64, which `oracle::erf` is a
    /// series of positive terms for. One unit among the denormals has no bits for a relative error.
    fn assert_odd_and_close(of: impl for<'a> Fn(&'a [f32], &'a mut [f32]), exact: impl Fn(f64) -> f64) {
        let all = (0..=f32::INFINITY.to_bits()).step_by(1009).map(f32::from_bits);
        let mut x: Vec<f32> = all.chain((0..1_200_000u32).map(|i| i as f32 * 1e-5)).collect();
        x.extend([f32::INFINITY, f32::MIN_POSITIVE, f32::from_bits(1), f32::MAX]);
        let (mut y, mut mirrored) = (vec![0.0; x.len()], vec![0.0; x.len()]);
        of(&x, &mut y);
        let minus: Vec<f32> = x.iter().map(|x| -x).collect();
        of(&minus, &mut mirrored);
        for ((&x, &y), &mirrored) in x.iter().zip(&y).zip(&mirrored) {
            let want = exact(f64::from(x));
            let bound = 2.0 * f64::from(f32::EPSILON) * want + f64::from(f32::from_bits(1));
            assert!((f64::from(y) - want).abs() <= bound, "at {x}: {y} for {want}");
            assert_eq!(mirrored.to_bits(), (-y).to_bits(), "at −{x}");
        }
        let mut last = [0.0; 3];
        of(&[f32::INFINITY, f32::NEG_INFINITY, f32::NAN], &mut last);
        assert!(last[0] == 1.0 && last[1] == -1.0 && last[2].is_nan(), "{last:?}");
    }

    #[test]
    fn erf_is_within_two_units_in_the_last_place() {
        assert_odd_and_close(erf_of, loract_testkit::oracle::erf);
    }

    #[test]
    fn tanh_is_within_two_units_in_the_last_place() {
        assert_odd_and_close(tanh_of, f64::tanh);
    }

    #[test]
    fn exp_is_within_two_units_in_the_last_place() {
        let mut worst = 0.0f64;
        for i in -870_000..=880_000 {
            let x = i as f32 * 1e-4;
            let want = f64::from(x).exp();
            let got = f64::from(exp_of(&x));
            worst = worst.max(((got - want) / want).abs());
        }
        assert!(worst <= 2.0 * f64::from(f32::EPSILON), "{worst}");
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
        assert_eq!(exp(-200.0), 0.0);
        assert!(exp(f32::NAN).is_nan());
        assert_eq!(exp(0.0), 1.0);
    }

    #[test]
    fn reductions_equal_the_plain_ones_at_every_length() {
        for len in [0, 1, 15, 16, 17, 50] {
            let a: Vec<f32> = (0..len).map(|i| ((i * 7) % 11) as f32 - 5.0).collect();
            assert_eq!(sum(&a, |x| x * 2.0), a.iter().map(|x| x * 2.0).sum::<f32>());
            assert_eq!(max(&a), a.iter().copied().fold(f32::NEG_INFINITY, f32::max));
        }
    }
}
