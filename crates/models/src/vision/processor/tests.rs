use loract_autograd::Rng;
use serde_json::json;

use super::super::picture::Channels;
use super::*;

fn of(values: &serde_json::Value) -> Result<ImageProcessor, Error> {
    ImageProcessor::from_json(Path::new("preprocessor_config.json"), &values.to_string())
}

/// A picture whose grey is its column's number.
fn columns(height: usize, width: usize) -> Picture {
    let bytes = (0..height * width).map(|i| (i % width) as u8).collect();
    Picture::new(height, width, Channels::Grey, bytes).expect("its size")
}

fn grey(size: usize) -> ImageProcessor {
    let values = json!({"image_processor_type": "ViTImageProcessor", "size": size, "do_rescale": false, "image_mean": [0], "image_std": [1]});
    of(&values).expect("a processor")
}

#[test]
fn what_would_change_the_result_and_is_not_done_is_named() {
    for (values, says) in [
        (json!({"size": 224}), "image_processor_type is missing"),
        (
            json!({"image_processor_type": "ConvNextImageProcessor"}),
            "image_processor_type ConvNextImageProcessor is not supported; supported: ViTImageProcessor, DeiT",
        ),
        (
            json!({"feature_extractor_type": "BeitFeatureExtractor"}),
            "feature_extractor_type BeitFeatureExtractor is not",
        ),
        (
            json!({"image_processor_type": "ViTImageProcessor", "do_pad": true}),
            "do_pad is true, which is not supported; supported: false",
        ),
        (json!({"image_processor_type": "ViTImageProcessor", "resample": 6}), "resample is 6"),
        (
            json!({"image_processor_type": "ViTImageProcessor", "resample": "bicubic"}),
            "resample is \"bicubic\", expected a whole number",
        ),
        (json!({"image_processor_type": "ViTImageProcessor", "resample": null}), "resample is null"),
        (json!({"image_processor_type": "ViTImageProcessor", "size": 0}), "size is 0; expected"),
        (json!({"image_processor_type": "ViTImageProcessor", "size": 100_000}), "each 1 to 16384"),
        (
            json!({"image_processor_type": "ViTImageProcessor", "size": {"longest_edge": 9}}),
            "size is {\"longest_edge\":9}",
        ),
        (
            json!({"image_processor_type": "ViTImageProcessor", "size": {"shortest_edge": 9, "longest_edge": 9}}),
            "size is {",
        ),
        (
            json!({"image_processor_type": "ViTImageProcessor", "size": {"shortest_edge": 9}}),
            "size is that of the shortest edge",
        ),
        (json!({"image_processor_type": "SiglipImageProcessor", "size": 9}), "various sizes"),
        (json!({"image_processor_type": "ViTImageProcessor", "do_resize": false}), "do_resize is false"),
        (json!({"image_processor_type": "ViTImageProcessor", "do_center_crop": true}), "crop_size is missing"),
        (json!({"image_processor_type": "CLIPImageProcessor", "crop_size": {"shortest_edge": 9}}), "crop_size is {"),
        (
            json!({"image_processor_type": "ViTImageProcessor", "do_resize": 1}),
            "do_resize is 1, expected true or false",
        ),
        (
            json!({"image_processor_type": "ViTImageProcessor", "image_std": [0.5, 0, 0.5]}),
            "image_std holds 0, expected numbers other",
        ),
        (
            json!({"image_processor_type": "ViTImageProcessor", "image_mean": [0.5, 0.5]}),
            "image_mean has 2 numbers, expected 1 or 3",
        ),
        (
            json!({"image_processor_type": "ViTImageProcessor", "image_mean": [0.5]}),
            "image_std has 3 numbers, expected as many",
        ),
        (json!({"image_processor_type": "ViTImageProcessor", "rescale_factor": 0}), "rescale_factor holds 0"),
    ] {
        let told = of(&values).expect_err("not supported").to_string();
        assert!(told.starts_with("preprocessor_config.json: ") && told.contains(says), "{told:?} lacks {says:?}");
    }
    assert!(ImageProcessor::from_json(Path::new("x"), "[]").is_err());
}

#[test]
fn another_resolution_scales_what_is_resized_to_with_what_is_cut_out() {
    let deit = ImageProcessor::default_of("deit", [224, 224]).expect("deit");
    assert_eq!((deit.size(), deit.resize.map(|(to, _)| to)), ([224, 224], Some(Resized::To([256, 256]))));
    let larger = deit.with_size(384, 448);
    assert_eq!((larger.size(), larger.resize.map(|(to, _)| to)), ([384, 448], Some(Resized::To([439, 512]))));
    let clip = ImageProcessor::default_of("clip_vision_model", [336, 112]).expect("clip");
    assert_eq!((clip.size(), clip.resize.map(|(to, _)| to)), ([336, 112], Some(Resized::ShortestEdge(336))));
    let vit = ImageProcessor::default_of("swin", [32, 48]).expect("swin");
    assert_eq!((vit.size(), vit.resize), ([32, 48], Some((Resized::To([32, 48]), Filter::Bilinear))));
    assert_eq!(ImageProcessor::default_of("llama", [224, 224]), None);
}

#[test]
fn a_model_of_one_channel_takes_what_is_the_same_for_all() {
    let vit = ImageProcessor::default_of("vit", [8, 8]).expect("vit");
    let grey = vit.clone().with_channels(1).expect("the same for all");
    assert_eq!((grey.channels(), grey.pixels(&columns(8, 8), View::Whole).len()), (1, 64));
    assert_eq!(grey.with_channels(3).expect("back"), vit);
    let clip = ImageProcessor::default_of("clip", [8, 8]).expect("clip");
    let told = clip.with_channels(1).expect_err("three means").to_string();
    assert!(told.contains("the model takes 1 channels"), "{told}");
    assert!(vit.with_channels(4).is_err());
}

#[test]
fn a_long_thin_picture_takes_no_more_room_than_what_is_cut_out() {
    let clip = ImageProcessor::default_of("clip", [16, 16]).expect("clip");
    let line = Picture::new(1, 1 << 20, Channels::Grey, vec![7; 1 << 20]).expect("its size");
    assert_eq!(clip.pixels(&line, View::Whole).len(), 3 * 16 * 16);
    let pole = Picture::new(1 << 20, 1, Channels::Grey, vec![7; 1 << 20]).expect("its size");
    assert_eq!(clip.pixels(&pole, View::Whole).len(), 3 * 16 * 16);
}

fn random(crop: Crop, flip: Flip, key: u64) -> View {
    View::Random { augment: Augment { crop, flip }, draws: Rng::new(&[7, key]) }
}

#[test]
fn a_flip_mirrors_every_second_picture_and_nothing_else() {
    let (processor, image) = (grey(12), columns(12, 12));
    let whole = processor.pixels(&image, View::Whole);
    let mirrored: Vec<f32> = whole.chunks(12).flat_map(|row| row.iter().rev().copied()).collect();
    let mut flipped = 0;
    for key in 0..400 {
        let got = processor.pixels(&image, random(Crop::Processor, Flip::Half, key));
        assert!(got == whole || got == mirrored);
        flipped += usize::from(got == mirrored);
        assert_eq!(processor.pixels(&image, random(Crop::Processor, Flip::Never, key)), whole);
    }
    // Five standard deviations of 400 coins are 50.
    assert!((150..=250).contains(&flipped), "{flipped}");
}

#[test]
fn parts_lie_within_the_picture_and_have_the_area_and_proportions_asked_for() {
    let (height, width) = (300, 200);
    let (mut least, mut most) = (f64::MAX, 0.0_f64);
    for key in 0..2000 {
        let part = Crop::RANDOM_RESIZED.draw([height, width], &mut Rng::new(&[key]));
        let ([top, left], [tall, wide]) = part.expect("a part");
        assert!(top + tall <= height && left + wide <= width && tall > 0 && wide > 0);
        let (area, ratio) = ((tall * wide) as f64 / 60_000.0, wide as f64 / tall as f64);
        assert!((0.078..=1.0).contains(&area) && (0.73..=1.37).contains(&ratio), "{area} {ratio}");
        (least, most) = (least.min(area), most.max(area));
    }
    assert!(least < 0.1 && most > 0.8, "{least} {most}");
    // No part of a line has such proportions: its middle is taken.
    let (_, size) = Crop::RANDOM_RESIZED.draw([1, 5000], &mut Rng::new(&[1])).expect("a part");
    assert_eq!(size, [1, 1]);
    assert_eq!(Crop::Processor.draw([height, width], &mut Rng::new(&[1])), None);
}

#[test]
fn the_same_stream_gives_the_same_view_and_another_another() {
    let (processor, image) = (grey(12), columns(40, 60));
    let see = |key| processor.pixels(&image, random(Crop::RANDOM_RESIZED, Flip::Half, key));
    assert_eq!(see(1), see(1));
    assert!((2..10).all(|key| see(key) != see(1)));
    assert_eq!(see(3).len(), 144);
}
