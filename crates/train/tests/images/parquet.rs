//! Rows of Parquet files, as `make_images.py` made them.

use super::*;

fn golden(name: &str) -> PathBuf {
    folder("images").join(format!("{name}.parquet"))
}

const FILES: [&str; 7] =
    ["tiny.png", "jpeg-grey.jpg", "tiny.png", "jpeg-444.jpg", "jpeg-turned.jpg", "tiny.png", "jpeg-grey.jpg"];

#[test]
fn pictures_of_the_datasets_library_are_read() -> Outcome {
    let processor = plain(5)?;
    for (name, classes) in
        [("datasets", ["cat", "dog", "owl"]), ("zstd", ["cat", "dog", "owl"]), ("plain", ["0", "1", "2"])]
    {
        let set = open(&golden(name))?;
        assert_eq!((set.len(), set.classes()), (7, &classes.map(str::to_owned)[..]), "{name}");
        assert_eq!(set.labels(), [Some(2), Some(0), Some(1), Some(2), None, Some(0), Some(0)], "{name}");
        for (row, file) in FILES.iter().enumerate() {
            let picture = loract_models::vision::Picture::decode(&fs::read(folder("images").join(file))?)?;
            assert_eq!(
                set.pixels(row, &processor, View::Whole)?,
                processor.pixels(&picture, View::Whole),
                "{name} {file}"
            );
        }
        says(&told(set.all_labels()), &["parquet row 5 has no label; add a column `label`"]);
        let reordered = ["owl", "cat", "dog", "0", "1", "2"].map(str::to_owned).to_vec();
        let options = ImageOptions { classes: Some(reordered), ..ImageOptions::default() };
        let label = ImageSet::open(&golden(name), &options)?.label(0);
        // Class 2 is the head's class "2", which is its sixth, not its third.
        assert_eq!(label, Some(if name == "plain" { 5 } else { 0 }), "{name}");
    }
    assert_eq!(open(&golden("datasets"))?.fingerprint()?, open(&golden("zstd"))?.fingerprint()?);
    Ok(())
}

#[test]
fn what_cannot_be_used_is_told() -> Outcome {
    for (name, words) in [
        ("label", "bad-label.parquet row 3: label 3 is no class; there are 3 classes, numbered from 0"),
        ("picture", "bad-picture.parquet row 3: it has no `bytes` of a picture (what lies at a `path` is not read)"),
        ("type", "column `label` is of type DOUBLE, expected whole numbers"),
        ("columns", "it has no column `image` of structs with `bytes`; it has photo, label"),
    ] {
        says(&told(open(&golden(&format!("bad-{name}")))), &[words]);
    }
    assert_eq!(skipping(&golden("bad-picture"))?.len(), 2);
    Ok(())
}

/// Damage is an error that names the file, or is in what is not looked at; it never ends the program.
#[test]
fn damaged_files_are_errors() -> Outcome {
    let scratch = Scratch::new("bad-parquet")?;
    for name in ["datasets", "zstd", "plain"] {
        let whole = fs::read(golden(name))?;
        // What is told of the file, or of its pictures that are left out.
        let look = |bytes: &[u8]| -> Outcome<Option<String>> {
            let path = scratch.write("damaged.parquet", bytes)?;
            let told = match skipping(&path) {
                Ok(set) => set.left_out().first().map(|left_out| left_out.name.clone()),
                Err(error) => Some(error.to_string()),
            };
            assert!(told.as_ref().is_none_or(|told| told.contains("damaged.parquet")), "{told:?}");
            Ok(told)
        };
        assert_eq!(look(&whole)?, None);
        for end in (0..whole.len()).step_by(whole.len() / 20) {
            let told = look(&whole[..end])?.ok_or_else(|| format!("{name}: {end} bytes were enough"))?;
            assert!(told.contains("not a whole Parquet file"), "{told}");
        }
        let mut refused = 0;
        for at in (0..whole.len()).step_by(whole.len() / 250) {
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << (at % 8);
            refused += usize::from(look(&bytes)?.is_some());
        }
        assert!(refused > 25, "{name}: {refused}");
    }
    Ok(())
}
