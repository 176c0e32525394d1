//! Resizing as Pillow does, to the last bit: two passes of convolution, rows first, each rounded to 8 bits; the filter is as wide
//! as what it shrinks (`src/libImaging/Resample.c`).
//!
//! Time O(pixels in · taps) for the first pass, taps = support·scale; memory: the picture between the passes. Nearest takes
//! pixels as they are.
//!
//! Not `fast_image_resize`: it is made for speed, with 25,000 lines of vector code for each kind of number; these lines are
//! enough beside a step of training, and are equal to Pillow's by construction.

use std::f64::consts::PI;

use super::super::picture::Picture;

/// How new pixels are made of old ones; in brackets, their numbers in Pillow and in `resample`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filter {
    /// The nearest pixel (0).
    Nearest,
    /// Windowed sinc of three lobes (1).
    Lanczos,
    /// A triangle (2).
    Bilinear,
    /// Keys' cubic with a = −1/2 (3).
    Bicubic,
    /// The mean (4).
    Box,
    /// Windowed sinc of one lobe (5).
    Hamming,
}

impl Filter {
    /// Half its width.
    fn support(self) -> f64 {
        match self {
            Filter::Nearest | Filter::Box => 0.5,
            Filter::Bilinear | Filter::Hamming => 1.0,
            Filter::Bicubic => 2.0,
            Filter::Lanczos => 3.0,
        }
    }

    fn at(self, x: f64) -> f64 {
        let away = x.abs();
        match self {
            Filter::Nearest | Filter::Box => f64::from(x > -0.5 && x <= 0.5),
            Filter::Bilinear => (1.0 - away).max(0.0),
            Filter::Hamming if away == 0.0 => 1.0,
            Filter::Hamming if away >= 1.0 => 0.0,
            Filter::Hamming => {
                // Pillow has these two in single precision.
                let [base, wave] = [0.54_f32, 0.46].map(f64::from);
                (away * PI).sin() / (away * PI) * (base + wave * (away * PI).cos())
            }
            Filter::Bicubic => cubic(away),
            Filter::Lanczos if (-3.0..3.0).contains(&x) => sinc(x) * sinc(x / 3.0),
            Filter::Lanczos => 0.0,
        }
    }
}

fn cubic(x: f64) -> f64 {
    const A: f64 = -0.5;
    if x < 1.0 {
        ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * A
    } else {
        0.0
    }
}

fn sinc(x: f64) -> f64 {
    if x == 0.0 { 1.0 } else { (x * PI).sin() / (x * PI) }
}

/// Which part of a resized edge is wanted; outside the edge there are zeros.
#[derive(Debug, Clone, Copy)]
pub(super) struct Window {
    /// Pixels before it; negative if it begins outside.
    pub(super) before: i64,
    /// Pixels in it.
    pub(super) size: usize,
}

/// The windows (of rows and columns) of `image` resized to height and width `to`.
pub(super) fn resize(image: &Picture, to: [usize; 2], windows: [Window; 2], filter: Filter) -> Picture {
    let channels = image.channels().count();
    let rows = taps(image.height(), to[0], windows[0], filter);
    let columns = taps(image.width(), to[1], windows[1], filter);
    // Rows of the picture that some row of the window needs.
    let first = rows.iter().filter(|row| !row.weights.is_empty()).map(|row| row.first).min().unwrap_or(0);
    let end = rows.iter().map(Taps::end).max().unwrap_or(0);
    let width = columns.len() * channels;
    let mut between = vec![0; (end.max(first) - first) * width];
    let needed = image.bytes().chunks_exact(image.width() * channels).skip(first);
    for (old, new) in needed.zip(between.chunks_exact_mut(width)) {
        across(old, channels, &columns, new);
    }
    let mut bytes = vec![0; rows.len() * width];
    for (row, new) in rows.iter().zip(bytes.chunks_exact_mut(width)) {
        down(&between, width, row, first, new);
    }
    image.like(rows.len(), columns.len(), bytes)
}

/// Pixels of an old edge that make up one of the new edge, with their weights in units of 2⁻²²; none outside it.
struct Taps {
    first: usize,
    weights: Vec<i32>,
}

impl Taps {
    fn end(&self) -> usize {
        self.first + self.weights.len()
    }
}

/// Bits behind the point of weights: 8 are the pixel's, and 2 are for sums beyond one.
const BITS: u32 = 32 - 8 - 2;

fn taps(from: usize, to: usize, window: Window, filter: Filter) -> Vec<Taps> {
    let scale = from as f64 / to as f64;
    let nearest = if filter == Filter::Nearest { nearest(from, scale, window) } else { Vec::new() };
    let tap = |place: usize| match usize::try_from(window.before + place as i64).ok().filter(|&at| at < to) {
        None => Taps { first: 0, weights: Vec::new() },
        Some(at) => match nearest.get((at as i64 - window.before.max(0)) as usize) {
            Some(&first) => Taps { first, weights: vec![1 << BITS] },
            None => weighted(from, at, scale, filter),
        },
    };
    (0..window.size).map(tap).collect()
}

/// The nearest old pixel of each new one in the window, by Pillow's running sum, whose rounding decides between two.
fn nearest(from: usize, scale: f64, window: Window) -> Vec<usize> {
    let before = usize::try_from(window.before).unwrap_or(0);
    let end = usize::try_from(window.before + window.size as i64).unwrap_or(0);
    let centres = std::iter::successors(Some(scale * 0.5), |centre| Some(centre + scale));
    centres.take(end).skip(before).map(|centre| (centre as usize).min(from - 1)).collect()
}

/// Pillow's `precompute_coeffs` for one pixel.
fn weighted(from: usize, at: usize, scale: f64, filter: Filter) -> Taps {
    let stretch = scale.max(1.0);
    let support = filter.support() * stretch;
    let centre = (at as f64 + 0.5) * scale;
    // Casts cut off towards zero, and at zero.
    let first = (centre - support + 0.5) as usize;
    let end = ((centre + support + 0.5) as usize).min(from);
    let weights: Vec<f64> = (first..end).map(|x| filter.at((x as f64 - centre + 0.5) * (1.0 / stretch))).collect();
    let sum: f64 = weights.iter().sum();
    let fixed = |weight: f64| {
        let weight = if sum == 0.0 { weight } else { weight / sum };
        (weight * f64::from(1 << BITS)).round() as i32
    };
    Taps { first, weights: weights.into_iter().map(fixed).collect() }
}

/// One half, so that a shift rounds.
const HALF: i32 = 1 << (BITS - 1);

fn across(old: &[u8], channels: usize, columns: &[Taps], new: &mut [u8]) {
    for (column, new) in columns.iter().zip(new.chunks_exact_mut(channels)) {
        let pixels = &old[column.first * channels..column.end() * channels];
        for (channel, new) in new.iter_mut().enumerate() {
            let numbers = pixels.iter().skip(channel).step_by(channels);
            let sum = numbers.zip(&column.weights).fold(HALF, |sum, (&x, &weight)| sum + i32::from(x) * weight);
            *new = byte(sum);
        }
    }
}

fn down(between: &[u8], width: usize, row: &Taps, first: usize, new: &mut [u8]) {
    let mut sums = vec![HALF; width];
    let old = between.chunks_exact(width).skip(row.first.saturating_sub(first));
    for (old, &weight) in old.zip(&row.weights) {
        for (sum, &x) in sums.iter_mut().zip(old) {
            *sum += i32::from(x) * weight;
        }
    }
    for (new, sum) in new.iter_mut().zip(sums) {
        *new = byte(sum);
    }
}

fn byte(sum: i32) -> u8 {
    (sum >> BITS).clamp(0, 255) as u8
}
