//! Folders of classes, folders of pictures, and their parts.

use super::*;

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
fn a_class_may_be_called_as_a_part_is() -> Outcome {
    let scratch = Scratch::new("class-train")?;
    for class in ["cat", "test", "train"] {
        scratch.write(&format!("{class}/1.png"), &png(2, 2, 0)?)?;
    }
    assert_eq!(picture_files(&scratch.0, None)?, (scratch.0.clone(), None));
    assert_eq!(pictures_of(&scratch.0, &[Split::Test])?, scratch.0);
    assert_eq!(open(&scratch.0)?.classes().len(), 3);
    // With classes of its own it is a part, whatever lies beside.
    scratch.write("b/train/cat/1.png", &png(2, 2, 0)?)?;
    scratch.write("b/notes/1.txt", b"")?;
    assert_eq!(picture_files(&scratch.0.join("b"), None)?.0, scratch.0.join("b/train"));
    Ok(())
}

#[test]
fn tables_in_shards_are_told() -> Outcome {
    let scratch = Scratch::new("shards")?;
    scratch.write("train-00000-of-00002.parquet", b"")?;
    let words =
        ["train-00000-of-00002.parquet is one of its Parquet files, and only one is read; make one file of them"];
    says(&told(picture_files(&scratch.0, None)), &words);
    says(&told(open(&scratch.0)), &words);
    Ok(())
}

/// Numbers as names are sorted as names, and stay the numbers that they are.
#[test]
fn folders_of_numbers_are_numbered_alike_by_name_and_by_number() -> Outcome {
    let scratch = Scratch::new("numbers")?;
    for class in 0..12 {
        scratch.write(&format!("{class}/1.png"), &png(2, 2, class)?)?;
    }
    let set = open(&scratch.0)?;
    assert_eq!(set.classes()[..3], ["0", "1", "10"]);
    let nameless: Vec<String> = (0..12).map(|class| format!("LABEL_{class}")).collect();
    for head in [set.classes().to_vec(), nameless] {
        let options = ImageOptions { classes: Some(head.clone()), ..ImageOptions::default() };
        let set = ImageSet::open(&scratch.0, &options)?;
        for index in 0..12 {
            let class = &head[set.label(index).ok_or("a label")? as usize];
            let grey = set.pixels(index, &plain(1)?, View::Whole)?[0];
            assert_eq!(class.trim_start_matches("LABEL_"), grey.to_string());
        }
    }
    Ok(())
}

#[cfg(target_os = "linux")]
#[test]
fn links_pipes_and_what_cannot_be_read_are_no_pictures() -> Outcome {
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::symlink;

    let scratch = Scratch::new("links")?;
    classes(&scratch)?;
    symlink("nowhere.png", scratch.0.join("cat/gone.png"))?;
    let pipe = std::process::Command::new("mkfifo").arg(scratch.0.join("cat/pipe.png")).status()?;
    assert!(pipe.success());
    let set = open(&scratch.0)?;
    assert_eq!((set.len(), set.other_files()), (6, 2));
    // A file that is there, and whose first byte is an error.
    symlink("/proc/self/mem", scratch.0.join("cat/unread.png"))?;
    says(&told(open(&scratch.0)), &["cat/unread.png"]);
    let set = skipping(&scratch.0)?;
    assert_eq!((set.len(), set.left_out().len()), (6, 1));
    assert!(set.notes()[0].contains("1 broken pictures") && set.notes()[1].contains("2 files"), "{:?}", set.notes());
    // Two names that would be one if they were made into text.
    for name in [b"a\xff", b"a\xfe"] {
        let folder = scratch.0.join(std::ffi::OsStr::from_bytes(name));
        fs::create_dir_all(&folder)?;
        fs::write(folder.join("1.png"), png(2, 2, 0)?)?;
    }
    says(&told(open(&scratch.0)), &["is not UTF-8; rename it"]);
    Ok(())
}
