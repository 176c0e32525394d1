//! Sets of pictures: every kind that is read, what is told of damage, and the thread that makes micro-batches ready.

use std::error::Error as StdError;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use flate2::Compression;
use flate2::write::GzEncoder;
use loract_autograd::Rng;
use loract_models::vision::{Augment, Crop, Flip, ImageProcessor, View};
use loract_testkit::golden::folder;
use loract_train::Error;
use loract_train::data::Split;
use loract_train::data::images::{Broken, ImageOptions, ImageSet, Loader, picture_files, pictures_of};

type Outcome<T = ()> = Result<T, Box<dyn StdError>>;

/// A folder that is removed afterwards.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Outcome<Self> {
        let path = std::env::temp_dir().join(format!("loract-pictures-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path)?;
        Ok(Self(path))
    }

    /// Writes a file in a folder that is made for it.
    fn write(&self, name: &str, bytes: &[u8]) -> Outcome<PathBuf> {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().ok_or("a folder")?)?;
        fs::write(&path, bytes)?;
        Ok(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A PNG of one grey.
fn png(height: u32, width: u32, grey: u8) -> Outcome<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(png::ColorType::Grayscale);
    encoder.set_depth(png::BitDepth::Eight);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(&vec![grey; (height * width) as usize])?;
    writer.finish()?;
    Ok(bytes)
}

fn jpeg() -> Outcome<Vec<u8>> {
    Ok(fs::read(folder("images").join("jpeg-420.jpg"))?)
}

/// Grey numbers as they are, of height and width `size`.
fn plain(size: usize) -> Outcome<ImageProcessor> {
    let json = format!(
        r#"{{"image_processor_type":"ViTImageProcessor","size":{size},"do_rescale":false,"do_normalize":false}}"#
    );
    Ok(ImageProcessor::from_json(Path::new("plain"), &json)?.with_channels(1)?)
}

fn open(path: &Path) -> Result<ImageSet, Error> {
    ImageSet::open(path, &ImageOptions::default())
}

fn skipping(path: &Path) -> Result<ImageSet, Error> {
    ImageSet::open(path, &ImageOptions { broken: Broken::Skipped, classes: None })
}

/// What is told, which must be of bad input.
fn told<T>(outcome: Result<T, Error>) -> String {
    let error = outcome.err().expect("an error");
    assert!(error.is_bad_input(), "{error}");
    error.to_string()
}

fn says(told: &str, words: &[&str]) {
    for word in words {
        assert!(told.contains(word), "{told:?} lacks {word:?}");
    }
}

/// Two classes; their pictures' greys are 10·class + number.
fn classes(scratch: &Scratch) -> Outcome {
    for (class, name) in [(1, "owl"), (0, "cat")] {
        for number in 0..3 {
            scratch.write(&format!("{name}/{number}.png"), &png(4, 5, 10 * class + number)?)?;
        }
    }
    Ok(())
}

#[test]
fn a_folder_for_each_class_gives_names_and_files_in_order() -> Outcome {
    let scratch = Scratch::new("classes")?;
    classes(&scratch)?;
    scratch.write("cat/3.JPG", &jpeg()?)?;
    scratch.write("cat/notes.txt", b"not a picture")?;
    scratch.write("cat/.hidden.png", b"")?;
    scratch.write("readme.md", b"")?;
    let set = open(&scratch.0)?;
    assert_eq!((set.len(), set.classes(), set.other_files()), (7, &["cat".to_owned(), "owl".to_owned()][..], 2));
    assert_eq!(set.all_labels()?, [0, 0, 0, 0, 1, 1, 1]);
    assert_eq!((set.label(4), set.label(7)), (Some(1), None));
    assert!(set.name(3).ends_with("cat/3.JPG"), "{}", set.name(3));
    let processor = plain(4)?;
    for (index, grey) in [(0, 0.0), (2, 2.0), (4, 10.0), (6, 12.0)] {
        assert_eq!(set.pixels(index, &processor, View::Whole)?, vec![grey; 16], "{index}");
    }
    assert_eq!(set.pixels(3, &processor, View::Whole)?.len(), 16);
    says(&told(set.pixels(7, &processor, View::Whole)), &["picture 8 of 7"]);
    set.fits(&processor)?;
    Ok(())
}

#[test]
fn classes_are_numbered_as_the_model_has_them() -> Outcome {
    let scratch = Scratch::new("numbered")?;
    classes(&scratch)?;
    let with = |names: &[&str]| {
        let classes = Some(names.iter().map(|&name| name.to_owned()).collect());
        ImageSet::open(&scratch.0, &ImageOptions { broken: Broken::Refused, classes })
    };
    let set = with(&["owl", "dog", "cat"])?;
    assert_eq!(set.all_labels()?, [2, 2, 2, 0, 0, 0]);
    assert_eq!(set.classes().len(), 3);
    says(&told(with(&["owl", "dog"])), &["it has a class \"cat\", which is none of 2: owl, dog"]);
    Ok(())
}

#[test]
fn what_is_no_set_of_pictures_is_told() -> Outcome {
    let scratch = Scratch::new("none")?;
    says(&told(open(&scratch.0)), &["it is a folder without pictures; expected"]);
    says(&told(open(&scratch.0.join("nowhere"))), &["nowhere: there is nothing; expected"]);
    says(&told(open(&scratch.write("rows.jsonl", b"{}")?)), &["it is a file of another kind"]);
    scratch.write("cat/1.png", &png(2, 2, 0)?)?;
    scratch.write("dog/1.gif", b"GIF89a")?;
    fs::create_dir_all(scratch.0.join("owl"))?;
    says(&told(open(&scratch.0)), &["no PNG or JPEG files in the folders of 2 of 3 classes: dog, owl"]);
    Ok(())
}

#[test]
fn pictures_without_classes_have_no_labels() -> Outcome {
    let scratch = Scratch::new("flat")?;
    scratch.write("b.png", &png(2, 2, 7)?)?;
    scratch.write("a.png", &png(2, 2, 5)?)?;
    let set = open(&scratch.0)?;
    assert_eq!((set.labels(), set.classes().len()), (&[None, None][..], 0));
    assert_eq!(set.pixels(0, &plain(1)?, View::Whole)?, [5.0]);
    says(&told(set.all_labels()), &["a.png has no label; put the pictures of each class into a folder"]);
    Ok(())
}

#[test]
fn broken_pictures_are_named_or_left_out_alike_every_time() -> Outcome {
    let scratch = Scratch::new("broken")?;
    classes(&scratch)?;
    let (png, jpeg) = (png(9, 9, 3)?, jpeg()?);
    scratch.write("cat/cut.png", &png[..png.len() - 20])?;
    scratch.write("cat/cut.jpg", &jpeg[..jpeg.len() / 2])?;
    let set = open(&scratch.0)?;
    let broken: Vec<_> =
        (0..set.len()).filter_map(|index| set.pixels(index, &plain(4).ok()?, View::Whole).err()).collect();
    let broken: Vec<_> = broken.into_iter().map(|error| told::<()>(Err(error))).collect();
    assert_eq!(broken.len(), 2, "{broken:?}");
    says(&broken[0], &["cat/cut.jpg: damaged: ", "; --skip-broken leaves such pictures out"]);
    says(&broken[1], &["cat/cut.png: damaged: "]);
    let whole = open(&scratch.0)?.fingerprint()?;
    let (set, again) = (skipping(&scratch.0)?, skipping(&scratch.0)?);
    assert_eq!((set.len(), set.left_out().len()), (6, 2));
    assert!(set.left_out()[0].name.ends_with("cat/cut.jpg"), "{:?}", set.left_out());
    assert_eq!((set.all_labels()?, set.left_out()), (vec![0, 0, 0, 1, 1, 1], again.left_out()));
    assert_eq!(set.fingerprint()?, again.fingerprint()?);
    assert_ne!(set.fingerprint()?, whole);
    assert_eq!(set.pixels(5, &plain(2)?, View::Whole)?, [12.0; 4]);

    // What does not even begin as a picture is found when the set is opened.
    scratch.write("owl/page.jpg", b"<html>404</html>")?;
    says(&told(open(&scratch.0)), &["owl/page.jpg: a text (SVG or HTML); read: PNG and JPEG; --skip-broken"]);
    assert_eq!(skipping(&scratch.0)?.left_out().len(), 3);
    for class in ["cat", "owl"] {
        fs::remove_dir_all(scratch.0.join(class))?;
    }
    scratch.write("cat/empty.png", b"")?;
    says(&told(open(&scratch.0)), &["cat/empty.png: an empty file"]);
    says(&told(skipping(&scratch.0)), &["no picture that can be used: 1 are broken (", "empty.png: an empty file"]);
    Ok(())
}

#[test]
fn a_set_is_known_again_wherever_it_lies_and_not_when_it_is_another() -> Outcome {
    let (one, other) = (Scratch::new("here")?, Scratch::new("there")?);
    classes(&one)?;
    classes(&other)?;
    let known = open(&one.0)?.fingerprint()?;
    assert!(known.starts_with("6 pictures ("), "{known}");
    assert_eq!(open(&other.0)?.fingerprint()?, known);
    fs::rename(other.0.join("cat/0.png"), other.0.join("cat/9.png"))?;
    assert_ne!(open(&other.0)?.fingerprint()?, known);
    fs::rename(other.0.join("cat/9.png"), other.0.join("owl/9.png"))?;
    assert_ne!(open(&other.0)?.fingerprint()?, known);
    Ok(())
}

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

#[test]
fn parts_of_a_folder_are_found() -> Outcome {
    let scratch = Scratch::new("parts")?;
    let path = |name: &str| scratch.0.join(name);
    let one = png(2, 2, 0)?;
    scratch.write("a/train/cat/1.png", &one)?;
    scratch.write("a/val/cat/1.png", &one)?;
    assert_eq!(picture_files(&path("a"), None)?, (path("a/train"), Some(path("a/val"))));
    assert_eq!(picture_files(&path("a"), Some(&path("a/train")))?, (path("a/train"), Some(path("a/train"))));
    assert_eq!(pictures_of(&path("a"), &[Split::Test, Split::Valid])?, path("a/val"));
    assert_eq!(picture_files(&path("a/train"), None)?, (path("a/train"), None));
    fs::create_dir_all(path("a/validation"))?;
    says(&told(picture_files(&path("a"), None)), &["it holds ", "validation and ", "give one of them by name"]);
    scratch.write("b/train-images-idx3-ubyte.gz", &[])?;
    scratch.write("b/t10k-images-idx3-ubyte.gz", &[])?;
    assert_eq!(
        picture_files(&path("b"), Some(&path("b")))?,
        (path("b/train-images-idx3-ubyte.gz"), Some(path("b/t10k-images-idx3-ubyte.gz")))
    );
    scratch.write("c/test.safetensors", &[])?;
    says(&told(picture_files(&path("c"), None)), &["test.safetensors, and no train"]);
    Ok(())
}

#[test]
fn micro_batches_come_in_the_order_of_requests_with_their_views() -> Outcome {
    let scratch = Scratch::new("loader")?;
    classes(&scratch)?;
    let set = Arc::new(open(&scratch.0)?);
    let processor = plain(3)?;
    let view = |row: usize| View::Random {
        augment: Augment { crop: Crop::RANDOM_RESIZED, flip: Flip::Half },
        draws: Rng::new(&[3, row as u64]),
    };
    let requests: Vec<Vec<usize>> = (0..20).map(|batch| (0..4).map(|i| (batch * 3 + i) % 6).collect()).collect();
    let mut loader = Loader::new(set.clone(), processor.clone());
    for rows in &requests {
        loader.request(rows.clone(), rows.iter().map(|&row| view(row)).collect());
    }
    for rows in &requests {
        let want = rows.iter().map(|&row| set.pixels(row, &processor, view(row))).collect::<Result<Vec<_>, _>>()?;
        assert_eq!(loader.take()?, want.concat());
    }
    assert_eq!(loader.outstanding(), 0);
    says(&told(loader.take()), &["no micro-batch of pictures was requested"]);
    Ok(())
}

#[test]
fn an_error_comes_where_it_belongs_and_the_rest_goes_on() -> Outcome {
    let scratch = Scratch::new("loader-errors")?;
    classes(&scratch)?;
    let png = png(30, 30, 1)?;
    scratch.write("cat/9.png", &png[..60])?;
    let mut loader = Loader::new(Arc::new(open(&scratch.0)?), plain(2)?);
    for rows in [vec![0], vec![1, 3], vec![2], vec![99]] {
        loader.request(rows.clone(), vec![View::Whole; rows.len()]);
    }
    loader.request(vec![1, 2], vec![View::Whole]);
    loader.request(vec![4, 5], vec![View::Whole; 2]);
    assert_eq!(loader.take()?, [0.0; 4]);
    says(&told(loader.take()), &["cat/9.png: damaged"]);
    assert_eq!(loader.take()?, [2.0; 4]);
    says(&told(loader.take()), &["picture 100 of 7 was asked for"]);
    says(&told(loader.take()), &["1 views for 2 pictures"]);
    assert_eq!(loader.take()?, [[10.0; 4], [11.0; 4]].concat());
    Ok(())
}

#[test]
fn a_loader_ends_with_whatever_was_asked_and_not_taken() -> Outcome {
    let scratch = Scratch::new("loader-ends")?;
    classes(&scratch)?;
    let set = Arc::new(open(&scratch.0)?);
    for asked in [0, 1, 2, 50] {
        let mut loader = Loader::new(set.clone(), plain(2)?);
        for _ in 0..asked {
            loader.request(vec![0, 1], vec![View::Whole; 2]);
        }
        drop(loader);
        // Its thread held the set.
        assert_eq!(Arc::strong_count(&set), 1, "{asked}");
    }
    Ok(())
}

/// Rows of Parquet files, as `make_images.py` made them.
#[cfg(feature = "parquet")]
mod parquet {
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
            assert_eq!(label, Some(if name == "plain" { 2 } else { 0 }), "{name}");
        }
        assert_eq!(open(&golden("datasets"))?.fingerprint()?, open(&golden("zstd"))?.fingerprint()?);
        Ok(())
    }

    #[test]
    fn what_cannot_be_used_is_told() -> Outcome {
        for (name, words) in [
            ("label", "bad-label.parquet row 3: label 3 is no class; there are 3 classes, numbered from 0"),
            ("picture", "bad-picture.parquet row 3: an empty file"),
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
}
