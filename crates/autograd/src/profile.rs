//! Where the time of a step goes: wall time by part, on the thread that runs the tape, and the matrix products it took.
//!
//! Parts are exclusive: while an inner part runs, the clock of the outer one stands. What other threads do counts for as
//! long as this thread waits for them. Nothing is kept, and a span costs a look at a flag, unless [`Profile::of`] is
//! running on the thread.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use loract_linalg::{Branch, Stored};

use crate::param::Weight;
use crate::saved::Site;

/// What a stretch of time was spent on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// Everything outside the other parts.
    Other,
    /// Products with weights and LoRA pairs, widening of stored weights included.
    Products,
    /// An op's own work, by its name.
    Op(&'static str),
    /// Making the kept form of a tensor: decomposition and coding.
    Compress(Site),
    /// Products with the kept form of a tensor, and dense tensors made of it. Rows that a kernel reads from it in passing
    /// count for the kernel's op.
    Read(Site),
}

/// The shape of a product: (m×k)·(k×n).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Product {
    /// Rows of the result.
    pub m: usize,
    /// Columns of the result.
    pub n: usize,
    /// Summed over.
    pub k: usize,
    /// Whether the left factor is stored as k×m.
    pub left_transposed: bool,
    /// Whether the right factor is stored as n×k.
    pub right_transposed: bool,
    /// The rank of what runs beside the right factor, if that is a weight: 0 for nothing.
    pub weight: Option<usize>,
    /// Significant bits of the right factor's numbers.
    pub bits: usize,
}

impl Product {
    /// Of no size yet, with a weight that is stored as n×k or as k×n.
    pub(crate) fn of_weight(w: &Weight, branch: &Option<Branch<'_>>, right_transposed: bool) -> Self {
        let weight = Some(branch.as_ref().map_or(0, |branch| branch.up.rows()));
        Self { m: 0, n: 0, k: 0, left_transposed: false, right_transposed, weight, bits: w.bits() }
    }
}

/// Time by part, and products by shape.
#[derive(Debug, Clone, Default)]
pub struct Profile {
    /// Exclusive wall time.
    pub time: BTreeMap<Part, Duration>,
    /// How often each product ran.
    pub products: BTreeMap<Product, usize>,
}

struct Running {
    profile: Profile,
    open: Vec<Part>,
    since: Instant,
}

thread_local! {
    static RUNNING: RefCell<Option<Running>> = const { RefCell::new(None) };
}

impl Running {
    /// Ends the stretch of the innermost part.
    fn close(&mut self) {
        let now = Instant::now();
        let part = self.open.last().copied().unwrap_or(Part::Other);
        *self.profile.time.entry(part).or_default() += now - self.since;
        self.since = now;
    }
}

impl Profile {
    /// Runs `work` on this thread, and tells where its time went. Not to be nested: the inner profile ends the outer.
    pub fn of<T>(work: impl FnOnce() -> T) -> (T, Self) {
        let running = Running { profile: Self::default(), open: Vec::new(), since: Instant::now() };
        RUNNING.set(Some(running));
        let out = work();
        let running = RUNNING.take().map(|mut running| {
            running.close();
            running.profile
        });
        (out, running.unwrap_or_default())
    }
}

/// A stretch of time that counts for a part until it is dropped.
#[derive(Debug)]
#[must_use]
pub(crate) struct Span {
    counts: bool,
}

/// From here on time counts for `part`.
pub(crate) fn span(part: Part) -> Span {
    let counts = RUNNING.with_borrow_mut(|running| {
        let Some(running) = running else { return false };
        running.close();
        running.open.push(part);
        true
    });
    Span { counts }
}

/// The same for a product.
pub(crate) fn product(shape: Product) -> Span {
    let span = span(Part::Products);
    if span.counts {
        RUNNING.with_borrow_mut(|running| {
            if let Some(running) = running {
                *running.profile.products.entry(shape).or_default() += 1;
            }
        });
    }
    span
}

impl Drop for Span {
    fn drop(&mut self) {
        if self.counts {
            RUNNING.with_borrow_mut(|running| {
                if let Some(running) = running {
                    running.close();
                    running.open.pop();
                }
            });
        }
    }
}
