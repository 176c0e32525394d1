//! Run-time choice of vector instructions for our own loops.
//!
//! A short loop inside [`dispatch`] is compiled for AVX-512, AVX2+FMA, NEON and plain code, and the best that the processor
//! has runs; a longer one is a function defined by [`vectorised!`]. (A closure cannot be told to be inlined, and a long one
//! is left a function of its own, without vectors.) Whatever they call must be `#[inline(always)]`. Sums keep [`LANES`]
//! running sums side by side, so that they vectorise, which also fixes the order of additions.

/// Running sums of a reduction.
const LANES: usize = 16;

/// Runs `f` compiled for the best instruction set of this processor.
#[inline(always)]
pub(crate) fn dispatch<R>(f: impl FnOnce() -> R) -> R {
    pulp::Arch::new().dispatch(f)
}

/// Defines functions whose loops are compiled for AVX-512, AVX2+FMA, NEON and plain code; the best that the processor has
/// runs. What they call must be `#[inline(always)]`.
///
/// ```
/// loract_linalg::vectorised! {
///     /// x += y.
///     pub fn add<'a>(x: &'a mut [f32], y: &'a [f32]) -> () {
///         x.iter_mut().zip(y).for_each(|(x, &y)| *x += y);
///     }
/// }
/// let mut x = [1.0; 5];
/// add(&mut x, &[2.0; 5]);
/// assert_eq!(x, [3.0; 5]);
/// ```
#[macro_export]
macro_rules! vectorised {
    ($($(#[$meta:meta])* $vis:vis fn $name:ident<$life:lifetime>($($arg:ident: $type:ty),* $(,)?) -> $ret:ty $body:block)*) => {$(
        $(#[$meta])*
        $vis fn $name<$life>($($arg: $type),*) -> $ret {
            struct Call<$life> {
                $($arg: $type),*
            }
            impl<$life> $crate::pulp::NullaryFnOnce for Call<$life> {
                type Output = $ret;
                #[inline(always)]
                fn call(self) -> $ret {
                    let Self { $($arg),* } = self;
                    $body
                }
            }
            $crate::pulp::Arch::new().dispatch(Call { $($arg),* })
        }
    )*};
}
pub(crate) use vectorised;

vectorised! {
    /// [`dot`] on its own.
    pub(crate) fn inner_product<'a>(x: &'a [f64], y: &'a [f64]) -> f64 {
        dot(x, y)
    }

    /// Σ x_i² of f32 numbers, in f64.
    pub(crate) fn sum_of_squares<'a>(x: &'a [f32]) -> f64 {
        sum2(x, x, |a, _| f64::from(a) * f64::from(a))
    }
}

/// Σ f(x_i, y_i).
#[inline(always)]
pub(crate) fn sum2<T: Copy>(x: &[T], y: &[T], f: impl Fn(T, T) -> f64) -> f64 {
    let mut lanes = [0.0f64; LANES];
    let (xs, ys) = (x.chunks_exact(LANES), y.chunks_exact(LANES));
    let mut rest = 0.0;
    for (&a, &b) in xs.remainder().iter().zip(ys.remainder()) {
        rest += f(a, b);
    }
    for (a, b) in xs.zip(ys) {
        for ((lane, &a), &b) in lanes.iter_mut().zip(a).zip(b) {
            *lane += f(a, b);
        }
    }
    lanes.iter().sum::<f64>() + rest
}

/// Σ x_i·y_i in f64.
#[inline(always)]
pub(crate) fn dot(x: &[f64], y: &[f64]) -> f64 {
    sum2(x, y, |a, b| a * b)
}

/// `y += alpha·x`.
#[inline(always)]
pub(crate) fn axpy(y: &mut [f64], alpha: f64, x: &[f64]) {
    y.iter_mut().zip(x).for_each(|(y, &x)| *y += alpha * x);
}

/// `(x, y) ← (c·x + s·y, c·y − s·x)`.
#[inline(always)]
pub(crate) fn rotate(x: &mut [f64], y: &mut [f64], c: f64, s: f64) {
    for (x, y) in x.iter_mut().zip(y) {
        (*x, *y) = (c * *x + s * *y, c * *y - s * *x);
    }
}
