//! Sizes with a unit, as typed.

use loract_train::Error;

/// The bytes that `text`, the value of the flag `key`, means.
pub fn read_bytes(key: &'static str, text: &str) -> Result<usize, Error> {
    let wrong = || Error::Setting { key, what: format!("`{text}` is not a size such as 4GB or 900MB") };
    let split = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let unit = match unit.trim().to_ascii_uppercase().as_str() {
        "" | "B" => 1.0,
        "KB" => 1e3,
        "MB" => 1e6,
        "GB" => 1e9,
        _ => return Err(wrong()),
    };
    let number: f64 = number.trim().parse().map_err(|_| wrong())?;
    if number > 0.0 && number.is_finite() { Ok((number * unit) as usize) } else { Err(wrong()) }
}
