//! In which order rows come, file order or a new shuffle each epoch, for ever; and how many make a micro-batch.

use loract_autograd::Rng;

use super::Dataset;

/// When a micro-batch is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filling {
    /// At so many rows.
    Rows(usize),
    /// When the next row would bring it over so many tokens; it has one row at least.
    Tokens(usize),
}

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

    /// The rows of the next micro-batch; they may go over the end of an epoch.
    pub fn micro_batch(&mut self, filling: Filling, data: &Dataset) -> Vec<usize> {
        let most = match filling {
            Filling::Rows(count) => return self.take(count),
            Filling::Tokens(most) => most,
        };
        let tokens = |row: usize| data.examples()[row].row.ids.len();
        let mut rows = self.take(1);
        let mut sum = tokens(rows[0]);
        loop {
            let before = self.taken;
            let row = self.next_row();
            sum += tokens(row);
            if sum > most {
                self.taken = before;
                return rows;
            }
            rows.push(row);
        }
    }

    /// Steps of `grad_accum` micro-batches until every row has come once.
    pub fn steps_an_epoch(mut self, filling: Filling, data: &Dataset, grad_accum: usize) -> u64 {
        let mut batches = 0usize;
        while self.taken < self.rows {
            self.micro_batch(filling, data);
            batches += 1;
        }
        batches.div_ceil(grad_accum) as u64
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

/// Most epochs that a micro-batch of `count` of `rows` rows reaches into; a row comes once in each. Where one fits into the
/// other a whole number of times, an epoch ends only where a micro-batch does.
pub(super) fn epochs_in(count: usize, rows: usize) -> usize {
    let rows = rows.max(1);
    if rows.is_multiple_of(count) || count.is_multiple_of(rows) { count.div_ceil(rows) } else { (count - 2) / rows + 2 }
}

#[cfg(test)]
mod tests {
    use loract_models::Row;

    use super::*;

    /// What a fuzz run found: where a shuffle ends and another begins, a row may come twice in one micro-batch.
    #[test]
    fn no_micro_batch_is_larger_than_planned() {
        for (rows, count) in (1..7).flat_map(|rows| (1..10).map(move |count| (rows, count))) {
            let lengths = (0..rows).map(|row| 2 << row);
            let data = Dataset::from_rows("x", lengths.map(|len| Row::all(vec![1; len])).collect());
            let tokens = |batch: &[usize]| batch.iter().map(|&row| data.examples()[row].row.ids.len()).sum::<usize>();
            let planned = data.longest_rows(Filling::Rows(count));
            let planned = planned.iter().map(|row| row.ids.len()).sum::<usize>();
            let largest = (0..60).map(|seed| {
                let mut order = Order::new(rows, Some(seed));
                (0..60).map(|_| tokens(&order.micro_batch(Filling::Rows(count), &data))).max().unwrap_or(0)
            });
            let largest = largest.max().unwrap_or(0);
            assert!(largest <= planned, "{count} of {rows} rows: {largest} tokens, planned for {planned}");
            if (rows, count) == (4, 3) {
                assert_eq!((largest, planned), (16 + 16 + 8, 16 + 16 + 8));
            }
        }
    }

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

    #[test]
    fn packed_micro_batches_hold_whole_rows_and_are_never_larger_than_planned() {
        let lengths = [7, 3, 5, 7, 2, 6, 3, 4];
        let rows = lengths.map(|n| Row::all(vec![1; n])).to_vec();
        let data = Dataset::from_rows("rows", rows);
        let tokens = |rows: &[usize]| rows.iter().map(|&row| lengths[row]).sum::<usize>();
        for most in [7, 9, 16, 100] {
            let filling = Filling::Tokens(most);
            let planned = data.longest_rows(filling).iter().map(|row| row.ids.len()).sum::<usize>();
            assert_eq!(planned, most);
            let (mut packed, mut plain) = (Order::new(8, Some(3)), Order::new(8, Some(3)));
            for _ in 0..20 {
                let rows = packed.micro_batch(filling, &data);
                assert_eq!(rows, plain.take(rows.len()), "rows come in the order they would come in one by one");
                // Full: the next row would not have fitted.
                let next = plain.clone().take(1);
                assert!(tokens(&rows) <= most && tokens(&rows) + tokens(&next) > most);
            }
        }
        let steps = |filling, accum| Order::new(8, None).steps_an_epoch(filling, &data, accum);
        // 7 3 5 | 7 2 6 | 3 4 and the first again.
        assert_eq!((steps(Filling::Tokens(16), 1), steps(Filling::Tokens(16), 2)), (3, 2));
        assert_eq!((steps(Filling::Rows(3), 1), steps(Filling::Rows(3), 2)), (3, 2));
    }
}
