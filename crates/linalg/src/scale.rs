//! Scaling of a test matrix where ‖A‖ is huge or tiny.

/// Factors that keep Aᵀ·(test matrix) in the range of f32; 1 for usual norms.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scale {
    /// For vectors of the size of A's.
    pub(crate) like_a: f64,
    /// For vectors of the size of 1.
    pub(crate) unit: f64,
}

impl Scale {
    pub(crate) fn new(norm: f64) -> Self {
        if (1e-9..1e15).contains(&norm) || norm == 0.0 {
            return Self { like_a: 1.0, unit: 1.0 };
        }
        // A tiny A wants a test matrix as large as 1/‖A‖, within the range itself.
        let unit = (1.0 / norm).clamp(1.0, 1e30);
        Self { like_a: unit / norm, unit }
    }
}

/// Multiplies every element.
pub(crate) fn apply_scale(data: &mut [f32], factor: f64) {
    if factor != 1.0 {
        data.iter_mut().for_each(|x| *x = (f64::from(*x) * factor) as f32);
    }
}
