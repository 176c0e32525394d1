//! Windows of attention on the maps of images (Swin): where each row lies, which rows see each other, and how four patches become
//! one.

use std::sync::Arc;

use crate::layers::{Moved, Rows, Windows};

/// The map of an image cut into windows of s×s, after a cyclic shift up and left; it is filled up with zeros where windows do not
/// fit.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cut {
    /// Rows down and across.
    pub(super) map: [usize; 2],
    /// s; at most the smaller side of the map.
    pub(super) window: usize,
    pub(super) shift: usize,
}

impl Cut {
    /// Of the layers with even (0) and odd numbers (1) of a stage. A map of one window is not shifted.
    pub(super) fn of_layer(map: [usize; 2], window: usize, number: usize) -> Self {
        let shifts = number % 2 == 1 && map[0].min(map[1]) > window;
        Self { map, window, shift: if shifts { window / 2 } else { 0 } }
    }

    fn padded(&self) -> [usize; 2] {
        self.map.map(|side| side.next_multiple_of(self.window))
    }

    /// The rows of `images` images in windows.
    pub(super) fn rows(&self, images: usize) -> Rows {
        let (s, [h, w], [height, width]) = (self.window, self.map, self.padded());
        let places = images * height * width;
        let mut there = Vec::with_capacity(places);
        let mut regions = Vec::with_capacity(places);
        let mut back = vec![None; images * h * w];
        for image in 0..images {
            for (y, x) in in_windows([height, width], s) {
                // Rolled by −shift, place y holds what was at y + shift.
                let (from_y, from_x) = ((y + self.shift) % height, (x + self.shift) % width);
                let row = (from_y < h && from_x < w).then(|| ((image * h + from_y) * w + from_x) as u32);
                if let Some(row) = row {
                    back[row as usize] = Some(there.len() as u32);
                }
                there.push(row);
                regions.push((3 * self.region(y, height) + self.region(x, width)) as u16);
            }
        }
        let same = there.len() == back.len() && there.iter().enumerate().all(|(i, row)| *row == Some(i as u32));
        let windows = Windows {
            moved: (!same).then(|| Moved { there: there.into(), back: back.into() }),
            index: relative(s),
            regions: (self.shift > 0).then(|| regions.into()),
        };
        Rows {
            sequences: (0..places / (s * s)).map(|i| i * s * s..(i + 1) * s * s).collect(),
            global: None,
            local: None,
            windows: Some(Arc::new(windows)),
        }
    }

    /// Which of three parts of a side of the rolled map place i is in: what was rolled in is apart from what it meets.
    fn region(&self, i: usize, side: usize) -> usize {
        usize::from(i >= side - self.window) + usize::from(i >= side - self.shift)
    }
}

/// The places of a map, window by window.
fn in_windows([height, width]: [usize; 2], s: usize) -> impl Iterator<Item = (usize, usize)> {
    let corners = (0..height).step_by(s).flat_map(move |y| (0..width).step_by(s).map(move |x| (y, x)));
    corners.flat_map(move |(y, x)| (0..s).flat_map(move |a| (0..s).map(move |b| (y + a, x + b))))
}

/// For each two places of a window, the row of the table of relative positions: (2s − 1)² of them.
fn relative(s: usize) -> Arc<[u32]> {
    let places = || (0..s).flat_map(|a| (0..s).map(move |b| (a, b)));
    let row = |(a, b): (usize, usize), (c, d): (usize, usize)| ((a + s - 1 - c) * (2 * s - 1) + b + s - 1 - d) as u32;
    places().flat_map(|i| places().map(move |j| row(i, j))).collect()
}

/// Four neighbours of a map of `images` images, one below another: upper left, lower left, upper right, lower right; zeros beyond
/// the map.
pub(super) fn neighbours([h, w]: [usize; 2], images: usize) -> Arc<[Option<u32>]> {
    let mut rows = Vec::with_capacity(images * h.div_ceil(2) * w.div_ceil(2) * 4);
    for image in 0..images {
        for (y, x) in in_windows([h.next_multiple_of(2), w.next_multiple_of(2)], 2) {
            rows.push((y < h && x < w).then(|| ((image * h + y) * w + x) as u32));
        }
    }
    // In windows of two a line comes before the next; here a column does.
    rows.chunks_exact_mut(4).for_each(|four| four.swap(1, 2));
    rows.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_back_to_their_places() {
        for (map, window, number) in [([5, 7], 3, 1), ([4, 4], 2, 1), ([6, 4], 4, 0), ([3, 3], 3, 1)] {
            let rows = Cut::of_layer(map, window, number).rows(2);
            let Some(windows) = rows.windows else { panic!("windows") };
            let Some(Moved { there, back }) = &windows.moved else {
                assert_eq!(map, [window; 2]);
                continue;
            };
            for (row, place) in back.iter().enumerate() {
                assert_eq!(place.and_then(|place| there[place as usize]), Some(row as u32), "{map:?}");
            }
            assert_eq!(rows.sequences.iter().map(std::ops::Range::len).sum::<usize>(), there.len());
        }
    }

    #[test]
    fn four_neighbours_go_down_first() {
        assert_eq!(neighbours([2, 3], 1).to_vec(), [Some(0), Some(3), Some(1), Some(4), Some(2), Some(5), None, None]);
    }
}
