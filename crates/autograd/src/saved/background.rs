//! Compression on threads of its own, while forward goes on. The factors and codes are the same bits; what changes is when
//! they are made, and that the dense tensors of the jobs in flight live a little longer: one a worker, and as many waiting.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::{Builder, JoinHandle};

use loract_linalg::Rng;

use super::history::{Place, Remembered, WarmStart};
use super::{Compressed, Planned, SavedKind, Site};
use crate::tensor::{Memory, Tensor};

type Job = Box<dyn FnOnce() + Send>;

/// Threads that compress; they end when this is dropped.
#[derive(Debug)]
pub struct Workers {
    jobs: Option<SyncSender<Job>>,
    threads: Vec<JoinHandle<()>>,
}

impl Workers {
    /// Starts `count` of them, with a queue of as many jobs: who hands over one more waits.
    ///
    /// # Errors
    /// If the system cannot start a thread.
    pub fn start(count: usize) -> io::Result<Self> {
        let (jobs, queue) = sync_channel::<Job>(count);
        let queue = Arc::new(Mutex::new(queue));
        let threads = (0..count).map(|at| {
            let queue = Arc::clone(&queue);
            Builder::new().name(format!("compress-{at}")).spawn(move || {
                let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
                while let Ok(job) = next() {
                    job();
                }
            })
        });
        Ok(Self { threads: threads.collect::<io::Result<_>>()?, jobs: Some(jobs) })
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        drop(self.jobs.take());
        for thread in self.threads.drain(..) {
            // Jobs catch their panics.
            let _ = thread.join();
        }
    }
}

/// A tensor to be compressed, with all that it takes.
#[derive(Debug)]
pub(crate) struct Compression {
    pub(crate) tensor: Tensor,
    pub(crate) place: Place,
    pub(crate) planned: Planned,
    pub(crate) warm: WarmStart,
    pub(crate) remembered: Remembered,
    /// Names the samples and the rounding.
    pub(crate) stream: Rng,
    pub(crate) memory: Memory,
}

/// What a compression reports besides the [`Compressed`] itself.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) place: Place,
    pub(crate) remembered: Remembered,
    /// ‖X − X̃‖/‖X‖; of a tensor without numbers, none.
    pub(crate) relative_error: Result<Option<f32>, loract_linalg::Error>,
}

impl Compression {
    /// Compresses. Where that fails, what comes back has sizes only, and is not to be used.
    pub(crate) fn run(self) -> (Compressed, Done) {
        let Self { tensor, place, planned, warm, mut remembered, stream, memory } = self;
        let made = match memory.is_hollow() {
            true => None,
            false => Some(Compressed::new(&tensor, place.site, &planned, (&mut remembered, warm), stream, &memory)),
        };
        let (kept, relative_error) = match made {
            Some(Ok(kept)) => {
                let error = kept.relative_error();
                (Some(kept), Ok(Some(error)))
            }
            Some(Err(error)) => (None, Err(error)),
            None => (None, Ok(None)),
        };
        let (rows, cols) = (tensor.rows(), tensor.cols());
        let past = (&mut remembered, warm);
        let kept = kept.unwrap_or_else(|| Compressed::hollow(rows, cols, place.site, &planned, past, &memory));
        (kept, Done { place, remembered, relative_error })
    }
}

/// The jobs of one tape.
#[derive(Debug)]
pub(crate) struct Background<'m> {
    workers: &'m Workers,
    reports: (Sender<Report>, Receiver<Report>),
    open: usize,
}

/// A job's number, and what it reports or why it panicked.
type Report = (usize, std::thread::Result<Done>);

impl<'m> Background<'m> {
    pub(crate) fn new(workers: &'m Workers) -> Self {
        Self { workers, reports: channel(), open: 0 }
    }

    /// Hands over a job; waits while the queue is full.
    pub(crate) fn hand_over(&mut self, job: Compression) -> Arc<OnceLock<Compressed>> {
        let slot = Arc::new(OnceLock::new());
        let (number, report, filled) = (self.open, self.reports.0.clone(), Arc::clone(&slot));
        self.open += 1;
        let job: Job = Box::new(move || {
            let done = catch_unwind(AssertUnwindSafe(|| job.run())).map(|(compressed, done)| {
                let _ = filled.set(compressed);
                done
            });
            // Before the report: who has it may count what is kept.
            drop(filled);
            // Nobody listens where the tape was given up.
            let _ = report.send((number, done));
        });
        match &self.workers.jobs {
            Some(jobs) => {
                if let Err(unsent) = jobs.send(job) {
                    unsent.0();
                }
            }
            None => job(),
        }
        slot
    }

    /// Waits for all jobs; what they report, in the order they were handed over.
    pub(crate) fn settle(&mut self) -> Vec<Done> {
        let mut reports: Vec<Report> = self.reports.1.iter().take(std::mem::take(&mut self.open)).collect();
        reports.sort_by_key(|(number, _)| *number);
        reports.into_iter().map(|(_, done)| done.unwrap_or_else(|panic| resume_unwind(panic))).collect()
    }
}

/// A compressed tensor that may still be in the making; its facts are known before.
#[derive(Debug)]
pub(crate) struct Deferred {
    pub(crate) site: Site,
    pub(crate) shape: (usize, usize),
    pub(crate) kind: SavedKind,
    /// [`super::Planned::fineness`] of what it is made for.
    pub(crate) fineness: f64,
    pub(crate) slot: Arc<OnceLock<Compressed>>,
}

impl Deferred {
    /// Waits if it is not made yet.
    pub(crate) fn get(&self) -> &Compressed {
        self.slot.wait()
    }
}
