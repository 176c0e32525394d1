//! A run whose largest step would not fit into its memory is refused before anything is written.

use super::task::Task;
use crate::config::RunConfig;
use crate::data::Filling;
use crate::error::Error;
use crate::plan::{Plan, Planner};

/// Compares the process that `plan` needs, `baseline` bytes and what is planned, with the limit; looks for a batch that
/// fits.
///
/// # Errors
/// [`Error::Setting`] with both sizes and what would fit.
pub(super) fn check<T: Task>(
    config: &RunConfig,
    planner: &mut Planner<T::Model>,
    plan: &Plan,
    task: &T,
    baseline: usize,
) -> Result<(), Error> {
    let Some(limit) = config.memory_limit else { return Ok(()) };
    let beside = |rows| baseline + task.beside_tensors(config, rows);
    let needed = plan.process_bytes(beside(config.batch_size), config.threads);
    if needed <= limit {
        return Ok(());
    }
    let mut fitting = None;
    let mut batch = config.batch_size;
    while fitting.is_none() && batch > 1 {
        batch /= 2;
        let filling = match config.filling() {
            Filling::Rows(_) => Filling::Rows(batch),
            Filling::Tokens(most) => Filling::Tokens(most / config.batch_size * batch),
        };
        let plan = planner.plan(&config.policy(), &[task.largest(filling)])?;
        fitting = (plan.process_bytes(beside(batch), config.threads) <= limit).then_some(batch);
    }
    let way = match fitting {
        Some(batch) => format!(
            "--batch-size {batch} fits (with --grad-accum {} for steps of as many rows)",
            (config.batch_size * config.grad_accum).div_ceil(batch)
        ),
        None => {
            format!("{} does not fit either: {}, or --activations loract-layer", T::WORDS.one, T::WORDS.smaller)
        }
    };
    let what = format!(
        "a step over {} takes about {} MB of process memory, the limit is {} MB; {way}; `loract plan \
         --memory-limit` shows every preset",
        T::WORDS.largest,
        needed.div_ceil(1_000_000),
        limit / 1_000_000
    );
    Err(Error::Setting { key: "memory-limit", what })
}
