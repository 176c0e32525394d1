//! Tables of positions for images of another size, as Transformers makes them (`interpolate_pos_encoding`): bicubic, with
//! PyTorch's a = −0.75, corners not aligned, edges repeated.

/// A table of `from[0]·from[1]` rows, `cols` wide, resized to `to[0]·to[1]` rows; the first `kept` rows stay as they are.
pub(super) fn resized(table: &[f32], kept: usize, from: [usize; 2], to: [usize; 2], cols: usize) -> Vec<f32> {
    let (kept, grid) = table.split_at(kept * cols);
    let mut out = kept.to_vec();
    let across: Vec<Taps> = (0..to[1]).map(|x| Taps::at(x, from[1], to[1])).collect();
    for y in 0..to[0] {
        let down = Taps::at(y, from[0], to[0]);
        for across in &across {
            let start = out.len();
            out.resize(start + cols, 0.0);
            let row = &mut out[start..];
            for (&i, &u) in down.places.iter().zip(&down.weights) {
                for (&j, &v) in across.places.iter().zip(&across.weights) {
                    let source = &grid[(i * from[1] + j) * cols..][..cols];
                    row.iter_mut().zip(source).for_each(|(out, &x)| *out += u * v * x);
                }
            }
        }
    }
    out
}

/// Four neighbours and their weights.
struct Taps {
    places: [usize; 4],
    weights: [f32; 4],
}

impl Taps {
    /// For place `to` of `new`, among `old`.
    fn at(to: usize, old: usize, new: usize) -> Self {
        let source = (to as f64 + 0.5) * old as f64 / new as f64 - 0.5;
        let (floor, t) = (source.floor(), source - source.floor());
        let places = [-1.0, 0.0, 1.0, 2.0].map(|step| (floor + step).clamp(0.0, (old - 1) as f64) as usize);
        Self { places, weights: [t + 1.0, t, 1.0 - t, 2.0 - t].map(|distance| cubic(distance) as f32) }
    }
}

/// Keys's kernel with a = −0.75.
fn cubic(x: f64) -> f64 {
    const A: f64 = -0.75;
    if x <= 1.0 { ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0 } else { ((A * x - 5.0 * A) * x + 8.0 * A) * x - 4.0 * A }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_size_is_the_same_table_and_constants_stay() {
        let table: Vec<f32> = (0..2 + 2 * 12).map(|i| (i * i % 7) as f32).collect();
        let same = resized(&table, 1, [3, 4], [3, 4], 2);
        assert!(same.iter().zip(&table).all(|(a, b)| (a - b).abs() < 1e-6), "{same:?}");
        let constant = resized(&[3.0; 9], 0, [3, 3], [7, 5], 1);
        assert_eq!(constant.len(), 35);
        assert!(constant.iter().all(|x| (x - 3.0).abs() < 1e-5), "{constant:?}");
    }
}
