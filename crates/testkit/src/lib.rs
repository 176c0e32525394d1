//! Test support for loract; a dev-dependency only.
//!
//! Nothing here is computed by the code under test: random numbers, spectra and golden files come from elsewhere.

pub mod golden;
pub mod oracle;
pub mod spectrum;

/// Next number of a xorshift* stream, uniform in [0, 1).
pub fn uniform(state: &mut u64) -> f64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z ^= z >> 31;
    (z >> 11) as f64 / (1u64 << 53) as f64
}
