//! The types that a product of panels is carried out in: f32 where its rounding does not matter, else f64.

use crate::gemm::Real;

/// The type that a product is carried out in.
pub(crate) trait Work: Real + Default + Send + Sync + Into<f64> + bytemuck::Pod {
    /// Its rounding unit.
    const EPSILON: f64;
    /// Nearest number.
    fn of(x: f64) -> Self;
}
impl Work for f32 {
    const EPSILON: f64 = f32::EPSILON as f64;
    #[inline(always)]
    fn of(x: f64) -> Self {
        x as f32
    }
}
impl Work for f64 {
    const EPSILON: f64 = f64::EPSILON;
    #[inline(always)]
    fn of(x: f64) -> Self {
        x
    }
}
