//! One key gives the same bits, however many threads compute.

use loract_autograd::{Form, Memory, Policy, Recompute};

use crate::decoder::{Decoder, Options, Run};
use crate::harness::{Result, everywhere};
use crate::kept::forms;

/// A step in a pool of its own.
fn run(threads: usize, recompute: Recompute, form: Form) -> Result<Run> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
    pool.install(|| {
        let memory = Memory::new();
        // Several tiles of 256 rows, and of what a task works on; with dropout, nothing would run from factors.
        let dropout = if recompute == Recompute::None { 0.1 } else { 0.0 };
        let decoder = Decoder::new(&memory, Options { tokens: 1300, layers: 1, dropout, ..Options::default() })?;
        decoder.run(&memory, Policy { recompute, ..everywhere(form) })
    })
}

#[test]
fn the_bits_do_not_depend_on_the_thread_count() -> Result {
    for (words, form) in forms(9) {
        let recompute = [Recompute::None, Recompute::Factored, Recompute::Layer];
        for recompute in recompute.into_iter().take(if words == "rqb:9" || words == "q4" { 3 } else { 1 }) {
            let (one, three) = (run(1, recompute, form)?, run(3, recompute, form)?);
            assert_eq!(one.nll, three.nll, "{words} {recompute:?}");
            assert_eq!(one.errors, three.errors, "{words} {recompute:?}");
            for (at, (one, three)) in one.gradients.iter().zip(&three.gradients).enumerate() {
                assert!(one == three, "{words} {recompute:?}: gradient {at}");
            }
            assert_eq!(one.live, three.live, "{words} {recompute:?}");
            assert_eq!(one.peak, three.peak, "{words} {recompute:?}");
        }
    }
    Ok(())
}
