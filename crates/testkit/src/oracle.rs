//! The ops of `loract-autograd` as plain loops in f64: what their fast, f32, blocked and compressed versions must equal.
//!
//! Matrices are row-major slices; shapes in the alphabet of `method.md`. Written from the definitions, not from the
//! code under test; nothing here is quick.

use std::ops::Range;

/// a (m×k) · bᵀ for b (n×k), m×n.
pub fn times_transposed(a: &[f64], b: &[f64], k: usize) -> Vec<f64> {
    let dot = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| x * y).sum::<f64>();
    a.chunks_exact(k).flat_map(|x| b.chunks_exact(k).map(move |y| dot(x, y))).collect()
}

/// The transpose of a (m×n), n×m.
pub fn transpose(a: &[f64], n: usize) -> Vec<f64> {
    (0..n).flat_map(|j| a.chunks_exact(n).map(move |row| row[j])).collect()
}

/// aᵀ·b for a (m×p) and b (m×q), p×q.
pub fn transposed_times(a: &[f64], p: usize, b: &[f64], q: usize) -> Vec<f64> {
    times_transposed(&transpose(a, p), &transpose(b, q), a.len() / p)
}

/// Row `ids[i]` of `table` (V×cols) as row i.
pub fn embedding(table: &[f64], cols: usize, ids: &[u32]) -> Vec<f64> {
    ids.iter().flat_map(|&id| table[id as usize * cols..(id as usize + 1) * cols].to_vec()).collect()
}

/// A LoRA pair: A r×in, B out×r, s, and what the branch's input is multiplied by (m×in), if it has dropout.
#[derive(Debug, Clone, Copy)]
pub struct Lora<'a> {
    /// A.
    pub a: &'a [f64],
    /// B.
    pub b: &'a [f64],
    /// r.
    pub rank: usize,
    /// s.
    pub scale: f64,
    /// 0 or 1/(1−p) for each element of x.
    pub mask: Option<&'a [f64]>,
}

/// x·Wᵀ + b + s·(mask∘x·Aᵀ)·Bᵀ for x (m×inputs) and W (out×inputs), m×out.
pub fn linear(x: &[f64], inputs: usize, w: &[f64], bias: Option<&[f64]>, lora: Option<Lora<'_>>) -> Vec<f64> {
    let outputs = w.len() / inputs;
    let mut y = times_transposed(x, w, inputs);
    if let Some(bias) = bias {
        y.chunks_exact_mut(outputs).for_each(|row| row.iter_mut().zip(bias).for_each(|(y, b)| *y += b));
    }
    if let Some(lora) = lora {
        let input = lora.mask.map_or_else(|| x.to_vec(), |mask| product(x, mask));
        let branch = times_transposed(&times_transposed(&input, lora.a, inputs), lora.b, lora.rank);
        y.iter_mut().zip(branch).for_each(|(y, b)| *y += lora.scale * b);
    }
    y
}

/// x / √(mean(x²) + eps) of each row, times `weight`.
pub fn rms_norm(x: &[f64], weight: &[f64], eps: f64) -> Vec<f64> {
    let n = weight.len();
    x.chunks_exact(n)
        .flat_map(|row| {
            let rms = (row.iter().map(|x| x * x).sum::<f64>() / n as f64 + eps).sqrt();
            row.iter().zip(weight).map(move |(x, w)| x / rms * w)
        })
        .collect()
}

/// Each group of `width` numbers less its mean; LayerNorm is this, and then [`rms_norm`].
pub fn centred(x: &[f64], width: usize) -> Vec<f64> {
    let less_mean = |group: &[f64]| {
        let mean = group.iter().sum::<f64>() / width as f64;
        group.iter().map(|x| x - mean).collect::<Vec<_>>()
    };
    x.chunks_exact(width).flat_map(less_mean).collect()
}

/// How heads turn.
#[derive(Debug, Clone, Copy)]
pub struct Turned {
    /// D; two features for each frequency turn.
    pub head_dim: usize,
    /// Whether neighbours turn together, instead of a feature of the first half with one of the second.
    pub neighbours: bool,
    /// Multiplies what turns.
    pub amplitude: f64,
}

/// Each head of x (m×`cols`) turned; row t by the angles `turns[t]`·frequency.
pub fn rope(x: &[f64], cols: usize, frequencies: &[f64], turns: &[f64], heads: Turned) -> Vec<f64> {
    let half = frequencies.len();
    let mut y = x.to_vec();
    for (row, turn) in turns.iter().enumerate() {
        for head in (0..cols).step_by(heads.head_dim) {
            for (i, frequency) in frequencies.iter().enumerate() {
                let (sin, cos) = (turn * frequency).sin_cos();
                let (re, im) = if heads.neighbours { (2 * i, 2 * i + 1) } else { (i, half + i) };
                let (re, im) = (row * cols + head + re, row * cols + head + im);
                y[re] = heads.amplitude * (x[re] * cos - x[im] * sin);
                y[im] = heads.amplitude * (x[re] * sin + x[im] * cos);
            }
        }
    }
    y
}

/// Heads of an attention.
#[derive(Debug, Clone, Copy)]
pub struct Heads {
    /// H.
    pub heads: usize,
    /// Key/value heads.
    pub kv_heads: usize,
    /// D.
    pub head_dim: usize,
    /// Multiplies q·k.
    pub scale: f64,
    /// Scores s become cap·tanh(s/cap).
    pub softcap: Option<f64>,
}

impl Heads {
    /// Scale 1/√D, no cap.
    pub fn plain(heads: usize, kv_heads: usize, head_dim: usize) -> Self {
        Self { heads, kv_heads, head_dim, scale: 1.0 / (head_dim as f64).sqrt(), softcap: None }
    }
}

/// Softmax attention within each of `sequences` (row ranges), m×H·D; row i sees row j if `sees(i, j)`.
pub fn attention(
    [q, k, v]: [&[f64]; 3],
    shape: Heads,
    sees: impl Fn(usize, usize) -> bool,
    sequences: &[Range<usize>],
) -> Vec<f64> {
    let Heads { heads, kv_heads, head_dim: d, scale, softcap } = shape;
    let mut o = vec![0.0; q.len()];
    let at = |row: usize, heads: usize, head: usize| (row * heads + head) * d..(row * heads + head + 1) * d;
    for sequence in sequences {
        for row in sequence.clone() {
            let seen: Vec<usize> = sequence.clone().filter(|&key| sees(row, key)).collect();
            for head in 0..heads {
                let kv_head = head * kv_heads / heads;
                let score = |&key: &usize| {
                    let (q, k) = (&q[at(row, heads, head)], &k[at(key, kv_heads, kv_head)]);
                    let score = scale * q.iter().zip(k).map(|(q, k)| q * k).sum::<f64>();
                    softcap.map_or(score, |cap| cap * (score / cap).tanh())
                };
                let scores: Vec<f64> = seen.iter().map(score).collect();
                let most = scores.iter().copied().fold(f64::MIN, f64::max);
                let weights: Vec<f64> = scores.iter().map(|s| (s - most).exp()).collect();
                let sum: f64 = weights.iter().sum();
                for (&key, weight) in seen.iter().zip(&weights) {
                    let v = &v[at(key, kv_heads, kv_head)];
                    o[at(row, heads, head)].iter_mut().zip(v).for_each(|(o, v)| *o += weight / sum * v);
                }
            }
        }
    }
    o
}

/// The error function: 2/√π·e^(−x²)·Σ 2ⁿ·x^(2n+1)/(1·3⋯(2n+1)), a series of terms of one sign; 1 beyond 6, to f64.
pub fn erf(x: f64) -> f64 {
    if x.abs() > 6.0 {
        return x.signum();
    }
    let (mut term, mut sum, mut odd) = (x, 0.0f64, 1.0);
    while term.abs() > 1e-17 * sum.abs() {
        sum += term;
        odd += 2.0;
        term *= 2.0 * x * x / odd;
    }
    std::f64::consts::FRAC_2_SQRT_PI * (-x * x).exp() * sum
}

/// x·σ(x).
pub fn silu(x: f64) -> f64 {
    x / (1.0 + (-x).exp())
}

/// x·Φ(x).
pub fn gelu(x: f64) -> f64 {
    x * (1.0 + erf(x / 2f64.sqrt())) / 2.0
}

/// GELU's approximation by tanh.
pub fn gelu_tanh(x: f64) -> f64 {
    x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3))).tanh()) / 2.0
}

/// x·σ(1.702·x).
pub fn quick_gelu(x: f64) -> f64 {
    x / (1.0 + (-1.702 * x).exp())
}

/// The larger of x and 0.
pub fn relu(x: f64) -> f64 {
    x.max(0.0)
}

/// f(gate)·up.
pub fn gated(f: impl Fn(f64) -> f64, gate: &[f64], up: &[f64]) -> Vec<f64> {
    gate.iter().zip(up).map(|(&g, u)| f(g) * u).collect()
}

/// gate·σ(gate)·up.
pub fn swiglu(gate: &[f64], up: &[f64]) -> Vec<f64> {
    gated(silu, gate, up)
}

/// The `top_k` likeliest experts of each row of logits (m×experts) with their probabilities, a softmax over all experts; of
/// equally likely ones the first.
pub fn route(logits: &[f64], experts: usize, top_k: usize) -> Vec<Vec<(usize, f64)>> {
    let of_row = |row: &[f64]| {
        let sum: f64 = row.iter().map(|z| z.exp()).sum();
        let mut all: Vec<_> = row.iter().map(|z| z.exp() / sum).enumerate().collect();
        all.sort_by(|(_, a), (_, b)| b.total_cmp(a));
        all.truncate(top_k);
        all
    };
    logits.chunks_exact(experts).map(of_row).collect()
}

/// x + y.
pub fn add(x: &[f64], y: &[f64]) -> Vec<f64> {
    x.iter().zip(y).map(|(x, y)| x + y).collect()
}

/// x∘y.
pub fn product(x: &[f64], y: &[f64]) -> Vec<f64> {
    x.iter().zip(y).map(|(x, y)| x * y).collect()
}

/// A head: W (V×C), b (1×V), what multiplies both, and the cap.
#[derive(Debug, Clone, Copy)]
pub struct Head<'a> {
    /// W.
    pub weight: &'a [f64],
    /// b.
    pub bias: Option<&'a [f64]>,
    /// Multiplies x·Wᵀ + b.
    pub scale: f64,
    /// Logits z become cap·tanh(z/cap).
    pub softcap: Option<f64>,
}

/// Logits of x (m×cols), m×V.
pub fn logits(x: &[f64], cols: usize, head: Head<'_>) -> Vec<f64> {
    let z = linear(x, cols, head.weight, head.bias, None);
    let finish = |z: f64| head.softcap.map_or(z * head.scale, |cap| cap * (z * head.scale / cap).tanh());
    z.into_iter().map(finish).collect()
}

/// −log softmax of the logits at token, of each (row, token); x is m×cols.
pub fn cross_entropy(x: &[f64], cols: usize, head: Head<'_>, rows: &[u32], tokens: &[u32]) -> Vec<f64> {
    let nll = |(&row, &token): (&u32, &u32)| {
        let row = row as usize * cols;
        let logits = logits(&x[row..row + cols], cols, head);
        logits.iter().map(|z| z.exp()).sum::<f64>().ln() - logits[token as usize]
    };
    rows.iter().zip(tokens).map(nll).collect()
}

/// ∂f/∂x by central differences with step h = 1e-5: off by h²·f‴/6 and by 1e-16·|f|/h, both below 1e-9 for values and
/// derivatives of order 1.
pub fn central_differences(x: &[f64], f: impl Fn(&[f64]) -> f64) -> Vec<f64> {
    const H: f64 = 1e-5;
    let mut x = x.to_vec();
    (0..x.len())
        .map(|i| {
            let here = x[i];
            x[i] = here + H;
            let above = f(&x);
            x[i] = here - H;
            let below = f(&x);
            x[i] = here;
            (above - below) / (2.0 * H)
        })
        .collect()
}

/// ‖got − want‖ / ‖want‖; the norm of `got` if `want` is zero.
pub fn relative_error(got: &[f32], want: &[f64]) -> f64 {
    assert_eq!(got.len(), want.len(), "lengths");
    let norm = |x: &mut dyn Iterator<Item = f64>| x.map(|x| x * x).sum::<f64>().sqrt();
    let off = norm(&mut got.iter().zip(want).map(|(&g, w)| f64::from(g) - w));
    let size = norm(&mut want.iter().copied());
    if size == 0.0 { off } else { off / size }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By hand: numbers small enough to check without a machine.
    #[test]
    fn oracles_agree_with_hand_worked_values() {
        assert_eq!(times_transposed(&[1.0, 2.0, 3.0, 4.0], &[5.0, 6.0], 2), [17.0, 39.0]);
        assert_eq!(transposed_times(&[1.0, 2.0, 3.0, 4.0], 2, &[1.0, 1.0], 1), [4.0, 6.0]);
        let lora = Lora { a: &[1.0, 1.0], b: &[2.0], rank: 1, scale: 0.5, mask: Some(&[0.0, 2.0]) };
        assert_eq!(linear(&[3.0, 4.0], 2, &[1.0, 0.0], Some(&[10.0]), Some(lora)), [21.0]);
        assert_eq!(rms_norm(&[3.0, 4.0], &[1.0, 2.0], 3.5), [0.75, 2.0]);
        assert_eq!(centred(&[3.0, 5.0, 1.0, 2.0], 2), [-1.0, 1.0, -0.5, 0.5]);
        assert_eq!(embedding(&[1.0, 2.0], 1, &[1, 0, 1]), [2.0, 1.0, 2.0]);
        let by_half = Turned { head_dim: 4, neighbours: false, amplitude: 2.0 };
        let turned = |heads| rope(&[1.0, 0.0, 5.0, 7.0], 4, &[std::f64::consts::FRAC_PI_2], &[1.0], heads);
        // Features 0 and 1 are the halves of those that turn, and neighbours.
        for heads in [by_half, Turned { neighbours: true, ..by_half }] {
            let quarter = turned(heads);
            assert!(quarter[0].abs() < 1e-15 && quarter[1..] == [2.0, 5.0, 7.0], "{quarter:?}");
        }
        for (x, want) in
            [(0.5, 0.520_499_877_813_046_5), (-1.0, -0.842_700_792_949_714_9), (2.0, 0.995_322_265_018_952_7)]
        {
            assert!((erf(x) - want).abs() < 1e-15, "{x}");
        }
        assert_eq!((erf(0.0), erf(f64::INFINITY), erf(7.0)), (0.0, 1.0, 1.0));
        // Two keys with scores 0 and ln 3: weights 1/4 and 3/4.
        let inputs = [&[0.0, 1.0][..], &[0.0, 3f64.ln()], &[4.0, 8.0]];
        let o = attention(inputs, Heads::plain(1, 1, 1), |i, j| j <= i, std::slice::from_ref(&(0..2)));
        assert!((o[0] - 4.0).abs() < 1e-14 && (o[1] - 7.0).abs() < 1e-14);
        // The first query's scores are both 0 and it sees both keys.
        let o = attention(inputs, Heads::plain(1, 1, 1), |_, _| true, std::slice::from_ref(&(0..2)));
        assert!((o[0] - 6.0).abs() < 1e-14 && (o[1] - 7.0).abs() < 1e-14);
        let head = Head { weight: &[0.0, 3f64.ln()], bias: None, scale: 1.0, softcap: None };
        assert!((cross_entropy(&[1.0], 1, head, &[0], &[0])[0] - 4f64.ln()).abs() < 1e-14);
        // 2·(0 + ½) and 2·(ln 3 − ½), capped at 1.
        let capped = Head { bias: Some(&[0.5, -0.5]), scale: 2.0, softcap: Some(1.0), ..head };
        let want = [1f64.tanh(), (2.0 * 3f64.ln() - 1.0).tanh()];
        assert!(logits(&[1.0], 1, capped).iter().zip(want).all(|(got, want)| (got - want).abs() < 1e-14));
        let third = route(&[0.0, 2f64.ln(), 0.0], 3, 2);
        assert!((third[0][0].1 - 0.5).abs() < 1e-14 && (third[0][0].0, third[0][1].0) == (1, 0));
        let slope = central_differences(&[2.0, 3.0], |x| x[0] * x[0] * x[1]);
        assert!((slope[0] - 12.0).abs() < 1e-8 && (slope[1] - 4.0).abs() < 1e-8);
    }
}
