//! One pass of a product: a block of W packed as panels, and all rows of lhs against it.

use std::ops::Range;

use pulp::Arch;

use super::{Precision, Product, Rhs, parts};
use crate::buffers::with_buffer;
use crate::gemm::{Accum, Par};
use crate::mat::{MatMut, MatRef};
use crate::pool::{for_each, threads};
use crate::tiles::bf16::{self, Bf16};
use crate::tiles::{Append, Finish, PackStrips, PackTransposed, Sweep, Tile, dispatch, pack_panel};

/// Columns of W, stored k×n, that a task packs.
const GROUP: usize = 64;

/// How packed operands are multiplied.
#[derive(Clone, Copy)]
pub(super) enum Arithmetic {
    /// As they are.
    F32,
    /// Rounded to bf16, as f32.
    Rounded,
    /// Rounded to bf16, in pairs.
    Pairs(Bf16),
}

impl Arithmetic {
    pub(super) fn of(precision: Precision, tile: Tile) -> Self {
        match (precision, Bf16::new()) {
            (Precision::F32, _) => Arithmetic::F32,
            (Precision::Bf16, Some(pairs)) if pairs.tile() == tile => Arithmetic::Pairs(pairs),
            (Precision::Bf16, _) => Arithmetic::Rounded,
        }
    }

    /// Makes of a packed strip or panel, `width` numbers a row, what [`Self::sweep`] reads.
    fn prepare(self, packed: &mut [f32], width: usize) {
        match self {
            Arithmetic::F32 => {}
            Arithmetic::Rounded => bf16::round(packed),
            Arithmetic::Pairs(_) => bf16::pair(packed, width),
        }
    }

    fn sweep(self, arch: Arch, sweep: Sweep<'_, '_>) {
        match self {
            Arithmetic::F32 | Arithmetic::Rounded => dispatch(arch, sweep),
            Arithmetic::Pairs(pairs) => pairs.sweep(sweep),
        }
    }
}

/// Some columns of W, some of its depth.
pub(super) struct Pass {
    pub(super) arch: Arch,
    pub(super) arithmetic: Arithmetic,
    pub(super) tile: Tile,
    pub(super) par: Par,
    pub(super) columns: Range<usize>,
    pub(super) span: Range<usize>,
    /// Of lhs, a task.
    pub(super) rows: usize,
    pub(super) k: usize,
    pub(super) r: usize,
    /// By which what is added to the result is multiplied.
    pub(super) scale: f32,
}

impl Pass {
    /// With U's rows, which follow the last of W's.
    pub(super) fn depth(&self) -> usize {
        self.span.len() + if self.span.end == self.k { self.r } else { 0 }
    }

    /// W's block of a pass, and U below it in the last one, as panels.
    pub(super) fn pack(&self, product: &Product<'_>, packed: &mut [f32]) {
        let (tile, depth, own) = (self.tile, self.depth(), self.span.len());
        let columns_of = |j: usize| {
            let start = self.columns.start + j * tile.cols;
            start..(start + tile.cols).min(self.columns.end)
        };
        match product.rhs {
            Rhs::Transposed(w) => for_each(self.par, packed.chunks_exact_mut(tile.cols * depth).collect(), |j, out| {
                let out = &mut out[..tile.cols * own];
                with_buffer(out.len(), |scratch| {
                    let (rows, first) = (columns_of(j), self.span.start);
                    dispatch(self.arch, PackTransposed { source: w, rows, first, depth: own, scratch, out });
                });
            }),
            Rhs::Plain(w) => {
                let group = GROUP.max(w.block()).max(tile.cols);
                for_each(self.par, packed.chunks_mut(group * depth).collect(), |g, out| {
                    let start = self.columns.start + g * group;
                    let columns = start..(start + group).min(self.columns.end);
                    with_buffer(columns.len(), |row| {
                        for (p, from) in self.span.clone().enumerate() {
                            w.read(from, columns.clone(), row);
                            for (panel, numbers) in out.chunks_exact_mut(tile.cols * depth).zip(row.chunks(tile.cols)) {
                                put(&mut panel[p * tile.cols..(p + 1) * tile.cols], numbers);
                            }
                        }
                    });
                });
            }
        }
        let branch = product.branch.as_ref().filter(|_| depth > own);
        if branch.is_none() && matches!(self.arithmetic, Arithmetic::F32) {
            return;
        }
        for_each(self.par, packed.chunks_exact_mut(tile.cols * depth).collect(), |j, panel| {
            if let Some(branch) = branch {
                let up = branch.up.col_range(columns_of(j));
                pack_panel(up, branch.up_scale, tile.cols, &mut panel[tile.cols * own..]);
            }
            self.arithmetic.prepare(panel, tile.cols);
        });
    }

    /// D's rows of a pass as panels.
    pub(super) fn pack_down<'s>(&self, product: &Product<'_>, side: &'s mut [f32]) -> &'s [f32] {
        let Some(branch) = &product.branch else { return &[] };
        let (own, cols) = (self.span.len(), self.tile.cols);
        let side = &mut side[..self.r.next_multiple_of(cols) * own];
        for_each(self.par, side.chunks_exact_mut(cols * own).collect(), |j, panel| {
            let columns = j * cols..((j + 1) * cols).min(self.r);
            let down = branch.down.row_range(self.span.clone()).col_range(columns);
            pack_panel(down, branch.down_scale, cols, panel);
        });
        side
    }

    /// All rows of lhs against panels of W, and of D if there are any: then lhs·D goes on too.
    pub(super) fn sweep(
        &self,
        product: &mut Product<'_>,
        (panels, side): (&[f32], &[f32]),
        dst: &mut MatMut<'_>,
        accum: Accum,
    ) {
        let (m, first, columns) = (product.lhs.rows(), self.span.start == 0, self.columns.clone());
        let bias = product.bias.filter(|_| first).map(|bias| &bias[columns.clone()]);
        let finish = Finish { add: !first || accum == Accum::Add, scale: self.scale, bias };
        let task = Task { pass: self, lhs: product.lhs, panels, side, finish };
        let blocks: Vec<Range<usize>> = parts(m, self.rows).collect();
        let mid = product.branch.as_mut().map(|branch| &mut *branch.mid).unwrap_or_default();
        let stride = if m > 1 { dst.row_stride() } else { dst.cols() };
        let mut outs = dst.data_mut().chunks_mut(stride.max(1)).map(|row| &mut row[columns.clone()]);
        // A block of rows a task; of few rows a block of columns too, for which lhs·D is made before.
        let across = threads(self.par).div_ceil(blocks.len());
        if across == 1 {
            let mut mids = mid.chunks_mut(self.rows * self.r.max(1));
            let next = |rows: Range<usize>| {
                let out: Vec<&mut [f32]> = outs.by_ref().take(rows.len()).collect();
                (rows, mids.next().unwrap_or_default(), out)
            };
            for_each(self.par, blocks.into_iter().map(next).collect(), |_, (rows, mid, mut out)| {
                task.with_strips(rows, |strips| {
                    task.onto_mid(strips, mid);
                    task.onto_dst(strips, mid, 0..columns.len(), &mut out);
                });
            });
            return;
        }
        if !side.is_empty() {
            let tasks = blocks.iter().cloned().zip(mid.chunks_mut(self.rows * self.r)).collect();
            for_each(self.par, tasks, |_, (rows, mid)| task.with_strips(rows, |strips| task.onto_mid(strips, mid)));
        }
        // Without columns (lhs·D alone) there are no parts, whatever their width.
        let wide = columns.len().div_ceil(across).next_multiple_of(self.tile.cols).max(1);
        let mut tasks = Vec::new();
        for rows in blocks {
            let mut by_columns: Vec<_> =
                parts(columns.len(), wide).map(|part| (rows.clone(), part, Vec::new())).collect();
            for out in outs.by_ref().take(rows.len()) {
                by_columns.iter_mut().zip(out.chunks_mut(wide)).for_each(|((.., outs), out)| outs.push(out));
            }
            tasks.append(&mut by_columns);
        }
        let mid = &*mid;
        for_each(self.par, tasks, |_, (rows, part, mut out)| {
            let mid = &mid[rows.start * self.r..rows.end * self.r];
            task.with_strips(rows, |strips| task.onto_dst(strips, mid, part, &mut out));
        });
    }
}

/// What the tasks of a pass have in common.
struct Task<'a> {
    pass: &'a Pass,
    lhs: MatRef<'a>,
    panels: &'a [f32],
    side: &'a [f32],
    finish: Finish<'a>,
}

impl Task<'_> {
    /// Calls `f` with rows of lhs as strips that have room for rows of lhs·D in the last pass.
    fn with_strips(&self, rows: Range<usize>, f: impl FnOnce(&mut [f32])) {
        let Pass { arch, tile, span, .. } = self.pass;
        let (first, depth, room) = (span.start, span.len(), self.pass.depth());
        with_buffer(rows.len().next_multiple_of(tile.rows) * room, |out| {
            dispatch(*arch, PackStrips { lhs: self.lhs.row_range(rows), first, depth, room, out: &mut *out });
            f(out);
        });
    }

    /// The rows of `mid`: strips times D's panels, if there are any.
    fn onto_mid(&self, strips: &[f32], mid: &mut [f32]) {
        if self.side.is_empty() {
            return;
        }
        let Pass { arch, span, r, .. } = self.pass;
        let mut out: Vec<&mut [f32]> = mid.chunks_exact_mut(*r).collect();
        let finish = Finish { add: span.start > 0, scale: 1.0, bias: None };
        let (depth, room, panels) = (span.len(), self.pass.depth(), self.side);
        dispatch(*arch, Sweep { strips, room, panels, depth, out: &mut out, finish });
    }

    /// The rows of `out`: strips, with `mid` behind them in the last pass, times the panels of `columns`.
    fn onto_dst(&self, strips: &mut [f32], mid: &[f32], columns: Range<usize>, out: &mut [&mut [f32]]) {
        if columns.is_empty() {
            return;
        }
        let Pass { arch, tile, span, r, .. } = self.pass;
        let depth = self.pass.depth();
        if depth > span.len() {
            dispatch(*arch, Append { mid, rank: *r, from: span.len(), out: &mut *strips });
        }
        strips.chunks_exact_mut(tile.rows * depth).for_each(|strip| self.pass.arithmetic.prepare(strip, tile.rows));
        let panels = &self.panels[columns.start * depth..columns.end.next_multiple_of(tile.cols) * depth];
        let finish = Finish { bias: self.finish.bias.map(|bias| &bias[columns]), ..self.finish };
        self.pass.arithmetic.sweep(*arch, Sweep { strips, room: depth, panels, depth, out, finish });
    }
}

/// `numbers`, and zeros where there are none.
fn put(out: &mut [f32], numbers: &[f32]) {
    out[..numbers.len()].copy_from_slice(numbers);
    out[numbers.len()..].fill(0.0);
}
