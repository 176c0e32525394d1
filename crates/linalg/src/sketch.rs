//! Sketches Y of the row space of A, from which a basis is made; and the test matrices they are made with.
//!
//! For a right basis (of the rows of A, m×n), the test matrix has m rows and Y = Aᵀ·(test matrix) is n×l; a left basis
//! is that of the transpose. Either way one product of 2mnl.
//!
//! - *Sampled vectors*: l of A's own columns, drawn uniformly without replacement (LoRAct, arXiv 2509.23472, section
//!   3.2). Taking the test matrix from A acts like half a power pass for free: Y = Aᵀ·A·S for a selection S, so its
//!   spectrum is σ². Uniform draws can miss what few columns hold (*coherent* matrices).
//! - *Norm-weighted vectors*: the same, columns drawn with probability proportional to ‖A_j‖². Length-squared sampling
//!   (Frieze, Kannan, Vempala, J. ACM 51 (2004); Drineas, Kannan, Mahoney, SIAM J. Comput. 36 (2006)): the span of
//!   l such columns holds a rank-k approximation with E‖A − PA‖² ≤ ‖A − A_k‖² + (k/l)·‖A‖², for *any* A; with uniform draws
//!   the last term grows by max‖A_j‖²·n/‖A‖². So it helps where column norms are uneven (outlier channels) and is the
//!   same where they are even; it costs one more pass over A, for the norms. Draws without replacement after Efraimidis
//!   and Spirakis (Inf. Process. Lett. 97 (2006)): the l largest of ln(u_j)/‖A_j‖². Deviations: (1) without replacement;
//!   (2) the columns are not rescaled: only their span matters.
//! - *Gaussian*: independent standard normal numbers (Halko, Martinsson, Tropp, SIAM Rev. 53 (2011), algorithm 4.1). The
//!   error does not depend on coherence, and without power passes was no smaller than that of sampled vectors on any
//!   matrix measured (docs/decompositions.md).

use crate::error::Error;
use crate::gemm::Par;
use crate::mat::{MatMut, MatRef};
use crate::norms::{CHUNK, finite_or_named, row_square, squared_column_norms, squared_norm};
use crate::owned::Mat;
use crate::pool::for_each;
use crate::rng::Rng;

/// Where the test matrix comes from. See the module's contract for when each wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TestMatrix {
    /// Columns (rows for a left basis) of A, drawn uniformly without replacement.
    #[default]
    SampledVectors,
    /// Columns (rows for a left basis) of A, drawn without replacement with probability proportional to their squared
    /// norm: for uneven norms, at one more pass over A.
    NormWeightedVectors,
    /// Independent standard normal numbers.
    Gaussian,
}

/// Where the vectors of a test matrix are drawn from, one draw after another, none twice.
pub(crate) struct Draws {
    /// Vectors not drawn yet, in the order in which they will be; none for a Gaussian matrix.
    left: Vec<usize>,
    rng: Rng,
    test: TestMatrix,
    drawn: usize,
}

/// A test matrix in the orientation it was gathered in.
pub(crate) struct Omega {
    data: Mat,
    transposed: bool,
}

impl Omega {
    /// m×l.
    pub(crate) fn view(&self) -> MatRef<'_> {
        if self.transposed { self.data.view().t() } else { self.data.view() }
    }
    /// m×l, to write.
    pub(crate) fn view_mut(&mut self) -> MatMut<'_> {
        if self.transposed { self.data.view_mut().t() } else { self.data.view_mut() }
    }
    /// All elements.
    pub(crate) fn data_mut(&mut self) -> &mut [f32] {
        self.data.data_mut()
    }
    /// Their memory.
    pub(crate) fn into_data(self) -> Vec<f32> {
        self.data.into_data()
    }
}

impl Draws {
    /// Prepares draws for a right basis of `a`, of which the first will be `first` vectors; its test matrix and ‖A‖².
    /// Uniform draws gather in the pass that sums the norm.
    pub(crate) fn start(
        a: MatRef<'_>,
        test: TestMatrix,
        first: usize,
        seed: u64,
        par: Par,
    ) -> Result<(Self, Omega, f64), Error> {
        let mut rng = Rng::new(&[seed]);
        match test {
            TestMatrix::SampledVectors => {
                let chosen = rng.sample(a.cols(), first);
                let (omega, norm) = gather_and_sum(a, &chosen, par);
                let norm = finite_or_named(a, norm)?;
                let mut taken = vec![false; a.cols()];
                chosen.iter().for_each(|&j| taken[j] = true);
                let left = (0..a.cols()).filter(|&j| !taken[j]).collect();
                Ok((Self { left, rng, test, drawn: first }, omega, norm))
            }
            TestMatrix::NormWeightedVectors => {
                let norms = squared_column_norms(a, par)?;
                let mut draws = Self { left: rng.weighted_order(&norms), rng, test, drawn: 0 };
                let chosen = draws.choose(first);
                Ok((draws, gather(a, &chosen, par), norms.iter().sum()))
            }
            TestMatrix::Gaussian => {
                let norm = squared_norm(a, par)?;
                let omega = gaussian(rng, 0, a.rows(), first, par);
                Ok((Self { left: Vec::new(), rng, test, drawn: first }, omega, norm))
            }
        }
    }

    /// The next test matrix, of `count` vectors or as many as are left.
    pub(crate) fn next(&mut self, a: MatRef<'_>, count: usize, par: Par) -> (Omega, Vec<usize>) {
        match self.test {
            TestMatrix::Gaussian => {
                let omega = gaussian(self.rng, self.drawn, a.rows(), count, par);
                self.drawn += count;
                (omega, Vec::new())
            }
            _ => {
                let chosen = self.choose(count);
                (gather(a, &chosen, par), chosen)
            }
        }
    }

    fn choose(&mut self, count: usize) -> Vec<usize> {
        let count = count.min(self.left.len());
        let mut chosen: Vec<usize> = match self.test {
            TestMatrix::SampledVectors => {
                let places = self.rng.sample(self.left.len(), count);
                let chosen = places.iter().map(|&p| self.left[p]).collect();
                for &p in places.iter().rev() {
                    self.left.remove(p);
                }
                chosen
            }
            _ => self.left.drain(..count).collect(),
        };
        chosen.sort_unstable();
        chosen
    }
}

/// m×count normal numbers; column j of the whole stream is the same whatever the blocks it is drawn in.
fn gaussian(rng: Rng, drawn: usize, rows: usize, count: usize, par: Par) -> Omega {
    let mut data = Mat::zeros(rows, count);
    for_each(par, data.data_mut().chunks_mut((CHUNK * count).max(1)).collect(), |c, chunk| {
        for (i, row) in chunk.chunks_exact_mut(count.max(1)).enumerate() {
            let place = ((c * CHUNK + i) as u64) << 32;
            let mut pair = [0.0; 2];
            for (j, x) in row.iter_mut().enumerate() {
                let column = drawn + j;
                if j == 0 || column.is_multiple_of(2) {
                    pair = rng.normal_pair_at(place | (column / 2) as u64);
                }
                *x = pair[column % 2];
            }
        }
    });
    Omega { data, transposed: false }
}

/// Columns `chosen` of `a`.
fn gather(a: MatRef<'_>, chosen: &[usize], par: Par) -> Omega {
    let transposed = a.row_stride() == 1 && a.col_stride() != 1;
    if transposed {
        let mut data = Mat::zeros(chosen.len(), a.rows());
        for_each(par, data.data_mut().chunks_mut(a.rows().max(1)).collect(), |p, out| copy_row(a.t(), chosen[p], out));
        return Omega { data, transposed };
    }
    let mut data = Mat::zeros(a.rows(), chosen.len());
    for_each(par, data.data_mut().chunks_mut((CHUNK * chosen.len()).max(1)).collect(), |c, chunk| {
        for (i, out) in chunk.chunks_exact_mut(chosen.len().max(1)).enumerate() {
            pick(a, c * CHUNK + i, chosen, out);
        }
    });
    Omega { data, transposed }
}

/// Columns `chosen` of `a`, and ‖A‖² in the same pass where the layout allows it.
fn gather_and_sum(a: MatRef<'_>, chosen: &[usize], par: Par) -> (Omega, f64) {
    let transposed = a.row_stride() == 1 && a.col_stride() != 1;
    let along = if transposed { a.t() } else { a };
    let mut sums = vec![0.0; along.rows().div_ceil(CHUNK)];
    if transposed || chosen.is_empty() {
        for_each(par, sums.iter_mut().collect(), |c, sum| {
            *sum = (c * CHUNK..((c + 1) * CHUNK).min(along.rows())).map(|i| row_square(along, i)).sum();
        });
        return (gather(a, chosen, par), sums.iter().sum());
    }
    let mut data = Mat::zeros(a.rows(), chosen.len());
    let tasks = data.data_mut().chunks_mut(CHUNK * chosen.len()).zip(&mut sums).collect();
    for_each(par, tasks, |c, (chunk, sum)| {
        for (i, out) in chunk.chunks_exact_mut(chosen.len()).enumerate() {
            *sum += row_square(a, c * CHUNK + i);
            pick(a, c * CHUNK + i, chosen, out);
        }
    });
    (Omega { data, transposed }, sums.iter().sum())
}

fn copy_row(a: MatRef<'_>, i: usize, out: &mut [f32]) {
    match a.row(i) {
        Some(row) => out.copy_from_slice(row),
        None => out.iter_mut().enumerate().for_each(|(j, x)| *x = a.get(i, j)),
    }
}

/// `out = a[i, chosen]`.
fn pick(a: MatRef<'_>, i: usize, chosen: &[usize], out: &mut [f32]) {
    match a.row(i) {
        Some(row) => out.iter_mut().zip(chosen).for_each(|(x, &j)| *x = row[j]),
        None => out.iter_mut().zip(chosen).for_each(|(x, &j)| *x = a.get(i, j)),
    }
}
