//! What `*_scratch_bytes` promise, held against an allocator that counts: never exceeded, and at most twice what was taken
//! for large shapes. Memory that products pack operands into (ours and the `gemm` crate's; kept by each thread, so that how much is new
//! depends on which thread takes which task) is told apart by its alignment and counted by itself.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use loract_linalg::{
    Error, Mat, Par, QbParams, Rng, Scratch, Side, TestMatrix, orthonormal_basis, orthonormal_basis_scratch_bytes, qb,
    qb_scratch_bytes,
};
use rayon::ThreadPool;

/// Bytes in use and the most there were: of everything else, and of what products pack into.
static USED: [AtomicUsize; 2] = [AtomicUsize::new(0), AtomicUsize::new(0)];
static PEAK: [AtomicUsize; 2] = [AtomicUsize::new(0), AtomicUsize::new(0)];

struct Counting;

/// What products pack into begins at a cache line; nothing else does.
fn whose(layout: Layout) -> usize {
    usize::from(layout.align() >= 64)
}

// SAFETY: every call goes to the system's allocator as it is; counting touches only atomics.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let used = USED[whose(layout)].fetch_add(layout.size(), SeqCst) + layout.size();
        PEAK[whose(layout)].fetch_max(used, SeqCst);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        USED[whose(layout)].fetch_sub(layout.size(), SeqCst);
        // SAFETY: the caller's promise is passed on; `at` came from the same allocator.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Most bytes that `f` had in use at a time, the result among them: of everything else, and of what products pack into.
fn peak<R>(f: impl Fn() -> R) -> (R, [usize; 2]) {
    // Threads and what they keep.
    drop(f());
    let before = [0, 1].map(|who| USED[who].load(SeqCst));
    (0..2).for_each(|who| PEAK[who].store(before[who], SeqCst));
    let result = f();
    (result, [0, 1].map(|who| PEAK[who].load(SeqCst) - before[who]))
}

/// A pool for each number of threads. Kept for the whole test: the threads of a dropped pool end some time later, and what
/// they free then would be taken off what is being counted.
fn pools(threads: &[usize]) -> Vec<ThreadPool> {
    let built = threads.iter().map(|&threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build());
    built.collect::<Result<_, _>>().unwrap_or_else(|error| panic!("{error}"))
}

/// `f` on each of the pools, and on the calling thread.
fn on_all(pools: &[ThreadPool], mut f: impl FnMut(usize, Par) + Send) {
    for pool in pools {
        pool.install(|| f(pool.current_num_threads(), Par::Rayon));
    }
    f(1, Par::Serial);
}

fn normal(rows: usize, cols: usize) -> Mat {
    let rng = Rng::new(&[rows as u64, cols as u64]);
    Mat::from_fn(rows, cols, |i, j| rng.normal_pair_at((i * cols + j) as u64)[0])
}

/// Columns that are copies of one but for a millionth: all but one wait for a second round.
fn near_copies(rows: usize, cols: usize) -> Mat {
    let noise = normal(rows, cols);
    Mat::from_fn(rows, cols, |i, j| noise[(i, 0)] + 2e-6 * noise[(i, j)])
}

/// Columns that grow dependent one by one.
fn decaying(rows: usize, cols: usize) -> Mat {
    let noise = normal(rows, cols);
    Mat::from_fn(rows, cols, |i, j| noise[(i, 0)] + 10f32.powf(-9.0 * j as f32 / cols as f32) * noise[(i, j)])
}

/// What was counted against what was promised.
#[derive(Default)]
struct Table {
    lines: Vec<String>,
    packed: usize,
}

impl Table {
    fn check(&mut self, what: &str, taken: usize, promised: usize, tight: bool) {
        assert!(taken <= promised, "{what}: took {taken} bytes, promised {promised}");
        assert!(!tight || promised <= 2 * taken, "{what}: took {taken} bytes, promised {promised}, twice as much");
        self.lines.push(format!("{what:<110}{taken:>12}{promised:>12}{:>7.2}", promised as f64 / taken as f64));
    }
}

/// One test: others beside it would be counted too.
#[test]
fn scratch_is_bounded_and_the_bounds_are_near() -> Result<(), Error> {
    let mut table = Table::default();
    let pools = pools(&[1, 2, 3]);
    bases(&mut table, &pools);
    for (m, n, k) in [(1200, 400, 64), (400, 1200, 64), (700, 700, 96), (90, 70, 12), (60, 200, 60), (1, 30, 1)] {
        decompositions(&mut table, &pools[1..2], m, n, k)?;
    }
    println!("{:<110}{:>12}{:>12}{:>7}", "bytes besides the result", "taken", "promised", "ratio");
    table.lines.iter().for_each(|line| println!("{line}"));
    println!("packed by products, at most: {}", table.packed);
    // 5 MB, and of each of three threads 220 KB or, by `gemm`, 1 MB.
    assert!(table.packed <= 9 << 20, "products packed {} bytes", table.packed);
    Ok(())
}

fn bases(table: &mut Table, pools: &[ThreadPool]) {
    for (n, k) in [(2048, 256), (1536, 192), (576, 72), (8192, 64), (300, 300), (100, 250), (64, 1), (5, 3)] {
        for (name, y) in [
            ("normal", normal(n, k)),
            ("near copies", near_copies(n, k)),
            ("decaying", decaying(n, k)),
            ("zero", Mat::zeros(n, k)),
        ] {
            on_all(pools, |threads, par| {
                let (q, [ours, packed]) = peak(|| orthonormal_basis(y.view(), par));
                let Scratch { usual, worst } = orthonormal_basis_scratch_bytes(n, k, threads);
                let (large, nice) = (n * k >= 1 << 14 && n >= k, name == "normal" && n >= k);
                let promised = if nice { usual } else { worst };
                let what = format!("basis of {name} {n}x{k}, {threads} threads, {par:?}");
                table.check(
                    &what,
                    ours.saturating_sub(q.size_bytes()),
                    promised,
                    large && (nice || name == "near copies"),
                );
                table.packed = table.packed.max(packed);
            });
        }
    }
}

fn decompositions(table: &mut Table, pools: &[ThreadPool], m: usize, n: usize, k: usize) -> Result<(), Error> {
    let low = Mat::from_fn(m, n, |i, j| ((i % 3) * (j % 5)) as f32 + 1.0);
    for (name, a) in [("normal", normal(m, n)), ("rank 2", low), ("decaying", decaying(m, n))] {
        for test_matrix in [TestMatrix::SampledVectors, TestMatrix::NormWeightedVectors, TestMatrix::Gaussian] {
            for (side, oversampling, power_passes) in [
                (Side::Cheaper, 0, 0),
                (Side::Left, 0, 0),
                (Side::Right, 0, 0),
                (Side::Cheaper, 8, 0),
                (Side::Cheaper, k, 0),
                (Side::Cheaper, 0, 1),
            ] {
                let mut failed = Ok(());
                on_all(pools, |threads, par| {
                    let params = QbParams { side, test_matrix, oversampling, power_passes, par, ..QbParams::new(k) };
                    let (found, [ours, packed]) = peak(|| qb(a.view(), &params));
                    let promised = qb_scratch_bytes(m, n, &params, threads);
                    let (promised, rank) = match (promised, found) {
                        (Ok(promised), Ok((factors, _))) => (promised, factors.rank()),
                        (Err(error), _) | (_, Err(error)) => {
                            failed = Err(error);
                            return;
                        }
                    };
                    let nice = name == "normal" && rank == k;
                    let what = format!(
                        "{m}x{n} {name}, {k}+{oversampling}, {power_passes} passes, {side:?}, {test_matrix:?}, {threads} {par:?}"
                    );
                    let bytes = if nice { promised.usual } else { promised.worst };
                    table.check(&what, ours.saturating_sub(4 * k * (m + n)).max(1), bytes, nice && m * n >= 1 << 18);
                    table.packed = table.packed.max(packed);
                });
                failed?;
            }
        }
    }
    Ok(())
}
