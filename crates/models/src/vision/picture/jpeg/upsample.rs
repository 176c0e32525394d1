//! A component's samples at every pixel, by libjpeg's "fancy" interpolation (`jdsample.c`): a triangle over the nearest two
//! samples in each direction. Its roundings alternate, and do so here. Other proportions than 1:2 are repeated.

use super::super::PictureError;
use super::headers::Frame;
use super::{Component, unsupported};

/// How often a component has to be repeated in each direction, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Same,
    Across,
    Down,
    Both,
    /// So often across and down.
    Repeated(usize, usize),
}

/// Rows of a component as long as those of the picture.
pub(super) struct Rows<'a> {
    samples: Vec<u8>,
    component: &'a Component,
    way: Way,
}

impl<'a> Rows<'a> {
    pub(super) fn new(frame: &Frame, component: &'a Component, samples: Vec<u8>) -> Result<Self, PictureError> {
        let (across, down) = (frame.most_across / component.across, frame.most_down / component.down);
        if across * component.across != frame.most_across || down * component.down != frame.most_down {
            return Err(unsupported("a JPEG whose components' sizes are no multiples of each other"));
        }
        let interpolated = component.width > 2;
        let way = match (across, down) {
            (1, 1) => Way::Same,
            (2, 1) if interpolated => Way::Across,
            (1, 2) => Way::Down,
            (2, 2) if interpolated => Way::Both,
            _ => Way::Repeated(across, down),
        };
        Ok(Self { samples, component, way })
    }

    /// Row `at` of the picture; of its end a sample more may come.
    pub(super) fn row(&self, at: usize, out: &mut Vec<u8>) {
        out.clear();
        let narrow = |value: i32| value as u8;
        match self.way {
            Way::Same => out.extend(self.line(at)),
            Way::Repeated(across, down) => {
                let line = self.line(at / down);
                out.extend(line.iter().flat_map(|&sample| std::iter::repeat_n(sample, across)));
            }
            Way::Down => {
                let (near, far) = self.neighbours(at);
                let bias = if at.is_multiple_of(2) { 1 } else { 2 };
                out.extend(columns(near, far).map(|sum| narrow((sum + bias) >> 2)));
            }
            Way::Across => {
                let line: Vec<i32> = self.line(at).iter().map(|&sample| sample.into()).collect();
                interpolate(
                    &line,
                    |near, far, right| match far {
                        None => narrow(near),
                        Some(far) => narrow((3 * near + far + if right { 2 } else { 1 }) >> 2),
                    },
                    out,
                );
            }
            Way::Both => {
                let (near, far) = self.neighbours(at);
                let sums: Vec<i32> = columns(near, far).collect();
                interpolate(
                    &sums,
                    |near, far, right| narrow((3 * near + far.unwrap_or(near) + if right { 7 } else { 8 }) >> 4),
                    out,
                );
            }
        }
    }

    /// A line of the component, without what fills up its blocks.
    fn line(&self, at: usize) -> &[u8] {
        &self.samples[at * 8 * self.component.blocks_across..][..self.component.width]
    }

    /// The nearest line of the component and the one on the other side, which is the nearest again at the edges.
    fn neighbours(&self, at: usize) -> (&[u8], &[u8]) {
        let near = at / 2;
        let far = if at.is_multiple_of(2) { near.saturating_sub(1) } else { (near + 1).min(self.component.height - 1) };
        (self.line(near), self.line(far))
    }
}

fn columns<'a>(near: &'a [u8], far: &'a [u8]) -> impl Iterator<Item = i32> + 'a {
    near.iter().zip(far).map(|(&near, &far)| 3 * i32::from(near) + i32::from(far))
}

/// Two pixels of each sample: one with its neighbour to the left, one with that to the right; there is none at the ends.
fn interpolate(line: &[i32], pixel: impl Fn(i32, Option<i32>, bool) -> u8, out: &mut Vec<u8>) {
    for (place, &near) in line.iter().enumerate() {
        let left = place.checked_sub(1).map(|place| line[place]);
        out.push(pixel(near, left, false));
        out.push(pixel(near, line.get(place + 1).copied(), true));
    }
}
