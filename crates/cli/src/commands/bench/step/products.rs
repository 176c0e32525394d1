//! The matrix products of a step, alone: the limit that a step cannot be faster than on the same product kernels.

use std::ops::Range;
use std::time::Instant;

use loract_autograd::{Product, Profile, Rng};
use loract_linalg::{Accum, Branch, MatMut, MatRef, Par, Precision, Product as StoredProduct, Rhs, Stored, matmul};

/// Numbers of a factor are drawn this many at a time and repeated.
const DRAWN: usize = 1 << 16;

/// A shape: how often it runs, and the seconds of one run, summed over rounds.
pub struct Shape {
    pub product: Product,
    pub count: usize,
    pub seconds: f64,
}

/// Numbers that pass for ones of so many significant bits, which a product may be faster with: only its time is of interest.
struct Short<'a>(MatRef<'a>, usize);

impl Stored for Short<'_> {
    fn rows(&self) -> usize {
        self.0.rows()
    }
    fn cols(&self) -> usize {
        self.0.cols()
    }
    fn bits(&self) -> usize {
        self.1
    }
    fn read(&self, row: usize, cols: Range<usize>, out: &mut [f32]) {
        self.0.read(row, cols, out);
    }
    fn in_place(&self) -> Option<MatRef<'_>> {
        Some(self.0)
    }
}

/// Shapes, and memory to run them in.
pub struct Products {
    pub shapes: Vec<Shape>,
    pub rounds: usize,
    left: Vec<f32>,
    right: Vec<f32>,
    result: Vec<f32>,
    mid: Vec<f32>,
}

impl Products {
    /// Those that `profile` saw.
    pub fn new(profile: &Profile) -> Self {
        let of = |(&product, &count)| Shape { product, count, seconds: 0.0 };
        let shapes: Vec<Shape> = profile.products.iter().map(of).collect();
        let most = |size: fn(&Product) -> usize| shapes.iter().map(|shape| size(&shape.product)).max().unwrap_or(0);
        let mut rng = Rng::new(&[0x9d]);
        let drawn: Vec<f32> = (0..DRAWN).map(|_| rng.normal()).collect();
        let numbers = |len: usize| drawn.iter().copied().cycle().take(len).collect();
        let (left, right) = (numbers(most(|p| p.m * p.k)), numbers(most(|p| (p.k + rank(p)) * p.n.max(rank(p)))));
        let (result, mid) = (vec![0.0; most(|p| p.m * p.n)], vec![0.0; most(|p| p.m * rank(p))]);
        Self { left, right, result, mid, rounds: 0, shapes }
    }

    /// Runs them all, once as often as they were seen; the time that took.
    pub fn seconds(&mut self) -> f64 {
        self.rounds += 1;
        let mut total = 0.0;
        for Shape { product, count, seconds } in &mut self.shapes {
            let &mut Product { m, n, k, left_transposed, right_transposed, weight, bits } = product;
            let stored = |data, rows, cols, transposed| match transposed {
                false => MatRef::row_major(data, rows, cols),
                true => MatRef::row_major(data, cols, rows).t(),
            };
            let (left, right) =
                (stored(&self.left, m, k, left_transposed), stored(&self.right, k, n, right_transposed));
            let result = &mut self.result[..m * n];
            let begun = Instant::now();
            for _ in 0..*count {
                let Some(r) = weight else {
                    let result = MatMut::row_major(result, m, n);
                    matmul(result, Accum::Replace, left, right, 1.0, Par::Rayon);
                    continue;
                };
                let w = Short(if right_transposed { right.t() } else { right }, bits);
                let rhs = if right_transposed { Rhs::Transposed(&w) } else { Rhs::Plain(&w) };
                let branch = (r > 0).then(|| Branch {
                    down: stored(&self.right, k, r, false),
                    down_scale: 1.0,
                    up: stored(&self.right, r, n, false),
                    up_scale: 1.0,
                    mid: &mut self.mid[..m * r],
                });
                let product = StoredProduct { lhs: left, rhs, branch, bias: None, precision: Precision::F32 };
                if n == 0 { product.into_mid() } else { product.into(result, Accum::Replace) }
            }
            let taken = begun.elapsed().as_secs_f64();
            total += taken;
            *seconds += taken / *count as f64;
        }
        total
    }

    /// Additions and multiplications, 2·m·n·k each.
    pub fn operations(&self) -> f64 {
        self.shapes.iter().map(|shape| shape.count as f64 * operations(&shape.product)).sum()
    }
}

/// Of what runs beside a weight; 0 for nothing.
fn rank(p: &Product) -> usize {
    p.weight.unwrap_or(0)
}

/// Additions and multiplications of one product.
pub fn operations(p: &Product) -> f64 {
    2.0 * (p.m * p.n) as f64 * p.k as f64 + 2.0 * (p.m * rank(p)) as f64 * (p.k + p.n) as f64
}
