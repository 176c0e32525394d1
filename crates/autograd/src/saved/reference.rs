//! Handles to what is kept: the tensor itself, or what follows from it by columns, by rows, or through an activation.

use std::sync::{Arc, Weak};

use loract_linalg::Accum;

use super::compressed::left_mul_tiles;
use super::{ColumnMap, Planned, RowMap, Saved, SavedKind, Site, Tiles};
use crate::kernels::{self, activation::Activation};
use crate::ledger::Category;
use crate::profile::{self, Part};
use crate::tensor::{Memory, Tensor};

/// Where the numbers of a [`SavedRef`] come from.
#[derive(Debug, Clone)]
enum Source {
    /// X as `columns` map it (to the output of a norm whose x̂ is saved).
    Kept { saved: Arc<Saved>, columns: ColumnMap },
    /// f(X)·up, or f(X), computed again.
    Activated { activation: Activation, x: Arc<Saved>, up: Option<Arc<Saved>> },
    /// Some rows of something, or its rows weighed.
    Rows { of: Box<SavedRef>, rows: RowMap },
}

/// A handle to something saved. Handles to one tensor share it; the last one frees it.
#[derive(Debug, Clone)]
pub struct SavedRef(Source);

/// The same, without keeping it alive: for later saves of the same numbers.
#[derive(Debug)]
pub(crate) enum WeakRef {
    Kept { saved: Weak<Saved>, columns: ColumnMap },
    Activated { activation: Activation, x: Weak<Saved>, up: Option<Weak<Saved>> },
    Rows { of: Box<WeakRef>, rows: RowMap },
}

impl WeakRef {
    pub(crate) fn upgrade(&self) -> Option<SavedRef> {
        Some(SavedRef(match self {
            WeakRef::Kept { saved, columns } => Source::Kept { saved: saved.upgrade()?, columns: columns.clone() },
            WeakRef::Activated { activation, x, up } => Source::Activated {
                activation: *activation,
                x: x.upgrade()?,
                up: match up {
                    None => None,
                    Some(up) => Some(up.upgrade()?),
                },
            },
            WeakRef::Rows { of, rows } => Source::Rows { of: Box::new(of.upgrade()?), rows: rows.clone() },
        }))
    }
}

impl SavedRef {
    pub(crate) fn new(saved: Saved) -> Self {
        SavedRef(Source::Kept { saved: Arc::new(saved), columns: ColumnMap::default() })
    }

    /// f(x)·up, or f(x); `None` if one of them is not kept as it is but follows from something else. Where the rows of up are
    /// weighed, those of the product are.
    pub(crate) fn activated(activation: Activation, x: &SavedRef, up: Option<&SavedRef>) -> Option<Self> {
        if let Some(Source::Rows { of, rows: rows @ RowMap::Weighed(_) }) = up.map(|up| &up.0) {
            return Some(Self::activated(activation, x, Some(of))?.with_rows(rows.clone()));
        }
        let up = match up {
            None => None,
            Some(up) => Some(Arc::clone(up.plain()?)),
        };
        Some(SavedRef(Source::Activated { activation, x: Arc::clone(x.plain()?), up }))
    }

    /// What is kept, if that are the numbers themselves.
    fn plain(&self) -> Option<&Arc<Saved>> {
        match &self.0 {
            Source::Kept { saved, columns } if columns.is_identity() => Some(saved),
            _ => None,
        }
    }

    /// This with its columns mapped; `None` if they are already, or if there is not a number for each of them.
    pub(crate) fn mapped(&self, columns: &ColumnMap) -> Option<Self> {
        match &self.0 {
            Source::Kept { saved, columns: before } if before.is_identity() && columns.covers(self.cols()) => {
                Some(SavedRef(Source::Kept { saved: Arc::clone(saved), columns: columns.clone() }))
            }
            _ => None,
        }
    }

    /// Some of its rows, or its rows weighed.
    pub(crate) fn with_rows(&self, rows: RowMap) -> Self {
        SavedRef(Source::Rows { of: Box::new(self.clone()), rows })
    }

    pub(crate) fn downgrade(&self) -> WeakRef {
        match &self.0 {
            Source::Kept { saved, columns } => WeakRef::Kept { saved: Arc::downgrade(saved), columns: columns.clone() },
            Source::Activated { activation, x, up } => WeakRef::Activated {
                activation: *activation,
                x: Arc::downgrade(x),
                up: up.as_ref().map(Arc::downgrade),
            },
            Source::Rows { of, rows } => WeakRef::Rows { of: Box::new(of.downgrade()), rows: rows.clone() },
        }
    }

    fn first(&self) -> &Saved {
        match &self.0 {
            Source::Kept { saved, .. } => saved,
            Source::Activated { x, .. } => x,
            Source::Rows { of, .. } => of.first(),
        }
    }

    /// m.
    pub fn rows(&self) -> usize {
        match &self.0 {
            Source::Rows { rows, .. } => rows.rows(),
            _ => self.first().shape().0,
        }
    }
    /// n.
    pub fn cols(&self) -> usize {
        self.first().shape().1
    }
    /// The form it is in; of something computed again, the form of what it is computed from.
    pub fn kind(&self) -> SavedKind {
        self.first().kind()
    }
    /// Whether it is kept no more coarsely than planned for another save of the same tensor. What is computed again is
    /// taken as it is: that was asked for.
    pub(crate) fn serves(&self, planned: &Planned) -> bool {
        match self.first() {
            Saved::Exact(_) => true,
            Saved::Compressed(kept) => self.is_computed() || kept.fineness >= planned.fineness(self.cols()),
        }
    }
    /// Whether both are the same numbers.
    pub(crate) fn is_same(&self, other: &SavedRef) -> bool {
        match (&self.0, &other.0) {
            (Source::Kept { saved, columns }, Source::Kept { saved: s, columns: c }) => {
                Arc::ptr_eq(saved, s) && columns.is_same(c)
            }
            (
                Source::Activated { activation, x, up },
                Source::Activated { activation: other, x: other_x, up: other_up },
            ) => {
                activation == other
                    && Arc::ptr_eq(x, other_x)
                    && up.as_ref().map(Arc::as_ptr) == other_up.as_ref().map(Arc::as_ptr)
            }
            (Source::Rows { of, rows }, Source::Rows { of: o, rows: r }) => of.is_same(o) && rows.is_same(r),
            _ => false,
        }
    }

    /// Whether it is computed again from other tensors, or from the rows of another.
    pub(crate) fn is_computed(&self) -> bool {
        !matches!(self.0, Source::Kept { .. })
    }

    /// U (m×k) and V (k×n) as tensors, if X is kept as factors alone; k is one more than kept if its columns are shifted.
    pub(crate) fn factors(&self, memory: &Memory) -> Option<(Tensor, Tensor)> {
        let Source::Kept { saved, columns } = &self.0 else { return None };
        let Saved::Compressed(kept) = &**saved else { return None };
        let (mut u, mut v) = kept.get().factors(usize::from(columns.shift.is_some()), memory)?;
        if !memory.is_hollow() {
            columns.apply_to_factors(&mut u, &mut v);
        }
        Some((u, v))
    }

    /// The dense tensor, m×n. Shared, not copied, if that is how it is kept.
    pub fn to_dense(&self, memory: &Memory) -> Tensor {
        if let Source::Kept { saved, columns } = &self.0
            && columns.is_identity()
            && let Saved::Exact(tensor) = &**saved
        {
            return tensor.clone();
        }
        let _span = self.first().site().map(|site| profile::span(Part::Read(site)));
        let mut out = memory.stale(self.rows(), self.cols(), Category::Transient);
        if !memory.is_hollow() {
            let tiles = self.tiles();
            kernels::elementwise::fill_rows(out.slice_mut(), self.cols(), |rows, out| tiles.fill(rows, out));
        }
        out
    }

    /// dᵀ·X, p×n for d m×p, added to or written over `out`. Factors are never multiplied out: 2kp(m+n) operations.
    pub(crate) fn left_mul(&self, d: &Tensor, out: &mut Tensor, accum: Accum, memory: &Memory) {
        let (of, rows) = match &self.0 {
            Source::Rows { of, rows: rows @ RowMap::Picked(_) } if !of.is_computed() => (&**of, Some(rows)),
            Source::Rows { of, rows } => return of.left_mul(&rows.transposed(d, memory), out, accum, memory),
            _ => (self, None),
        };
        let columns = match &of.0 {
            Source::Kept { columns, .. } if !columns.is_identity() => columns,
            _ => return of.left_mul_unmapped(d, rows, out, accum, memory),
        };
        let mut product = memory.stale(d.cols(), self.cols(), Category::Transient);
        of.left_mul_unmapped(d, rows, &mut product, Accum::Replace, memory);
        if memory.is_hollow() {
            return;
        }
        columns.apply_to_product(d, product.slice_mut());
        match accum {
            Accum::Replace => out.slice_mut().copy_from_slice(product.data()),
            Accum::Add => kernels::elementwise::add(out.slice_mut(), product.data()),
        }
    }

    /// The same before columns are mapped; with `rows`, of those rows of X alone, a row of d for each.
    fn left_mul_unmapped(&self, d: &Tensor, rows: Option<&RowMap>, out: &mut Tensor, accum: Accum, memory: &Memory) {
        let by_tiles = |tiles: Tiles<'_>, out: &mut Tensor| {
            left_mul_tiles(d.rows(), self.cols(), |rows, out| tiles.fill(rows, out), d, out, accum, memory);
        };
        let Source::Kept { saved, .. } = &self.0 else {
            let _span = profile::span(Part::Read(Site::MlpOut));
            return by_tiles(self.tiles(), out);
        };
        match (&**saved, rows) {
            (Saved::Compressed(c), _) => {
                let _span = profile::span(Part::Read(c.site));
                c.get().left_mul(d, rows, out, accum, memory);
            }
            (Saved::Exact(_), Some(rows)) => by_tiles(Tiles::of(saved).with_rows(rows), out),
            (Saved::Exact(x), None) => {
                if !memory.is_hollow() {
                    kernels::matmul::product(out.view_mut(), accum, d.view().t(), x.view(), 1.0);
                }
            }
        }
    }

    /// Element access a tile of rows at a time.
    pub(crate) fn tiles(&self) -> Tiles<'_> {
        match &self.0 {
            Source::Kept { saved, columns } => Tiles::of(saved).mapped(columns),
            Source::Activated { activation, x, up } => {
                Tiles::activated(*activation, Tiles::of(x), up.as_ref().map(|up| Tiles::of(up)))
            }
            Source::Rows { of, rows } => of.tiles().with_rows(rows),
        }
    }
}
