//! In which order rows come: file order or a new shuffle each epoch, for ever.

use loract_autograd::Rng;

/// An endless order of 0..rows. With a seed, epoch e is the shuffle named (seed, e); without, file order again and again.
#[derive(Debug, Clone)]
pub struct Order {
    rows: usize,
    seed: Option<u64>,
    taken: usize,
    epoch: Option<usize>,
    shuffled: Vec<usize>,
}

impl Order {
    /// # Panics
    /// If there are no rows.
    pub fn new(rows: usize, shuffle_seed: Option<u64>) -> Self {
        assert!(rows > 0, "an order of no rows");
        Self { rows, seed: shuffle_seed, taken: 0, epoch: None, shuffled: Vec::new() }
    }

    /// Goes on as if `taken` rows had been taken.
    pub fn skip_to(&mut self, taken: usize) {
        self.taken = taken;
    }

    /// Rows taken so far.
    pub fn taken(&self) -> usize {
        self.taken
    }

    /// The next `count` rows; they may go over the end of an epoch.
    pub fn take(&mut self, count: usize) -> Vec<usize> {
        (0..count).map(|_| self.next_row()).collect()
    }

    fn next_row(&mut self) -> usize {
        let (epoch, place) = (self.taken / self.rows, self.taken % self.rows);
        self.taken += 1;
        let Some(seed) = self.seed else { return place };
        if self.epoch != Some(epoch) {
            self.epoch = Some(epoch);
            self.shuffled = (0..self.rows).collect();
            let mut rng = Rng::new(&[seed, 0x5eed, epoch as u64]);
            for i in (1..self.rows).rev() {
                self.shuffled.swap(i, rng.below(i + 1));
            }
        }
        self.shuffled[place]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_order_wraps_and_shuffles_are_permutations() {
        assert_eq!(Order::new(3, None).take(7), [0, 1, 2, 0, 1, 2, 0]);
        let mut order = Order::new(50, Some(1));
        let (mut first, mut second) = (order.take(50), order.take(50));
        assert_ne!(first, second);
        first.sort_unstable();
        second.sort_unstable();
        assert_eq!(first, (0..50).collect::<Vec<_>>());
        assert_eq!(first, second);
        assert_eq!(Order::new(50, Some(1)).take(20), Order::new(50, Some(1)).take(20));
        let (mut whole, mut resumed) = (Order::new(7, Some(3)), Order::new(7, Some(3)));
        whole.take(17);
        resumed.skip_to(17);
        assert_eq!(resumed.taken(), whole.taken());
        assert_eq!(resumed.take(20), whole.take(20));
    }
}
