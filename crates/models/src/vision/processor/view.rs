//! Which part of a picture is taken, and which way round: as the processor does, or at random for training.

use loract_autograd::Rng;

/// What is seen of a picture.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum View {
    /// What the processor makes of it.
    Whole,
    /// What is drawn: the same stream gives the same view.
    Random {
        /// What may be drawn.
        augment: Augment,
        /// Whence; named by seed, step and row, say.
        draws: Rng,
    },
}

/// What may happen to a picture.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Augment {
    /// Which part is taken.
    pub crop: Crop,
    /// Whether it is mirrored.
    pub flip: Flip,
}

/// Which part of a picture is taken.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Crop {
    /// As the processor does.
    Processor,
    /// A part of random size and proportions, resized to what comes out (torchvision's `RandomResizedCrop`).
    RandomResized {
        /// Least and largest part of the picture's area, in (0, 1].
        area: [f64; 2],
        /// Least and largest width over height, drawn evenly by its logarithm.
        aspect: [f64; 2],
    },
}

impl Crop {
    /// With torchvision's own bounds: 8 % to all of the area, proportions of 3:4 to 4:3.
    pub const RANDOM_RESIZED: Self = Crop::RandomResized { area: [0.08, 1.0], aspect: [3.0 / 4.0, 4.0 / 3.0] };

    /// Top and left, height and width of the part; nothing if the processor does as it does. Draws 32 numbers.
    pub(super) fn draw(self, [height, width]: [usize; 2], draws: &mut Rng) -> Option<([usize; 2], [usize; 2])> {
        let tries: [[f64; 4]; TRIES] = std::array::from_fn(|_| std::array::from_fn(|_| f64::from(draws.uniform())));
        let Crop::RandomResized { area, aspect } = self else { return None };
        let between = |[low, high]: [f64; 2], u: f64| low + (high - low) * u;
        let whole = (height * width) as f64;
        for [of_area, of_aspect, of_top, of_left] in tries {
            let area = whole * between(area, of_area);
            let ratio = between(aspect.map(f64::ln), of_aspect).exp();
            let (tall, wide) = ((area / ratio).sqrt().round() as usize, (area * ratio).sqrt().round() as usize);
            if (1..=height).contains(&tall) && (1..=width).contains(&wide) {
                let place = |left: usize, u: f64| (((left + 1) as f64 * u) as usize).min(left);
                return Some(([place(height - tall, of_top), place(width - wide, of_left)], [tall, wide]));
            }
        }
        Some(middle([height, width], aspect))
    }
}

/// How often a part is drawn before the middle is taken: a long and thin picture has few parts of such proportions.
const TRIES: usize = 8;

/// The largest part in the middle of such proportions.
fn middle([height, width]: [usize; 2], [low, high]: [f64; 2]) -> ([usize; 2], [usize; 2]) {
    let ratio = width as f64 / height as f64;
    let (tall, wide) = if ratio < low {
        ((width as f64 / low).round() as usize, width)
    } else if ratio > high {
        (height, (height as f64 * high).round() as usize)
    } else {
        (height, width)
    };
    let (tall, wide) = (tall.clamp(1, height), wide.clamp(1, width));
    ([(height - tall) / 2, (width - wide) / 2], [tall, wide])
}

/// Whether a picture is mirrored, left to right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flip {
    /// Never.
    Never,
    /// Every second one, at random.
    Half,
}

impl Flip {
    /// Draws one number.
    pub(super) fn draw(self, draws: &mut Rng) -> bool {
        let drawn = draws.uniform() < 0.5;
        self == Flip::Half && drawn
    }
}
