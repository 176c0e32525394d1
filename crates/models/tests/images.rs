//! Pictures against Pillow, processors against Transformers (`golden/make_images.py`).

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use loract_models::vision::{Alpha, ImageProcessor, Picture, View};
use loract_testkit::golden::{folder, json};
use safetensors::SafeTensors;
use serde_json::{Map, Value, json};

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

/// A folder that is removed afterwards.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Outcome<Self> {
        let path = std::env::temp_dir().join(format!("loract-images-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn picture(name: &str) -> Outcome<Picture> {
    Ok(Picture::decode(&fs::read(folder("images").join(name))?)?)
}

/// The largest difference, and how many numbers differ.
fn difference(got: &[u8], want: &[u8]) -> (u8, usize) {
    assert_eq!(got.len(), want.len());
    let differences = got.iter().zip(want).map(|(&g, &w)| g.abs_diff(w));
    (differences.clone().max().unwrap_or(0), differences.filter(|&d| d > 0).count())
}

fn thinned<T: Copy>(numbers: &[T], stride: &Value) -> Outcome<Vec<T>> {
    let stride = stride.as_u64().and_then(|n| usize::try_from(n).ok()).ok_or("a stride")?;
    Ok(numbers.iter().copied().step_by(stride).collect())
}

/// The processor of a model's folder that holds these files, for a model of so many channels.
fn processor(scratch: &Path, files: &Map<String, Value>, channels: &Value) -> Outcome<ImageProcessor> {
    let _ = fs::remove_dir_all(scratch);
    fs::create_dir_all(scratch)?;
    for (name, content) in files {
        fs::write(scratch.join(name), content.to_string())?;
    }
    let channels = channels.as_u64().and_then(|n| usize::try_from(n).ok()).ok_or("channels")?;
    Ok(ImageProcessor::read(scratch)?.ok_or("no processor")?.with_channels(channels)?)
}

/// The same without the steps after cutting out.
fn before(processor: &ImageProcessor, channels: &Value) -> Outcome<ImageProcessor> {
    let mut values = processor.to_json();
    values.extend([("do_rescale".to_owned(), json!(false)), ("do_normalize".to_owned(), json!(false))]);
    let processor = ImageProcessor::from_json(Path::new("before"), &Value::Object(values).to_string())?;
    Ok(processor.with_channels(if channels == &json!(1) { 1 } else { 3 })?)
}

#[test]
fn processors_give_the_numbers_of_transformers() -> Outcome {
    let scratch = Scratch::new("golden")?;
    let bytes = fs::read(folder("images").join("golden.safetensors"))?;
    let golden = SafeTensors::deserialize(&bytes)?;
    let cases = json(&folder("images").join("cases.json"));
    let cases = cases.as_array().ok_or("a list")?;
    assert_eq!(cases.len(), 54);
    let (mut largest, mut differ, mut numbers) = (0, 0, 0);
    for case in cases {
        let name = case["name"].as_str().ok_or("a name")?;
        let image = picture(case["picture"].as_str().ok_or("a picture")?)?;
        let processor = processor(&scratch.0, case["files"].as_object().ok_or("files")?, &case["channels"])
            .map_err(|e| format!("{name}: {e}"))?;
        let [height, width] = processor.size();
        assert_eq!(case["shape"], json!([processor.channels(), height, width]), "{name}");

        let out = before(&processor, &case["channels"])?.pixels(&image, View::Whole);
        let got: Vec<u8> = thinned(&out, &case["stride"])?.into_iter().map(|x| x as u8).collect();
        let want = golden.tensor(name)?;
        let (most, count) = difference(&got, want.data());
        println!("{name}: at most {most}, {count} of {} differ", got.len());
        assert_eq!(most, 0, "{name}");
        (largest, differ, numbers) = (largest.max(most), differ + count, numbers + got.len());

        let got = thinned(&processor.pixels(&image, View::Whole), &case["float_stride"])?;
        let want = golden.tensor(&format!("{name}.f32"))?;
        let want = want.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
        assert_eq!(got.len(), want.len(), "{name}");
        assert_eq!(got, want.collect::<Vec<_>>(), "{name}");
    }
    println!("{numbers} numbers of 0 to 255: the largest difference is {largest}, {differ} differ");
    Ok(())
}

#[test]
fn what_transformers_saves_is_read_as_the_same_and_written_as_the_same() -> Outcome {
    let scratch = Scratch::new("saved")?;
    let cases = json(&folder("images").join("cases.json"));
    for case in cases.as_array().ok_or("a list")? {
        let name = case["name"].as_str().ok_or("a name")?;
        let processor = processor(&scratch.0, case["files"].as_object().ok_or("files")?, &case["channels"])?;
        let saved = &case["saved"];
        let files = Map::from_iter([("preprocessor_config.json".to_owned(), saved.clone())]);
        let again = self::processor(&scratch.0.join("again"), &files, &case["channels"])?;
        assert_eq!(processor, again, "{name}");
        let written = processor.to_json();
        let text = Value::Object(written.clone()).to_string();
        let again = ImageProcessor::from_json(Path::new("written"), &text)?;
        assert_eq!(processor, again.with_channels(processor.channels())?, "{name}");
        for (key, value) in written {
            // One number for all channels is written as one for each; what is not done has no settings.
            let listed = matches!((&saved[&key], &value), (Value::Number(one), Value::Array(all)) if all.iter().all(|x| x == &json!(one)));
            let as_numbers = same(&saved[&key], &value) || listed || saved[&key].is_null();
            assert!(as_numbers, "{name}: {key} is {value}, and Transformers saves {}", saved[&key]);
        }
    }
    Ok(())
}

/// Whether two values are the same; 1 is 1.0.
fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same(one, other))
        }
        (Value::Number(one), Value::Number(other)) => one.as_f64() == other.as_f64(),
        _ => one == other,
    }
}

#[test]
fn files_are_decoded_as_pillow_decodes_them() -> Outcome {
    let bytes = fs::read(folder("images").join("golden.safetensors"))?;
    let golden = SafeTensors::deserialize(&bytes)?;
    let mut compared = 0;
    for (name, want) in golden.tensors() {
        let Some(file) = name.strip_prefix("decoded.") else { continue };
        let image = picture(file)?;
        let stride = if file == "hopper.jpg" { 61 } else { 1 };
        let got: Vec<u8> = image.bytes().iter().copied().step_by(stride).collect();
        if stride == 1 {
            let channels = want.shape().get(2).copied().unwrap_or(1);
            assert_eq!(
                [image.height(), image.width(), image.channels().count()],
                [want.shape()[0], want.shape()[1], channels],
                "{file}"
            );
        }
        let (most, count) = difference(&got, want.data());
        println!("{file}: at most {most}, {count} of {} differ", got.len());
        assert_eq!(most, 0, "{file}");
        compared += 1;
    }
    assert_eq!(compared, 12);
    Ok(())
}

#[test]
fn colours_that_are_kept_are_not_copied() -> Outcome {
    let image = picture("astronaut.png")?;
    assert!(std::ptr::eq(image.to_rgb(Alpha::OnWhite).as_ref(), &image));
    Ok(())
}
