//! Long series in few points: of each stretch of steps the least and the greatest value, so that no peak is lost.

/// Points that are drawn as they are.
pub const MOST: usize = 800;

/// The points, or the least and the greatest of each stretch, in order; and how many points a stretch has (1: all are
/// there). Values that are no number are left out.
pub fn thin(points: &[(f64, f64)]) -> (Vec<(f64, f64)>, usize) {
    let points: Vec<(f64, f64)> = points.iter().copied().filter(|(x, y)| x.is_finite() && y.is_finite()).collect();
    if points.len() <= MOST {
        return (points, 1);
    }
    let stretch = points.len().div_ceil(MOST / 2);
    let mut kept = Vec::with_capacity(MOST);
    for part in points.chunks(stretch) {
        let by_value = |a: &&(f64, f64), b: &&(f64, f64)| a.1.total_cmp(&b.1);
        let (least, greatest) = (part.iter().min_by(by_value), part.iter().max_by(by_value));
        let mut pair: Vec<(f64, f64)> = least.into_iter().chain(greatest).copied().collect();
        pair.sort_by(|a, b| a.0.total_cmp(&b.0));
        pair.dedup();
        kept.extend(pair);
    }
    (kept, stretch)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_points_stay_and_of_many_the_extremes() {
        let points: Vec<(f64, f64)> = (0..100_000).map(|i| (f64::from(i), f64::from(i * 7919 % 100_003))).collect();
        assert_eq!(thin(&points[..MOST]), (points[..MOST].to_vec(), 1));
        let (kept, stretch) = thin(&points);
        assert!(kept.len() <= MOST && kept.len() > MOST / 2, "{}", kept.len());
        assert_eq!(stretch, 250);
        assert!(kept.is_sorted_by(|a, b| a.0 < b.0));
        for part in points.chunks(stretch) {
            let inside: Vec<f64> =
                kept.iter().filter(|p| (part[0].0..=part[stretch - 1].0).contains(&p.0)).map(|p| p.1).collect();
            let extreme = |of: fn(f64, f64) -> f64, values: &[f64]| values.iter().copied().reduce(of);
            let all: Vec<f64> = part.iter().map(|p| p.1).collect();
            assert_eq!(extreme(f64::min, &inside), extreme(f64::min, &all));
            assert_eq!(extreme(f64::max, &inside), extreme(f64::max, &all));
        }
        assert!(thin(&[(1.0, f64::NAN)]).0.is_empty());
    }
}
