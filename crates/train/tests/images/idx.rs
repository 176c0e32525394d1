//! IDX files.

use super::*;

/// An IDX file of pictures: their grey is their number.
fn idx_images(magic: u32, said: u32, [height, width]: [u32; 2], held: usize) -> Vec<u8> {
    let header = [magic, said, height, width].into_iter().flat_map(u32::to_be_bytes);
    let size = (height as usize).saturating_mul(width as usize).min(64);
    header.chain((0..held).flat_map(|i| std::iter::repeat_n(i as u8, size))).collect()
}

fn idx_labels(said: u32, labels: &[u8]) -> Vec<u8> {
    [0x801, said].into_iter().flat_map(u32::to_be_bytes).chain(labels.iter().copied()).collect()
}

fn gzip(bytes: &[u8]) -> Outcome<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes)?;
    Ok(encoder.finish()?)
}

const PICTURES: &str = "train-images-idx3-ubyte";
const LABELS: &str = "train-labels-idx1-ubyte";

#[test]
fn idx_is_read_plain_or_compressed_with_its_labels() -> Outcome {
    let scratch = Scratch::new("idx")?;
    let (images, labels) = (idx_images(0x803, 5, [3, 2], 5), idx_labels(5, &[3, 0, 1, 3, 2]));
    let plain_set = scratch.write(&format!("plain/{PICTURES}"), &images)?;
    says(&told(open(&plain_set)?.all_labels()), &["picture 1 has no label; put the file …-labels-idx1-ubyte beside"]);
    scratch.write(&format!("plain/{LABELS}"), &labels)?;
    scratch.write(&format!("gz/{PICTURES}.gz"), &gzip(&images)?)?;
    scratch.write(&format!("gz/{LABELS}.gz"), &gzip(&labels)?)?;
    let set = open(&plain_set)?;
    assert_eq!(set.classes(), ["0", "1", "2", "3"]);
    assert_eq!(set.all_labels()?, [3, 0, 1, 3, 2]);
    assert_eq!(set.pixels(3, &plain(2)?, View::Whole)?, [3.0; 4]);
    assert!(set.name(3).ends_with("train-images-idx3-ubyte picture 4"), "{}", set.name(3));
    // A folder with one such file is that file.
    let compressed = open(&scratch.0.join("gz"))?;
    assert_eq!(compressed.fingerprint()?, set.fingerprint()?);
    scratch.write(&format!("plain/{LABELS}"), &idx_labels(5, &[3, 0, 1, 3, 1]))?;
    assert_ne!(open(&plain_set)?.fingerprint()?, set.fingerprint()?);
    let few = ImageOptions { classes: Some(vec!["a".into(), "b".into()]), ..ImageOptions::default() };
    says(
        &told(ImageSet::open(&plain_set, &few)),
        &["its largest label is 3, and there are 2 classes, numbered from 0: a, b"],
    );
    Ok(())
}

#[test]
fn damaged_idx_is_refused_before_anything_is_allocated() -> Outcome {
    let scratch = Scratch::new("bad-idx")?;
    let whole = idx_images(0x803, 4, [3, 2], 4);
    let zipped = gzip(&whole)?;
    for (bytes, words) in [
        (idx_images(0x802, 4, [3, 2], 4), "it begins with 0x00000802, and an IDX file of pictures with 0x00000803"),
        (idx_images(0x803, 9, [3, 2], 4), "it says 9 pictures (54 bytes) and holds 24; fetch it again"),
        (idx_images(0x803, 3, [3, 2], 4), "it says 3 pictures (18 bytes) and holds more"),
        (
            idx_images(0x803, u32::MAX, [16_384, 16_384], 1),
            "it says 4294967295 pictures (1152921504338411520 bytes) and holds 64",
        ),
        (idx_images(0x803, 1, [u32::MAX, u32::MAX], 1), "pictures are 4294967295x4294967295 pixels"),
        (idx_images(0x803, 1, [0, 2], 1), "pictures are 2x0 pixels"),
        (idx_images(0x803, 0, [3, 2], 0), "it holds no picture that can be used"),
        (whole[..10].to_vec(), "it ends within its header"),
        (Vec::new(), "it ends within its header"),
        (zipped[..zipped.len() - 9].to_vec(), "cannot be read"),
    ] {
        let path = scratch.write(PICTURES, &bytes)?;
        says(&told(open(&path)), &[words, "train-images-idx3-ubyte"]);
    }
    let path = scratch.write(PICTURES, &whole)?;
    for (labels, words) in [
        (
            idx_labels(5, &[0; 5]),
            &["train-labels-idx1-ubyte: it holds 5 labels, and ", "train-images-idx3-ubyte 4 pictures"][..],
        ),
        (idx_labels(4, &[0; 3]), &["it says 4 labels (4 bytes) and holds 3"]),
        (whole.clone(), &["it begins with 0x00000803, and an IDX file of labels with 0x00000801"]),
    ] {
        scratch.write(LABELS, &labels)?;
        says(&told(open(&path)), words);
    }
    scratch.write("t10k-images-idx3-ubyte", &whole)?;
    says(&told(open(&scratch.0)), &["it holds ", "give one of them by name"]);
    Ok(())
}
