//! Learning rate by step.

/// Shape of the learning rate after warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ScheduleKind {
    /// Stays.
    #[default]
    Constant,
    /// Falls in a line to 0 at the end.
    Linear,
    /// Falls along half a cosine to 0 at the end.
    Cosine,
}

/// Warm-up, then a shape. As Transformers' schedulers, but warm-up begins at lr/warmup instead of 0, so that no step is
/// spent on a learning rate of nothing.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Schedule {
    /// Shape.
    pub kind: ScheduleKind,
    /// Highest learning rate.
    pub lr: f64,
    /// Steps of warm-up.
    pub warmup: u64,
    /// All steps.
    pub steps: u64,
}

impl Schedule {
    /// The learning rate of step `step`, counted from 0.
    pub fn at(&self, step: u64) -> f64 {
        if step < self.warmup {
            return self.lr * (step + 1) as f64 / self.warmup as f64;
        }
        let after = self.steps.saturating_sub(self.warmup).max(1);
        let done = (step - self.warmup) as f64 / after as f64;
        match self.kind {
            ScheduleKind::Constant => self.lr,
            ScheduleKind::Linear => self.lr * (1.0 - done).max(0.0),
            ScheduleKind::Cosine => self.lr * 0.5 * (1.0 + (std::f64::consts::PI * done.min(1.0)).cos()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warm_up_rises_to_the_top_and_shapes_end_near_nothing() {
        for kind in [ScheduleKind::Constant, ScheduleKind::Linear, ScheduleKind::Cosine] {
            let s = Schedule { kind, lr: 2.0, warmup: 4, steps: 14 };
            assert_eq!([s.at(0), s.at(3), s.at(4)], [0.5, 2.0, 2.0]);
            let last = s.at(13);
            match kind {
                ScheduleKind::Constant => assert_eq!(last, 2.0),
                ScheduleKind::Linear => assert!((last - 0.2).abs() < 1e-12),
                ScheduleKind::Cosine => assert!(last > 0.0 && last < 0.05),
            }
        }
        // Warm-up longer than the run never divides by zero.
        assert_eq!(Schedule { kind: ScheduleKind::Linear, lr: 1.0, warmup: 9, steps: 3 }.at(2), 3.0 / 9.0);
    }
}
