//! Memory cut into consecutive parts, each for a task.

/// Splits `data` into consecutive parts of the given lengths.
pub(crate) fn split(mut data: &mut [f32], lengths: impl Iterator<Item = usize>) -> Vec<&mut [f32]> {
    lengths
        .map(|len| {
            let (part, rest) = std::mem::take(&mut data).split_at_mut(len);
            data = rest;
            part
        })
        .collect()
}
