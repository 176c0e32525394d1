//! One pass of a product: a block of W packed as panels, and all rows of lhs against it.

use std::ops::Range;

use pulp::Arch;

use super::{F32_BITS, Precision, Product, ROWS, ROWS_OF_PAIRS, Rhs, STRIPS_OF_PAIRS, Stored, parts};
use crate::buffers::{with_buffer, with_buffers};
use crate::gemm::{Accum, Par};
use crate::mat::{MatMut, MatRef};
use crate::pool::{for_each, threads};
use crate::tiles::bf16::{self, Bf16};
use crate::tiles::{Append, Depth, Finish, PackStrips, PackTransposed, Sweep, Tile, dispatch, pack_panel};

/// Rows of W, stored k×n, that a task packs.
const GROUP: usize = 64;
/// Columns of these at most, or a block of W's: long enough that rows are read as they lie.
const WIDE: usize = 1024;

const _: () = assert!(GROUP.is_multiple_of(bf16::BLOCK), "tasks begin with a block of the depth");

/// How packed operands are multiplied.
#[derive(Clone, Copy)]
pub(super) enum Arithmetic {
    /// As they are.
    F32,
    /// Rounded to bf16, as f32.
    Rounded,
    /// In pairs of bf16, rounded or in parts.
    Pairs(Bf16),
}

impl Arithmetic {
    /// That of this processor for a W with so many significant bits. Six products of parts, which a W of more than two parts
    /// takes, were not faster than one of f32 where AMX was throttled (docs/memory.md).
    pub(super) fn of(precision: Precision, bits: usize) -> Self {
        match precision {
            Precision::F32 if bits <= 16 => Bf16::exact().map_or(Arithmetic::F32, Arithmetic::Pairs),
            Precision::F32 => Arithmetic::F32,
            Precision::Bf16 => Bf16::new().map_or(Arithmetic::Rounded, Arithmetic::Pairs),
        }
    }

    pub(super) fn tile(self, arch: Arch) -> Tile {
        match self {
            Arithmetic::F32 | Arithmetic::Rounded => Tile::of(arch),
            Arithmetic::Pairs(pairs) => pairs.tile(),
        }
    }

    /// Rows of lhs a task, of `m`, each of which takes so much of a strip.
    pub(super) fn rows_of_task(self, m: usize, strip: usize, threads: usize) -> usize {
        match self {
            Arithmetic::F32 | Arithmetic::Rounded => ROWS.min(m.div_ceil(2 * threads)),
            Arithmetic::Pairs(_) => ROWS_OF_PAIRS.min(STRIPS_OF_PAIRS / strip),
        }
    }

    /// Into how many tasks a sweep is cut at least.
    fn tasks(self, threads: usize) -> usize {
        match self {
            Arithmetic::F32 | Arithmetic::Rounded => threads,
            Arithmetic::Pairs(_) if threads > 1 => 2 * threads,
            Arithmetic::Pairs(_) => 1,
        }
    }

    /// A depth filled up to what is packed of it.
    pub(super) fn padded(self, depth: usize) -> usize {
        match self {
            Arithmetic::F32 | Arithmetic::Rounded => depth,
            Arithmetic::Pairs(_) => depth.next_multiple_of(bf16::BLOCK),
        }
    }

    /// Parts that a number of W with so many significant bits is packed in.
    pub(super) fn parts(self, bits: usize) -> usize {
        match self {
            Arithmetic::F32 | Arithmetic::Rounded => 1,
            Arithmetic::Pairs(pairs) => pairs.parts(bits),
        }
    }

    /// What such a depth takes, of a W in so many parts.
    pub(super) fn depth(self, depth: usize, parts: usize) -> Depth {
        let rows = match self {
            Arithmetic::F32 | Arithmetic::Rounded => depth,
            Arithmetic::Pairs(_) => self.padded(depth) / 2,
        };
        Depth { rows, parts: [self.parts(F32_BITS), parts] }
    }

    /// The same with a branch beside W. U is in f32: if W is in fewer parts, U is the sum of several matrices that have no more,
    /// which lie below each other, and lhs·D is beside each of them.
    pub(super) fn with_branch(self, depth: usize, rank: usize, parts: usize) -> Depth {
        let (own, beside) = (self.depth(depth, parts), self.depth(rank * self.terms(parts), parts));
        Depth { rows: own.rows + beside.rows, ..own }
    }

    /// How many.
    fn terms(self, parts: usize) -> usize {
        self.parts(F32_BITS).div_ceil(parts)
    }

    /// Numbers of f32 as a panel, scaled, `cols` a row, of numbers in so many parts.
    fn pack_panel(self, from: MatRef<'_>, scale: f32, cols: usize, parts: usize, out: &mut [f32]) {
        match self {
            Arithmetic::F32 => pack_panel(from, scale, cols, out),
            Arithmetic::Rounded => {
                pack_panel(from, scale, cols, out);
                bf16::round(out);
            }
            Arithmetic::Pairs(pairs) => {
                let (len, terms) = (from.rows() * cols, self.terms(parts));
                with_buffers([len, self.padded(from.rows() * terms) * cols], |[numbers, rows]| {
                    if terms == 1 {
                        pack_panel(from, scale, cols, &mut rows[..len]);
                    } else {
                        pack_panel(from, scale, cols, numbers);
                        let rows = rows[..len * terms].chunks_exact_mut(len.max(1));
                        rows.for_each(|term| bf16::take(numbers, parts, term));
                    }
                    rows[len * terms..].fill(0.0);
                    for (p, rows) in rows.chunks_exact_mut(2 * cols).enumerate() {
                        let (row, next) = rows.split_at_mut(cols);
                        for part in 0..parts {
                            pairs.pair(row, next, bf16::row_of_pair(p, part, parts), &mut [&mut *out]);
                        }
                    }
                });
            }
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
    /// Of a number of W.
    pub(super) parts: usize,
    /// By which what is added to the result is multiplied.
    pub(super) scale: f32,
}

impl Pass {
    /// What W's part of a pass takes.
    fn own(&self) -> Depth {
        self.arithmetic.depth(self.span.len(), self.parts)
    }

    /// With U's, which follow the last of W's.
    pub(super) fn depth(&self) -> Depth {
        let beside = if self.span.end == self.k { self.r } else { 0 };
        self.arithmetic.with_branch(self.span.len(), beside, self.parts)
    }

    /// What D's rows take.
    fn side(&self) -> Depth {
        self.arithmetic.depth(self.span.len(), self.arithmetic.parts(F32_BITS))
    }

    /// W's block of a pass, and U below it in the last one, as panels.
    pub(super) fn pack(&self, product: &Product<'_>, packed: &mut [f32]) {
        let (cols, depth, own) = (self.tile.cols, self.depth().panel(), self.own().panel());
        let columns_of = |j: usize| {
            let start = self.columns.start + j * cols;
            start..(start + cols).min(self.columns.end)
        };
        match product.rhs {
            Rhs::Transposed(w) => for_each(self.par, packed.chunks_exact_mut(cols * depth).collect(), |j, out| {
                self.pack_transposed(w, columns_of(j), &mut out[..cols * own]);
            }),
            Rhs::Plain(w) => {
                let (wide, group) = (WIDE.max(w.block()), self.arithmetic.depth(GROUP, self.parts).panel());
                let mut tasks = Vec::new();
                for (columns, packed) in parts(self.columns.len(), wide).zip(packed.chunks_mut(wide * depth)) {
                    let columns = self.columns.start + columns.start..self.columns.start + columns.end;
                    let rows = parts(self.span.len(), GROUP);
                    let mut by_rows: Vec<_> = rows.map(|rows| (rows, columns.clone(), Vec::new())).collect();
                    for panel in packed.chunks_exact_mut(cols * depth) {
                        let outs = panel[..cols * own].chunks_mut(cols * group);
                        by_rows.iter_mut().zip(outs).for_each(|((.., panels), out)| panels.push(out));
                    }
                    tasks.append(&mut by_rows);
                }
                for_each(self.par, tasks, |_, (rows, columns, mut panels)| {
                    self.pack_plain(w, rows, columns, &mut panels);
                });
            }
        }
        let Some(branch) = product.branch.as_ref().filter(|_| depth > own) else { return };
        for_each(self.par, packed.chunks_exact_mut(cols * depth).collect(), |j, panel| {
            let up = branch.up.col_range(columns_of(j));
            self.arithmetic.pack_panel(up, branch.up_scale, cols, self.parts, &mut panel[cols * own..]);
        });
    }

    /// Rows `rows` of W, stored n×k, as a panel.
    fn pack_transposed(&self, w: &dyn Stored, rows: Range<usize>, out: &mut [f32]) {
        let (first, depth, own) = (self.span.start, self.span.len(), self.own().panel());
        with_buffer(self.tile.cols * own, |scratch| match self.arithmetic {
            Arithmetic::F32 => dispatch(self.arch, PackTransposed { source: w, rows, first, depth, scratch, out }),
            Arithmetic::Rounded => {
                dispatch(self.arch, PackTransposed { source: w, rows, first, depth, scratch, out: &mut *out });
                bf16::round(out);
            }
            Arithmetic::Pairs(pairs) => with_buffer(self.arithmetic.padded(depth), |numbers| {
                scratch[rows.len() * own..].fill(0.0);
                numbers[depth..].fill(0.0);
                for (row, column) in rows.zip(scratch.chunks_exact_mut(own)) {
                    w.read(row, first..first + depth, &mut numbers[..depth]);
                    pairs.pair_neighbours(numbers, self.parts, column);
                }
                pairs.pack_columns(scratch, own, out);
            }),
        });
    }

    /// Rows `rows` of a pass of W, stored k×n, and columns `columns`, as rows of panels.
    fn pack_plain(&self, w: &dyn Stored, rows: Range<usize>, columns: Range<usize>, panels: &mut [&mut [f32]]) {
        let (cols, wide) = (self.tile.cols, panels.len() * self.tile.cols);
        let read = |row: usize, out: &mut [f32]| {
            let (out, beyond) = out.split_at_mut(columns.len());
            w.read(self.span.start + row, columns.clone(), out);
            beyond.fill(0.0);
        };
        match self.arithmetic {
            Arithmetic::F32 | Arithmetic::Rounded => with_buffer(wide, |row| {
                for (at, from) in rows.enumerate() {
                    read(from, row);
                    if let Arithmetic::Rounded = self.arithmetic {
                        bf16::round(row);
                    }
                    for (panel, numbers) in panels.iter_mut().zip(row.chunks_exact(cols)) {
                        panel[at * cols..(at + 1) * cols].copy_from_slice(numbers);
                    }
                }
            }),
            Arithmetic::Pairs(pairs) => with_buffers([wide; 2], |[row, next]| {
                for p in 0..self.arithmetic.padded(rows.len()) / 2 {
                    for (from, row) in [(2 * p, &mut *row), (2 * p + 1, &mut *next)] {
                        if from < rows.len() { read(rows.start + from, row) } else { row.fill(0.0) }
                    }
                    for part in 0..self.parts {
                        pairs.pair(row, next, bf16::row_of_pair(p, part, self.parts), panels);
                    }
                }
            }),
        }
    }

    /// D's rows of a pass as panels.
    pub(super) fn pack_down<'s>(&self, product: &Product<'_>, side: &'s mut [f32]) -> &'s [f32] {
        let Some(branch) = &product.branch else { return &[] };
        let (rows, cols) = (self.side().panel(), self.tile.cols);
        let side = &mut side[..self.r.next_multiple_of(cols) * rows];
        for_each(self.par, side.chunks_exact_mut(cols * rows).collect(), |j, panel| {
            let columns = j * cols..((j + 1) * cols).min(self.r);
            let down = branch.down.row_range(self.span.clone()).col_range(columns);
            self.arithmetic.pack_panel(down, branch.down_scale, cols, self.arithmetic.parts(F32_BITS), panel);
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
        let room = self.depth().strip();
        // A block of rows a task; few rows are packed first, for tasks that have a block of columns each.
        let across = self.arithmetic.tasks(threads(self.par)).div_ceil(blocks.len());
        if across == 1 {
            let mut mids = mid.chunks_mut(self.rows * self.r.max(1));
            let next = |rows: Range<usize>| {
                let out: Vec<&mut [f32]> = outs.by_ref().take(rows.len()).collect();
                (rows, mids.next().unwrap_or_default(), out)
            };
            for_each(self.par, blocks.into_iter().map(next).collect(), |_, (rows, mid, mut out)| {
                with_buffer(rows.len().next_multiple_of(self.tile.rows) * room, |strips| {
                    task.pack(rows, mid, strips);
                    task.onto_dst(strips, 0..columns.len(), &mut out);
                });
            });
            return;
        }
        with_buffer(m.next_multiple_of(self.tile.rows) * room, |strips| {
            let share = m.div_ceil(threads(self.par)).next_multiple_of(self.tile.rows);
            let mut mids = mid.chunks_mut(share * self.r.max(1));
            let shares = parts(m, share).zip(strips.chunks_mut(share * room));
            let shares = shares.map(|(rows, strips)| (rows, mids.next().unwrap_or_default(), strips)).collect();
            for_each(self.par, shares, |_, (rows, mid, strips)| task.pack(rows, mid, strips));
            // Without columns (lhs·D alone) there are no parts, whatever their width.
            let wide = columns.len().div_ceil(across).next_multiple_of(self.tile.cols).max(1);
            let mut tasks = Vec::new();
            for (rows, strips) in blocks.into_iter().zip(strips.chunks(self.rows * room)) {
                let mut by_columns: Vec<_> =
                    parts(columns.len(), wide).map(|part| (strips, part, Vec::new())).collect();
                for out in outs.by_ref().take(rows.len()) {
                    by_columns.iter_mut().zip(out.chunks_mut(wide)).for_each(|((.., outs), out)| outs.push(out));
                }
                tasks.append(&mut by_columns);
            }
            for_each(self.par, tasks, |_, (strips, part, mut out)| task.onto_dst(strips, part, &mut out));
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
    /// Rows of lhs as strips; lhs·D onto `mid`, and in the last pass behind them.
    fn pack(&self, rows: Range<usize>, mid: &mut [f32], out: &mut [f32]) {
        let Pass { arch, arithmetic, tile, span, .. } = self.pass;
        let (first, depth, room) = (span.start, span.len(), self.pass.depth().strip());
        let lhs = self.lhs.row_range(rows);
        match arithmetic {
            Arithmetic::Pairs(pairs) => pairs.pack_strips(lhs, first..first + depth, 0, room, out),
            Arithmetic::F32 | Arithmetic::Rounded => {
                dispatch(*arch, PackStrips { lhs, first, depth, room, out: &mut *out });
            }
        }
        if let Arithmetic::Rounded = arithmetic {
            let strips = out.chunks_exact_mut(tile.rows * room);
            strips.for_each(|strip| bf16::round(&mut strip[..tile.rows * depth]));
        }
        self.onto_mid(out, mid);
        if room > self.pass.own().strip() {
            self.append(out, mid, self.pass.r);
        }
    }

    /// The rows of `mid`: strips times D's panels, if there are any.
    fn onto_mid(&self, strips: &[f32], mid: &mut [f32]) {
        if self.side.is_empty() {
            return;
        }
        let Pass { arch, arithmetic, span, r, .. } = self.pass;
        let mut out: Vec<&mut [f32]> = mid.chunks_exact_mut(*r).collect();
        let finish = Finish { add: span.start > 0, scale: 1.0, bias: None };
        let (depth, room, panels) = (self.pass.side(), self.pass.depth().strip(), self.side);
        arithmetic.sweep(*arch, Sweep { strips, room, panels, depth, out: &mut out, finish });
    }

    /// The rows of `out`: strips times the panels of `columns`.
    fn onto_dst(&self, strips: &[f32], columns: Range<usize>, out: &mut [&mut [f32]]) {
        if columns.is_empty() {
            return;
        }
        let Pass { arch, arithmetic, tile, .. } = self.pass;
        let depth = self.pass.depth();
        let panels =
            &self.panels[columns.start * depth.panel()..columns.end.next_multiple_of(tile.cols) * depth.panel()];
        let finish = Finish { bias: self.finish.bias.map(|bias| &bias[columns]), ..self.finish };
        arithmetic.sweep(*arch, Sweep { strips, room: depth.strip(), panels, depth, out, finish });
    }

    /// `mid` behind W's part of strips.
    fn append(&self, strips: &mut [f32], mid: &[f32], rank: usize) {
        let Pass { arch, arithmetic, tile, parts, .. } = self.pass;
        let (own, depth) = (self.pass.own().strip(), self.pass.depth().strip());
        match arithmetic {
            Arithmetic::F32 => dispatch(*arch, Append { mid, rank, from: own, out: strips }),
            Arithmetic::Rounded => {
                dispatch(*arch, Append { mid, rank, from: own, out: &mut *strips });
                let strips = strips.chunks_exact_mut(tile.rows * depth);
                strips.for_each(|strip| bf16::round(&mut strip[tile.rows * own..]));
            }
            Arithmetic::Pairs(pairs) => {
                let (rows, terms) = (mid.len() / rank, arithmetic.terms(*parts));
                let wide = rank * terms;
                if terms == 1 {
                    return pairs.pack_strips(MatRef::row_major(mid, rows, rank), 0..rank, own, depth, strips);
                }
                with_buffer(rows * wide, |repeated| {
                    for (mid, row) in mid.chunks_exact(rank).zip(repeated.chunks_exact_mut(wide)) {
                        row.chunks_exact_mut(rank).for_each(|row| row.copy_from_slice(mid));
                    }
                    pairs.pack_strips(MatRef::row_major(repeated, rows, wide), 0..wide, own, depth, strips);
                });
            }
        }
    }
}
