//! Pictures: what is done with those that were decoded.

use loract_models::vision::{ImageProcessor, Picture, View};

/// Decodes a file; what comes of it is of the size that its header says, and fits a model of three channels and one of one.
pub fn drive(file: &[u8]) {
    let Ok(picture) = Picture::decode(file) else { return };
    assert_eq!(Picture::size_in(file), Ok([picture.height(), picture.width()]));
    let bytes = picture.height() * picture.width() * picture.channels().count();
    assert_eq!(picture.bytes().len(), bytes);
    for channels in [1, 3] {
        let vit = ImageProcessor::default_of("vit", [4, 5]).expect("vit has a processor");
        let processor = vit.with_channels(channels).expect("its means are all the same");
        assert_eq!(processor.pixels(&picture, View::Whole).len(), channels * 20);
    }
}

/// The smallest pictures of the golden files.
pub fn seeds() -> std::io::Result<Vec<Vec<u8>>> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/testkit/golden/images");
    let names = ["420", "422", "444", "progressive", "progressive-444", "restart", "grey", "cmyk", "turned"];
    let jpegs = names.iter().map(|name| format!("jpeg-{name}.jpg"));
    let pngs = ["tiny.png", "palette.png", "grey-alpha.png"].map(str::to_owned);
    jpegs.chain(pngs).map(|name| std::fs::read(folder.join(name))).collect()
}
