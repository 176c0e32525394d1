//! How much memory a decomposition takes besides its result: upper bounds, which a test holds against an allocator that
//! counts (`tests/scratch.rs`: never exceeded; for large shapes the usual bound is at most twice what is taken).
//!
//! Two bounds each, since the memory depends on the input: few matrices have columns that one pass cannot resolve. Not
//! counted are the buffers that the operands of a product are packed into: of our own tiles 5 MB of the calling thread and
//! 220 KB of each, kept (`product`), of a thin result up to 5 MB of the calling thread, kept (`thin`); of the `gemm` crate 1 MiB or the size of a core's L2 cache a thread, kept, and while a
//! product runs a panel of each operand, some 4 KiB per row or column of the result.

use crate::error::Error;
use crate::panels::{gram_scratch, inner_scratch, times_scratch};
use crate::params::QbParams;
use crate::sketch::TestMatrix;

/// Bytes that a decomposition allocates besides its result, at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scratch {
    /// For columns (of the input of an orthonormalisation, or of the sketch) whose condition number is below about 1e5 when
    /// they are scaled to unit norm.
    pub usual: usize,
    /// For any input: nearly dependent columns, each in f64, several times while they move into the basis.
    pub worst: usize,
}

/// What thread pool and small lists take.
const LISTS: usize = 16 << 10;

/// Scratch of [`crate::orthonormal_basis`] for n×k with `threads` threads (1 for [`crate::Par::Serial`]): of the order of
/// 8·(6·k² + threads·256·k) bytes whatever n is, and 24·n·k more at worst.
pub fn orthonormal_basis_scratch_bytes(n: usize, k: usize, threads: usize) -> Scratch {
    let rank = k.min(n);
    let (all, found) = (k * k, rank * rank);
    let gram = gram_scratch(n, k, threads);
    let panels = gram.max(times_scratch(n, rank, rank, threads));
    let lists = LISTS + n / 4;
    // Gram matrix and inverse; or a first inverse, the second Gram matrix and its inverse.
    let small = (all + found).max(3 * found) + 24 * k + 256;
    let usual = 8 * (panels + small) + lists;
    // Basis and pending columns, and the wider basis beside the narrower; their inner product.
    let moving = 3 * n * k;
    let onto = inner_scratch(n, all / 4, k, threads) + all / 4;
    let worst = 8 * (panels.max(onto) + 5 * all + 32 * k + 256 + moving) + lists;
    Scratch { usual, worst }
}

/// Bytes that [`crate::qb()`] allocates for m×n with a fixed rank k and `threads` threads besides factors of that rank,
/// 4·k·(m+n) bytes. A rank found to be lower leaves the factors smaller, not the peak.
///
/// # Errors
/// [`Error::ZeroRank`].
pub fn qb_scratch_bytes(m: usize, n: usize, params: &QbParams, threads: usize) -> Result<Scratch, Error> {
    let (rank, width, _) = params.sizes(m, n)?;
    // In the orientation of a right basis.
    let (m, n) = if params.right(m, n) { (m, n) } else { (n, m) };
    let result = 4 * rank * (m + n);
    let orth = orthonormal_basis_scratch_bytes(n, width, threads);
    let draws = m + n + 8 * n * if params.test_matrix == TestMatrix::NormWeightedVectors { 13 } else { 4 } + LISTS;
    // The test matrix, whose memory B takes; the sketch and the basis, the basis and its transpose.
    let sketch = 4 * width * (m + 2 * n);
    let power = if params.power_passes > 0 { 4 * width * (2 * m + 3 * n) } else { 0 };
    let cut = if width > rank { cut_bytes(m, n, width, rank, threads) } else { 0 };
    let usual = (sketch + orth.usual).max(power).max(cut);
    // Sketches of a deficient rank are followed by others, whose B is put beside the first.
    let beside = 8 * width * (m + n);
    let worst = (sketch + 4 * width * width + orth.worst).max(power).max(beside).max(cut);
    Ok(Scratch { usual: draws + usual - result.min(usual), worst: draws + worst - result.min(worst) })
}

/// Bytes of the cut from l vectors to k: Gram matrix of B and eigenproblem, or the products with its vectors, and the
/// factors before and after.
fn cut_bytes(m: usize, n: usize, l: usize, k: usize, threads: usize) -> usize {
    let gram = 8 * (gram_scratch(m, l, threads) + l * l);
    let eigen = 8 * (3 * l * l + l * k + 12 * l) + crate::eigh::batch_bytes(l);
    let products = 8 * (l * k + times_scratch(m.max(n), l, k, threads)) + 4 * k * (m + n + m.max(n));
    4 * l * (m + n) + gram.max(eigen).max(products) + LISTS
}
