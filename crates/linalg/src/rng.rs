//! Counter-based random numbers: SplitMix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014).
//!
//! A stream is named by a key made of whatever identifies its use (seed, step, site); the i-th number of a stream can be
//! computed without the ones before. So forward, recomputation and a resumed run see the same numbers.

/// A stream of random numbers, named by its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rng {
    key: u64,
    counter: u64,
}

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl Rng {
    /// The stream named by `parts`; streams of different names are independent for all practical purposes.
    pub fn new(parts: &[u64]) -> Self {
        let key = parts.iter().fold(GOLDEN, |key, &part| mix(key ^ mix(part.wrapping_add(GOLDEN))));
        Self { key, counter: 0 }
    }

    /// The number at place `index` of this stream, whatever was drawn before.
    #[inline]
    pub fn at(&self, index: u64) -> u64 {
        mix(self.key.wrapping_add(index.wrapping_add(1).wrapping_mul(GOLDEN)))
    }

    /// The next number.
    pub fn next_u64(&mut self) -> u64 {
        let value = self.at(self.counter);
        self.counter += 1;
        value
    }

    /// Uniform in [0, 1), 24 bits.
    pub fn uniform(&mut self) -> f32 {
        (self.next_u64() >> 40) as f32 / (1u32 << 24) as f32
    }

    /// Uniform in 0..bound (Lemire's multiply-shift; bias below 2⁻⁶⁴·bound). `bound` must not be 0.
    pub fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.next_u64()) * bound as u128) >> 64) as usize
    }

    /// Standard normal (Box–Muller).
    pub fn normal(&mut self) -> f32 {
        let radius = (-2.0 * (1.0 - f64::from(self.uniform())).ln()).sqrt();
        (radius * (std::f64::consts::TAU * f64::from(self.uniform())).cos()) as f32
    }

    /// The two standard normal numbers at place `index` of a stream of its own, whatever was drawn before (Box–Muller).
    #[inline]
    pub fn normal_pair_at(&self, index: u64) -> [f32; 2] {
        let bits = self.at(index);
        // Two uniforms of 32 bits; the first in (0, 1].
        let unit = 1.0 / (1u64 << 32) as f32;
        let first = ((bits >> 32) as f32 + 1.0) * unit;
        let (sin, cos) = (std::f32::consts::TAU * unit * (bits & 0xffff_ffff) as f32).sin_cos();
        let radius = (-2.0 * first.min(1.0).ln()).sqrt();
        [radius * cos, radius * sin]
    }

    /// An order of 0..weights.len() such that its first l entries are a sample without replacement, each draw with
    /// probability proportional to the weight among those left (Efraimidis and Spirakis 2006). Weight 0 comes last.
    pub fn weighted_order(&mut self, weights: &[f64]) -> Vec<usize> {
        let largest = weights.iter().copied().fold(0.0, f64::max);
        let keys: Vec<f64> = weights
            .iter()
            .map(|&w| {
                let u = ((self.next_u64() >> 11) as f64 + 1.0) / (1u64 << 53) as f64;
                // The key's order is that of u^(1/w); the weights' common scale does not matter.
                if w > 0.0 { u.ln() / (w / largest) } else { f64::NEG_INFINITY }
            })
            .collect();
        let mut order: Vec<usize> = (0..weights.len()).collect();
        order.sort_by(|&i, &j| keys[j].total_cmp(&keys[i]).then(i.cmp(&j)));
        order
    }

    /// A uniform sample of `count` of 0..bound without replacement, ascending (partial Fisher–Yates).
    /// Takes all of them if `count ≥ bound`.
    pub fn sample(&mut self, bound: usize, count: usize) -> Vec<usize> {
        let mut all: Vec<usize> = (0..bound).collect();
        let count = count.min(bound);
        for i in 0..count {
            let j = i + self.below(bound - i);
            all.swap(i, j);
        }
        all.truncate(count);
        all.sort_unstable();
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sample_is_without_replacement_and_covers() {
        let mut hits = [0usize; 20];
        for seed in 0..400 {
            let chosen = Rng::new(&[seed]).sample(20, 5);
            assert_eq!(chosen.len(), 5);
            assert!(chosen.windows(2).all(|w| w[0] < w[1]));
            chosen.iter().for_each(|&i| hits[i] += 1);
        }
        // Expected 100 each; five standard deviations are about 43.
        assert!(hits.iter().all(|&h| (57..=143).contains(&h)), "{hits:?}");
        assert_eq!(Rng::new(&[1]).sample(3, 9), vec![0, 1, 2]);
    }

    #[test]
    fn weighted_order_draws_by_weight_and_leaves_zeros_last() {
        let mut first = [0usize; 4];
        for seed in 0..4000 {
            let order = Rng::new(&[seed]).weighted_order(&[1.0, 0.0, 2.0, 5.0]);
            assert_eq!((order.len(), order[3]), (4, 1));
            first[order[0]] += 1;
        }
        // Expected 500, 0, 1000, 2500; five standard deviations are at most 155.
        assert!(first[0].abs_diff(500) < 155 && first[2].abs_diff(1000) < 155, "{first:?}");
    }

    #[test]
    fn streams_differ_by_every_part_and_normals_have_unit_variance() {
        assert_ne!(Rng::new(&[1, 2]).next_u64(), Rng::new(&[2, 1]).next_u64());
        let mut rng = Rng::new(&[7]);
        let draws: Vec<f32> = (0..20_000).map(|_| rng.normal()).collect();
        let mean = draws.iter().sum::<f32>() / 20_000.0;
        let var = draws.iter().map(|x| x * x).sum::<f32>() / 20_000.0;
        assert!(mean.abs() < 0.04 && (var - 1.0).abs() < 0.05, "{mean} {var}");
        let moment = |p: i32| {
            (0..10_000).flat_map(|i| rng.normal_pair_at(i)).map(|x| f64::from(x).powi(p)).sum::<f64>() / 20_000.0
        };
        assert!(moment(1).abs() < 0.04 && (moment(2) - 1.0).abs() < 0.05 && (moment(4) - 3.0).abs() < 0.3);
    }
}
