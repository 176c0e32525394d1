use pulp::Arch;

use super::*;
use crate::{Mat, Rng};

fn random(rows: usize, cols: usize, seed: u64) -> Mat {
    let mut rng = Rng::new(&[seed]);
    Mat::from_fn(rows, cols, |_, _| rng.normal())
}

fn naive(a: &Mat<f64>, b: &Mat<f64>) -> Mat<f64> {
    Mat::from_fn(a.rows(), b.cols(), |i, j| (0..a.cols()).map(|p| a[(i, p)] * b[(p, j)]).sum())
}

/// Numbers that are stored together, and refuse to be read otherwise; with so many significant bits.
struct Blocks(Mat, usize, usize);

impl Blocks {
    fn new(mut numbers: Mat, block: usize, bits: usize) -> Self {
        let to_bits = |x: f32| match bits {
            8 => half::bf16::from_f32(x).to_f32(),
            11 => half::f16::from_f32(x).to_f32(),
            _ => x,
        };
        numbers.data_mut().iter_mut().for_each(|x| *x = to_bits(*x));
        Self(numbers, block, bits)
    }
}

impl Stored for Blocks {
    fn rows(&self) -> usize {
        self.0.rows()
    }
    fn cols(&self) -> usize {
        self.0.cols()
    }
    fn block(&self) -> usize {
        self.1
    }
    fn bits(&self) -> usize {
        self.2
    }
    fn read(&self, row: usize, cols: Range<usize>, out: &mut [f32]) {
        let whole = |end: usize| end.is_multiple_of(self.1) || end == self.cols();
        assert!(cols.start.is_multiple_of(self.1) && whole(cols.end), "{cols:?} in blocks of {}", self.1);
        self.0.view().read(row, cols, out);
    }
}

fn rounded(a: MatRef<'_>, scale: f32, precision: Precision) -> Mat<f64> {
    Mat::from_fn(a.rows(), a.cols(), |i, j| match precision {
        Precision::F32 => f64::from(scale) * f64::from(a.get(i, j)),
        Precision::Bf16 => half::bf16::from_f32(scale * a.get(i, j)).to_f64(),
    })
}

/// Runs a product every way there is and compares with sums in f64.
fn check([m, k, n, r]: [usize; 4], case: usize, run: impl Fn(Product<'_>, &mut [f32], Accum)) {
    check_in(Precision::F32, [m, k, n, r], case, run);
}

/// The same of operands rounded before.
fn check_in(precision: Precision, [m, k, n, r]: [usize; 4], case: usize, run: impl Fn(Product<'_>, &mut [f32], Accum)) {
    let (transposed, left, accum) =
        (case & 1 != 0, case & 2 != 0, if case & 4 != 0 { Accum::Add } else { Accum::Replace });
    let [a, at] = [random(m, k, 1), random(k, m, 1)];
    let lhs = if left { at.view().t() } else { a.view() };
    let w = if transposed { random(n, k, 2) } else { random(k, n, 2) };
    let w = Blocks::new(w, [8, 1, 32, 256][(case % 4) ^ (case / 4)], [24, 8, 11][case % 3]);
    let dense = if transposed { w.0.view().t() } else { w.0.view() };
    let (down, up, bias) = (random(r, k, 3), random(r, n, 4), random(1, n, 5));
    let start = random(m, n, 6);
    let mut got = if accum == Accum::Add { start.clone() } else { Mat::from_fn(m, n, |_, _| f32::NAN) };
    let mut mid = Mat::from_fn(m, r, |_, _| f32::NAN);
    let branch = Branch { down: down.view().t(), down_scale: 0.5, up: up.view(), up_scale: 3.0, mid: mid.data_mut() };
    let rhs = if transposed { Rhs::Transposed(&w) } else { Rhs::Plain(&w) };
    let bias = bias.data();
    let product =
        Product { lhs, rhs, branch: (r > 0).then_some(branch), bias: (case & 8 != 0).then_some(bias), precision };
    run(product, got.data_mut(), accum);
    let want_mid = naive(&rounded(lhs, 1.0, precision), &rounded(down.view().t(), 0.5, precision));
    let (main, up) =
        (naive(&rounded(lhs, 1.0, precision), &rounded(dense, 1.0, precision)), rounded(up.view(), 3.0, precision));
    let side = naive(&rounded(mid.view(), 1.0, precision), &up);
    let tolerance = f64::from(f32::EPSILON) * 40.0 * (k as f64 + 4.0).sqrt() * (1.0 + r as f64).sqrt() * 4.0;
    for i in 0..m {
        for q in 0..r {
            let error = (f64::from(mid[(i, q)]) - want_mid[(i, q)]).abs();
            assert!(error <= tolerance, "{m}x{k}x{n} rank {r} case {case}: lhs·D off by {error} at {i},{q}");
        }
        for j in 0..n {
            let mut want = main[(i, j)] + side[(i, j)];
            want += if case & 4 != 0 { f64::from(start[(i, j)]) } else { 0.0 };
            want += if case & 8 != 0 { f64::from(bias[j]) } else { 0.0 };
            let error = (f64::from(got[(i, j)]) - want).abs();
            let tolerance = tolerance * (k as f64 + 1.0).sqrt();
            assert!(error <= tolerance, "{m}x{k}x{n} rank {r} case {case}: off by {error} at {i},{j}");
        }
    }
}

/// Tails of tiles, of panels, of blocks in depth and width; ranks below and above a panel.
const SHAPES: [[usize; 4]; 10] = [
    [1, 8, 8, 1],
    [2, 1, 3, 0],
    [7, 24, 40, 3],
    [13, 16, 33, 16],
    [150, 400, 96, 5],
    [31, 1000, 24, 40],
    [3, 392, 3600, 8],
    [20, 1024, 520, 7],
    [300, 8, 17, 0],
    [5, 776, 48, 64],
];

fn by_tiles(arch: Arch, arithmetic: Arithmetic, product: Product<'_>, dst: &mut [f32], accum: Accum) {
    let (m, n) = (product.lhs.rows(), product.rhs.shape().1);
    product.by_tiles(arch, arithmetic, Par::Rayon, Some(MatMut::row_major(dst, m, n)), accum, 1.0);
}

#[test]
fn tiles_equal_sums_in_f64() {
    let run =
        |product: Product<'_>, dst: &mut [f32], accum| by_tiles(Arch::new(), Arithmetic::F32, product, dst, accum);
    SHAPES.into_iter().for_each(|shape| (0..16).for_each(|case| check(shape, case, run)));
}

#[test]
fn tiles_of_numbers_split_into_bf16_equal_sums_in_f64() {
    let Some(split) = Bf16::exact() else { return };
    let run = |product: Product<'_>, dst: &mut [f32], accum| {
        by_tiles(Arch::new(), Arithmetic::Pairs(split), product, dst, accum);
    };
    let shapes = SHAPES.into_iter().chain([[300, 64, 700, 9], [9, 800, 4000, 5]]);
    shapes.for_each(|shape| (0..16).for_each(|case| check(shape, case, run)));
}

/// What an f32 is rounded by is 2⁻²⁴ of it; a missing product of parts would be some 2⁻¹⁷.
#[test]
fn parts_of_bf16_lose_nothing_of_f32() {
    let Some(split) = Bf16::exact() else { return };
    let (m, n) = (64, 64);
    for (k, r) in [(1, 0), (2, 1), (8, 3), (8, 16)] {
        for bits in [24, 8, 11] {
            let (x, w) = (random(m, k, 1), Blocks::new(random(n, k, 2), 1, bits));
            let (down, up) = (random(k, r, 3), random(r, n, 4));
            let (mut mid, mut y) = (vec![0.0; m * r], vec![0.0; m * n]);
            let branch = Branch { down: down.view(), down_scale: 0.5, up: up.view(), up_scale: 2.0, mid: &mut mid };
            let product = Product {
                lhs: x.view(),
                rhs: Rhs::Transposed(&w),
                branch: (r > 0).then_some(branch),
                bias: None,
                precision: Precision::F32,
            };
            by_tiles(Arch::new(), Arithmetic::Pairs(split), product, &mut y, Accum::Replace);
            let check = |got: f32, terms: &mut dyn Iterator<Item = f64>, what: &str| {
                let (sum, size) = terms.fold((0.0, 0.0), |(sum, size), x| (sum + x, size + x.abs()));
                let error = (f64::from(got) - sum).abs();
                assert!(error <= size * 2f64.powi(-21), "{what} of {k} and {r}, {bits} bits: {error} of {size}");
            };
            let times = |x: f32, y: f32| f64::from(x) * f64::from(y);
            for i in 0..m {
                for q in 0..r {
                    let mut terms = (0..k).map(|p| 0.5 * times(x[(i, p)], down[(p, q)]));
                    check(mid[i * r + q], &mut terms, "lhs·D");
                }
                for j in 0..n {
                    let own = (0..k).map(|p| times(x[(i, p)], w.0[(j, p)]));
                    let beside = (0..r).map(|q| 2.0 * times(mid[i * r + q], up[(q, j)]));
                    check(y[i * n + j], &mut own.chain(beside), "the product");
                }
            }
        }
    }
}

#[test]
fn tiles_of_plain_code_equal_sums_in_f64() {
    let run = |product: Product<'_>, dst: &mut [f32], accum| {
        by_tiles(Arch::Scalar, Arithmetic::F32, product, dst, accum);
    };
    SHAPES.into_iter().for_each(|shape| (0..16).for_each(|case| check(shape, case, run)));
}

#[test]
fn products_of_the_library_equal_sums_in_f64() {
    for shape in SHAPES {
        (0..16).for_each(|case| check(shape, case, |product, dst, accum| product.by_gemm(Some(dst), accum)));
    }
}

#[test]
fn operands_rounded_to_bf16_are_multiplied_exactly() {
    let run = |arch, arithmetic| {
        move |product: Product<'_>, dst: &mut [f32], accum| by_tiles(arch, arithmetic, product, dst, accum)
    };
    let check = |shape, arch, arithmetic| {
        (0..16).for_each(|case| check_in(Precision::Bf16, shape, case, run(arch, arithmetic)));
    };
    let small = || SHAPES.into_iter().filter(|[m, k, n, _]| m * k * n < 1_000_000);
    small().for_each(|shape| check(shape, Arch::new(), Arithmetic::Rounded));
    small().for_each(|shape| check(shape, Arch::Scalar, Arithmetic::Rounded));
    // By all instructions that there are, the fast ones or not. More than a group of panels, and columns that are cut.
    for pairs in Bf16::all() {
        let shapes = SHAPES.into_iter().chain([[300, 64, 700, 9], [9, 800, 4000, 5]]);
        shapes.for_each(|shape| check(shape, Arch::new(), Arithmetic::Pairs(pairs)));
    }
}

/// Precisions, and significant bits of W, that are multiplied differently.
const KINDS: [(Precision, usize); 4] =
    [(Precision::F32, 24), (Precision::F32, 8), (Precision::F32, 11), (Precision::Bf16, 24)];

#[test]
fn a_row_is_the_same_among_any_others_and_on_any_threads() {
    let (x, down, up) = (random(150, 700, 1), random(700, 9, 3), random(9, 90, 4));
    for (precision, bits) in KINDS {
        let w = Blocks::new(random(90, 700, 2), 1, bits);
        let run = |rows: Range<usize>| {
            let (mut y, mut mid) = (Mat::zeros(rows.len(), 90), Mat::zeros(rows.len(), 9));
            let branch =
                Branch { down: down.view(), down_scale: 1.0, up: up.view(), up_scale: 1.0, mid: mid.data_mut() };
            let (lhs, rhs) = (x.view().row_range(rows), Rhs::Transposed(&w));
            Product { lhs, rhs, branch: Some(branch), bias: None, precision }.into(y.data_mut(), Accum::Replace);
            (y, mid)
        };
        let (all, mids) = run(0..150);
        let (some, mid) = run(40..61);
        assert_eq!(some.data(), &all.data()[40 * 90..61 * 90], "{precision:?}, {bits} bits");
        assert_eq!(mid.data(), &mids.data()[40 * 9..61 * 9]);
        for threads in [1, 3, 40] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
            let (y, mid) = pool.install(|| run(0..150));
            assert_eq!((y.data(), mid.data()), (all.data(), mids.data()), "{precision:?}, {bits} bits");
        }
    }
}

#[test]
fn the_branch_alone_is_the_same() {
    for [m, k, n, r] in SHAPES.into_iter().filter(|shape| shape[3] > 0) {
        let (x, down, up) = (random(m, k, 1), random(r, k, 3), random(r, n, 4));
        for (precision, bits) in KINDS {
            let w = Blocks::new(random(n, k, 2), 256, bits);
            let run = |dst: Option<&mut [f32]>| {
                let mut mid = vec![f32::NAN; m * r];
                let (down, up) = (down.view().t(), up.view());
                let branch = Some(Branch { down, down_scale: 1.5, up, up_scale: 1.0, mid: &mut mid });
                let product = Product { lhs: x.view(), rhs: Rhs::Transposed(&w), branch, bias: None, precision };
                match dst {
                    Some(dst) => product.into(dst, Accum::Replace),
                    None => product.into_mid(),
                }
                mid
            };
            let both = run(Some(&mut vec![0.0; m * n]));
            assert_eq!(run(None), both, "{m}x{k}x{n} rank {r} in {precision:?}, {bits} bits");
        }
    }
}

/// What nobody must read.
struct Sealed;

impl Stored for Sealed {
    fn rows(&self) -> usize {
        70
    }
    fn cols(&self) -> usize {
        90
    }
    fn read(&self, row: usize, _: Range<usize>, _: &mut [f32]) {
        panic!("row {row} was read");
    }
}

#[test]
fn a_weight_that_nothing_is_wanted_of_is_not_read() {
    for rhs in [Rhs::Plain(&Sealed), Rhs::Transposed(&Sealed)] {
        let x = random(0, rhs.shape().0, 1);
        Product { lhs: x.view(), rhs, branch: None, bias: None, precision: Precision::F32 }
            .into(&mut [], Accum::Replace);
        // Nor for lhs·D alone.
        let (k, n) = rhs.shape();
        let (x, down, up, mut mid) = (random(5, k, 1), random(k, 3, 2), random(3, n, 3), vec![0.0; 15]);
        let branch = Branch { down: down.view(), down_scale: 1.0, up: up.view(), up_scale: 1.0, mid: &mut mid };
        Product { lhs: x.view(), rhs, branch: Some(branch), bias: None, precision: Precision::Bf16 }.into_mid();
    }
}

#[test]
fn nothing_times_something() {
    for (m, k, n) in [(0, 4, 4), (3, 0, 4), (3, 4, 0)] {
        let (x, w) = (random(m, k, 1), random(k, n, 2));
        let mut y = vec![f32::NAN; m * n];
        let bias = vec![2.0; n];
        Product {
            lhs: x.view(),
            rhs: Rhs::Plain(&w.view()),
            branch: None,
            bias: Some(&bias),
            precision: Precision::F32,
        }
        .into(&mut y, Accum::Replace);
        assert!(y.iter().all(|&y| y == 2.0));
    }
}

#[test]
#[should_panic(expected = "product of 2x3 and 4x5")]
fn wrong_shapes_are_told() {
    let (x, w) = (random(2, 3, 1), random(4, 5, 1));
    Product { lhs: x.view(), rhs: Rhs::Plain(&w.view()), branch: None, bias: None, precision: Precision::F32 }
        .into(&mut [0.0; 10], Accum::Replace);
}
