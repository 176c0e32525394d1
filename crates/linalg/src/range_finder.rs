//! Range finder: grows an orthonormal basis Q (n×l) of the row space of A (m×n), and the product B = A·Q (m×l), until a
//! rank or an accuracy is reached.
//!
//! A fixed rank is one block: sketch, `power_passes` times Y ← Aᵀ·(A·orth(Y)), orthonormalise, project. A tolerance is
//! met block by block: each block's sketch is that of A − B·Qᵀ (sampled vectors are drawn from it, which keeps small
//! singular values above the rounding of the large ones; a Gaussian sketch has Q taken out afterwards), is made
//! orthonormal to Q, and the residual is updated. The residual is ‖A‖² − ‖B‖² as long as that can be trusted
//! ([`crate::Residual`]); below, it is measured tile by tile, which costs a product of 2mnl.
//! Cost: (2 + 2·power_passes) products of 2mnl for l vectors in the end, and l/b orthonormalisations of n×b for blocks
//! of b. Source: Halko, Martinsson, Tropp 2011, algorithms 4.2 and 4.4; blocks and the residual without a pass over A
//! after Yu, Gu, Li, "randQB_EI", SIAM J. Matrix Anal. Appl. 39 (2018). Deviations: (1) blocks grow by half; (2) sampled
//! vectors from the residual matrix; (3) the measured residual in place of a limit on the tolerance; (4) the test matrix
//! is scaled where ‖A‖ is huge or tiny, so that nothing leaves the range of f32.

use crate::error::Error;
use crate::gemm::{Accum, Par, matmul};
use crate::mat::MatRef;
use crate::norms::squared_norm;
use crate::orth::{basis, extend};
use crate::owned::Mat;
use crate::residual::{CANCELLATION, Residual, squared_distance};
use crate::scale::{Scale, apply_scale};
use crate::sketch::{Draws, Omega, TestMatrix};

/// What is to be found, in the orientation of a right basis.
pub(crate) struct Plan<'a> {
    /// m×n; the transpose of the caller's matrix for a left basis.
    pub(crate) a: MatRef<'a>,
    /// B is laid out as l×m, for a left basis.
    pub(crate) transposed: bool,
    /// Vectors at most.
    pub(crate) most: usize,
    /// Relative residual at which to stop; none for a fixed rank.
    pub(crate) tolerance: Option<f64>,
    pub(crate) test: TestMatrix,
    pub(crate) power_passes: usize,
    pub(crate) seed: u64,
    pub(crate) par: Par,
}

/// A ≈ B·Qᵀ.
pub(crate) struct Range {
    /// n×l, orthonormal columns.
    pub(crate) q: Mat,
    /// m×l, or l×m if `transposed`.
    b: Mat,
    transposed: bool,
    /// ‖A‖².
    pub(crate) energy: f64,
    /// ‖B‖².
    kept: f64,
    /// ‖A − B·Qᵀ‖² / ‖A‖², where it was measured.
    measured: Option<f64>,
    /// Products with A.
    pub(crate) products: usize,
    scale: Scale,
}

impl Range {
    /// B, m×l.
    pub(crate) fn b(&self) -> MatRef<'_> {
        if self.transposed { self.b.view().t() } else { self.b.view() }
    }

    /// Whether the residual was measured rather than derived.
    pub(crate) fn is_measured(&self) -> bool {
        self.measured.is_some()
    }

    /// Q and B as it is laid out.
    pub(crate) fn into_parts(self) -> (Mat, Mat) {
        (self.q, self.b)
    }

    /// ‖A − B·Qᵀ‖ / ‖A‖, plus what is dropped of ‖B‖² afterwards.
    pub(crate) fn residual(&self, dropped: f64) -> Residual {
        if self.energy == 0.0 {
            return Residual::exactly(0.0);
        }
        match self.measured {
            Some(square) => Residual::exactly(square + dropped / self.energy),
            None => Residual::from_cancelled((self.energy - self.kept + dropped) / self.energy),
        }
    }
}

/// Finds it; starts from the basis `warm` if there is one.
pub(crate) fn find(plan: &Plan<'_>, warm: Option<Start<'_>>) -> Result<Range, Error> {
    let a = plan.a;
    let nothing = plan.tolerance.is_some_and(|tolerance| tolerance >= 1.0);
    let first = if warm.is_some() || nothing { 0 } else { plan.block(0) };
    let (mut draws, omega, energy) = Draws::start(a, plan.test, first, plan.seed, plan.par)?;
    let b = if plan.transposed { Mat::zeros(0, a.rows()) } else { Mat::zeros(a.rows(), 0) };
    let scale = Scale::new(energy.sqrt());
    let q = Mat::zeros(a.cols(), 0);
    let mut range = Range { q, b, transposed: plan.transposed, energy, kept: 0.0, measured: None, products: 0, scale };
    match warm {
        _ if nothing => return Ok(range),
        Some(start) => plan.start_from(&mut range, &start),
        None => plan.add_sketch(&mut range, omega),
    }
    while !plan.met(&mut range) && range.q.cols() < plan.most {
        let (mut omega, chosen) = draws.next(a, plan.block(range.q.cols()), plan.par);
        if omega.view().cols() == 0 {
            break;
        }
        if !chosen.is_empty() && range.q.cols() > 0 {
            // From the columns of A to those of A − B·Qᵀ.
            let rows = Mat::from_fn(chosen.len(), range.q.cols(), |i, j| range.q[(chosen[i], j)]);
            matmul(omega.view_mut(), Accum::Add, range.b(), rows.view().t(), -1.0, plan.par);
        }
        let before = range.q.cols();
        plan.add_sketch(&mut range, omega);
        if range.q.cols() == before && plan.test == TestMatrix::Gaussian {
            break;
        }
    }
    Ok(range)
}

/// A basis to start from (n×k) and what is done with it.
pub(crate) struct Start<'a> {
    pub(crate) basis: MatRef<'a>,
    /// One power pass from the basis, before it is used.
    pub(crate) refresh: bool,
}

impl Plan<'_> {
    /// Vectors of the next block, with `have` found.
    fn block(&self, have: usize) -> usize {
        let rest = self.most - have;
        match self.tolerance {
            None => rest,
            Some(_) => (self.most / 16).clamp(8, 64).max(have / 2).min(rest),
        }
    }

    fn met(&self, range: &mut Range) -> bool {
        let Some(tolerance) = self.tolerance else { return false };
        if range.energy == 0.0 {
            return true;
        }
        // What cancellation may hide is held against us.
        let target = tolerance.max(0.0).powi(2);
        let estimate = (range.energy - range.kept) / range.energy;
        if target > 4.0 * CANCELLATION {
            return estimate + CANCELLATION <= target;
        }
        if estimate > 4.0 * CANCELLATION || target == 0.0 {
            return false;
        }
        range.products += 1;
        let square = squared_distance(self.a, range.b(), range.q.view().t(), self.par) / range.energy;
        range.measured = Some(square);
        square <= target
    }

    /// Sketch → basis → projection.
    fn add_sketch(&self, range: &mut Range, mut omega: Omega) {
        let unit = self.test == TestMatrix::Gaussian;
        apply_scale(omega.data_mut(), if unit { range.scale.unit } else { range.scale.like_a });
        let mut y = self.back(range, omega.view());
        // The test matrix is as large as its share of B: fresh memory would cost as much as a pass over it.
        let room = omega.into_data();
        for _ in 0..self.power_passes {
            let joined = self.joined(range, y.view());
            y = self.power_pass(range, joined.view().col_range(range.q.cols()..joined.cols()));
        }
        let joined = self.joined(range, y.view());
        drop(y);
        self.accept(range, joined, room);
    }

    fn start_from(&self, range: &mut Range, start: &Start<'_>) {
        let mut q = basis(start.basis, self.par).q;
        if start.refresh {
            q = basis(self.power_pass(range, q.view()).view(), self.par).q;
        }
        self.accept(range, q, Vec::new());
    }

    /// Q with the columns of `y` made orthonormal to it beside it.
    fn joined(&self, range: &Range, y: MatRef<'_>) -> Mat {
        if range.q.cols() == 0 { basis(y, self.par).q } else { extend(&range.q, y, self.par) }
    }

    /// Aᵀ·z, n×l.
    fn back(&self, range: &mut Range, z: MatRef<'_>) -> Mat {
        let mut y = Mat::zeros(self.a.cols(), z.cols());
        matmul(y.view_mut(), Accum::Replace, self.a.t(), z, 1.0, self.par);
        range.products += 1;
        y
    }

    /// Aᵀ·(A·q), n×l.
    fn power_pass(&self, range: &mut Range, q: MatRef<'_>) -> Mat {
        let mut z = Mat::zeros(self.a.rows(), q.cols());
        matmul(z.view_mut(), Accum::Replace, self.a, q, 1.0, self.par);
        apply_scale(z.data_mut(), range.scale.like_a);
        range.products += 1;
        self.back(range, z.view())
    }

    /// Takes `joined`, whose first columns are Q, as the new Q; `room` is memory for its part of B.
    fn accept(&self, range: &mut Range, joined: Mat, mut room: Vec<f32>) {
        let fresh = joined.view().col_range(range.q.cols()..joined.cols());
        if fresh.cols() == 0 {
            return;
        }
        range.products += 1;
        let (rows, count) = (self.a.rows(), fresh.cols());
        if room.len() > rows * count {
            room.truncate(rows * count);
            room.shrink_to_fit();
        }
        room.resize(rows * count, 0.0);
        let mut b = if self.transposed { Mat::from_vec(room, count, rows) } else { Mat::from_vec(room, rows, count) };
        let dst = if self.transposed { b.view_mut().t() } else { b.view_mut() };
        matmul(dst, Accum::Replace, self.a, fresh, 1.0, self.par);
        range.measured = None;
        range.kept += squared_norm(b.view(), self.par).unwrap_or(f64::INFINITY);
        if range.q.cols() == 0 {
            range.b = b;
        } else if self.transposed {
            range.b.append_rows(b);
        } else {
            range.b = Mat::beside(&range.b, &b);
        }
        range.q = joined;
    }
}
