//! The pictures of the steps that come, decoded on a thread of their own.

use loract_autograd::Rng;
use loract_models::vision::{Augment, View};

use crate::config::RunConfig;
use crate::data::Order;
use crate::data::images::Loader;
use crate::error::Error;

/// Names the streams of views.
const VIEWS: u64 = 0xa46;

/// Micro-batches on their way.
#[derive(Debug)]
pub(super) struct Ahead {
    loader: Loader,
    /// Rows that were asked for, counted as [`Order::taken`] does.
    asked: usize,
    augment: Option<Augment>,
    seed: u64,
}

impl Ahead {
    /// From row `taken` of the run on.
    pub(super) fn new(loader: Loader, taken: usize, config: &RunConfig) -> Self {
        Self { loader, asked: taken, augment: config.images.augment(), seed: config.seed }
    }

    /// Asks for the micro-batches of the step that begins at `order`, as far as the run goes and they were not asked for. What is
    /// seen of a picture is named by its place in the run.
    pub(super) fn ask(&mut self, config: &RunConfig, mut order: Order) {
        let a_step = config.batch_size * config.grad_accum;
        let end = config.steps.map_or(usize::MAX, |steps| a_step.saturating_mul(steps as usize));
        for _ in 0..config.grad_accum {
            let place = order.taken();
            let rows = order.take(config.batch_size);
            if place < self.asked || place >= end {
                continue;
            }
            let view = |place: usize| match self.augment {
                Some(augment) => View::Random { augment, draws: Rng::new(&[self.seed, VIEWS, place as u64]) },
                None => View::Whole,
            };
            self.loader.request(rows, (place..order.taken()).map(view).collect());
            self.asked = order.taken();
        }
    }

    /// The pixels of the next micro-batch; waits until it is ready.
    ///
    /// # Errors
    /// Those of its pictures.
    pub(super) fn take(&mut self) -> Result<Vec<f32>, Error> {
        self.loader.take()
    }
}
