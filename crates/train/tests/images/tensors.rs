//! `pixel_values`.

use super::*;

/// A safetensors file of 3 pictures of 1×2×2 with these labels.
fn tensors(name: &str, shape: &[usize], labels: Option<(&str, &[usize], &[i64])>) -> Outcome<Vec<u8>> {
    let numbers: Vec<u8> = (0..shape.iter().product::<usize>()).flat_map(|i| (i as f32).to_le_bytes()).collect();
    let mut header = serde_json::json!({name: {"dtype": "F32", "shape": shape, "data_offsets": [0, numbers.len()]}});
    let mut bytes = numbers;
    if let Some((dtype, shape, labels)) = labels {
        let start = bytes.len();
        bytes.extend(labels.iter().flat_map(|label| label.to_le_bytes()));
        header["labels"] = serde_json::json!({"dtype": dtype, "shape": shape, "data_offsets": [start, bytes.len()]});
    }
    let header = header.to_string();
    Ok([&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &bytes].concat())
}

#[test]
fn pixel_values_are_taken_as_they_are() -> Outcome {
    let scratch = Scratch::new("tensors")?;
    let labels = Some(("I64", &[3][..], &[2, 0, 1][..]));
    let path = scratch.write("p.safetensors", &tensors("pixel_values", &[3, 1, 2, 2], labels)?)?;
    let set = open(&path)?;
    assert_eq!(
        (set.len(), set.classes(), set.all_labels()?),
        (3, &["0", "1", "2"].map(str::to_owned)[..], vec![2, 0, 1])
    );
    let processor = plain(2)?;
    assert_eq!(set.pixels(1, &processor, View::Whole)?, [4.0, 5.0, 6.0, 7.0]);
    assert!(set.name(1).ends_with("p.safetensors picture 2"));
    let random = View::Random { augment: Augment { crop: Crop::Processor, flip: Flip::Half }, draws: Rng::new(&[1]) };
    says(&told(set.pixels(1, &processor, random)), &["taken as they are"]);
    set.fits(&processor)?;
    let other = plain(8)?.with_channels(3)?;
    says(&told(set.fits(&other)), &["hold pictures of 1x2x2 (channels, height, width), and the model takes 3x8x8"]);
    says(&told(set.pixels(0, &other, View::Whole)), &["3x8x8"]);
    let unlabelled = open(&scratch.write("q.safetensors", &tensors("pixel_values", &[3, 1, 2, 2], None)?)?)?;
    says(&told(unlabelled.all_labels()), &["picture 1 has no label; add a tensor `labels`"]);
    assert_ne!(unlabelled.fingerprint()?, set.fingerprint()?);
    assert_eq!(skipping(&path)?.fingerprint()?, set.fingerprint()?);
    Ok(())
}

#[test]
fn damaged_pixel_values_are_refused() -> Outcome {
    let scratch = Scratch::new("bad-tensors")?;
    let whole = tensors("pixel_values", &[3, 1, 2, 2], None)?;
    let labelled = |dtype: &str, shape: &[usize], labels: &[i64]| {
        tensors("pixel_values", &[3, 1, 2, 2], Some((dtype, shape, labels)))
    };
    let header = |text: &str| [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat();
    for (bytes, words) in [
        (
            tensors("images", &[3, 1, 2, 2], None)?,
            "it has no tensor pixel_values (N, channels, height, width); it has images",
        ),
        (tensors("pixel_values", &[3, 4], None)?, "pixel_values are of shape [3, 4], expected"),
        (tensors("pixel_values", &[0, 1, 2, 2], None)?, "none of them 0"),
        (labelled("I64", &[2], &[0, 1])?, "labels are of shape [2], and there are 3 pictures"),
        (labelled("F64", &[3], &[0, 1, 0])?, "labels are F64, expected I64"),
        (labelled("I64", &[3], &[0, -1, 0])?, "label -1 of picture 2 is no class"),
        (labelled("I64", &[3], &[0, 1 << 31, 0])?, "more than 1048576 classes are not believed"),
        (whole[..whole.len() - 1].to_vec(), "bytes long, and its header says"),
        (whole[..20].to_vec(), "not a safetensors file"),
        (Vec::new(), "not a safetensors file"),
        (u64::MAX.to_le_bytes().to_vec(), "its header would be 18446744073709551615 bytes long"),
        (
            header(r#"{"pixel_values":{"dtype":"F32","shape":[4294967296,4294967296,9,9],"data_offsets":[0,16]}}"#),
            "not a safetensors file",
        ),
        (header(r#"{"pixel_values":{"dtype":"F16","shape":[1,1,1,0],"data_offsets":[0,0]}}"#), "none of them 0"),
        (
            header(r#"{"pixel_values":{"dtype":"F32","shape":[1,1,1,4],"data_offsets":[0,8]}}"#),
            "not a safetensors file",
        ),
    ] {
        let path = scratch.write("bad.safetensors", &bytes)?;
        says(&told(open(&path)), &[words, "bad.safetensors"]);
    }
    Ok(())
}
