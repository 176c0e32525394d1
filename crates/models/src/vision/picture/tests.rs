use super::*;

fn grey(height: usize, width: usize) -> Picture {
    let bytes = (0..height * width).map(|i| (i % 251) as u8).collect();
    Picture::new(height, width, Channels::Grey, bytes).expect("its size")
}

fn png_of(image: &Picture) -> Vec<u8> {
    let mut bytes = Vec::new();
    let (width, height) = (image.width as u32, image.height as u32);
    let mut encoder = ::png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(::png::ColorType::Grayscale);
    encoder.set_depth(::png::BitDepth::Eight);
    let mut writer = encoder.write_header().expect("a header");
    writer.write_image_data(&image.bytes).expect("pixels");
    writer.finish().expect("an end");
    bytes
}

#[test]
fn numbers_must_fit_their_size() {
    assert!(Picture::new(2, 3, Channels::Rgb, vec![0; 18]).is_ok());
    let told = Picture::new(2, 3, Channels::Rgb, vec![0; 17]).expect_err("one is missing").to_string();
    assert_eq!(told, "17 numbers for 3x2 pixels of 3");
    assert!(Picture::new(0, 3, Channels::Rgb, Vec::new()).is_err());
    assert!(Picture::new(usize::MAX, 3, Channels::Grey, vec![0; 3]).is_err());
}

#[test]
fn what_is_written_is_read() -> Result<(), PictureError> {
    let image = grey(7, 5);
    let bytes = png_of(&image);
    assert_eq!(Picture::size_in(&bytes)?, [7, 5]);
    assert_eq!(Picture::decode(&bytes)?, image);
    Ok(())
}

#[test]
fn of_16_bits_the_upper_8_are_taken() -> Result<(), PictureError> {
    let mut bytes = Vec::new();
    let mut encoder = ::png::Encoder::new(&mut bytes, 2, 1);
    encoder.set_color(::png::ColorType::Grayscale);
    encoder.set_depth(::png::BitDepth::Sixteen);
    let mut writer = encoder.write_header().expect("a header");
    writer.write_image_data(&[7, 255, 200, 0]).expect("pixels");
    writer.finish().expect("an end");
    assert_eq!(Picture::decode(&bytes)?, Picture::new(1, 2, Channels::Grey, vec![7, 200])?);
    Ok(())
}

#[test]
fn other_files_are_told_by_what_they_look_like() {
    for (bytes, says) in [
        (&b""[..], "an empty file; read: PNG and JPEG"),
        (b"GIF89a", "a GIF; read: PNG and JPEG"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "a WebP picture; read: PNG and JPEG"),
        (b"\0\0\0\x20ftypheic", "HEIC"),
        (b"<svg/>", "SVG"),
        (b"hello", "not a picture of a format that is known"),
    ] {
        let told = Picture::decode(bytes).expect_err("no picture").to_string();
        assert!(told.contains(says), "{told}");
        assert_eq!(Picture::size_in(bytes).expect_err("no picture").to_string(), told);
    }
}

#[test]
fn a_header_that_claims_too_much_is_not_believed() {
    let told = |bytes: &[u8]| Picture::decode(bytes).expect_err("more pixels than there are").to_string();
    let claiming = |size: u32| {
        let mut bytes = png_of(&grey(7, 5));
        // Width and height follow the name of the first chunk; its checksum follows them.
        bytes[16..20].copy_from_slice(&size.to_be_bytes());
        bytes[20..24].copy_from_slice(&size.to_be_bytes());
        let sum = crc(&bytes[12..29]);
        bytes[29..33].copy_from_slice(&sum.to_be_bytes());
        bytes
    };
    assert_eq!(told(&claiming(65_536)), "its header says 65536x65536 pixels, and more than 178956970 are not believed");
    assert_eq!(told(&claiming(13_000)), "damaged: its pixels end early");
    let path = loract_testkit::golden::folder("images").join("jpeg-grey.jpg");
    let jpeg = std::fs::read(path).expect("a picture");
    let header = jpeg.windows(2).position(|pair| pair == [0xff, 0xc0]).expect("a header");
    let claiming = |size: u16| {
        let mut bytes = jpeg.clone();
        bytes[header + 5..header + 7].copy_from_slice(&size.to_be_bytes());
        bytes[header + 7..header + 9].copy_from_slice(&size.to_be_bytes());
        bytes
    };
    assert_eq!(told(&claiming(65_535)), "its header says 65535x65535 pixels, and more than 178956970 are not believed");
    assert_eq!(told(&claiming(13_000)), "damaged: its pixels end early");
}

fn crc(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| (crc >> 1) ^ if crc & 1 == 1 { 0xedb8_8320 } else { 0 })
    })
}

/// Damage is an error, or is in what is not looked at; it never ends the program.
#[test]
fn damaged_files_are_errors() {
    let png = png_of(&grey(31, 17));
    for end in 0..png.len() - 12 {
        assert!(Picture::decode(&png[..end]).is_err(), "{end} bytes were enough");
    }
    let mut refused = 0;
    for at in 0..png.len() {
        let mut bytes = png.clone();
        bytes[at] ^= 1 << (at % 8);
        refused += usize::from(Picture::decode(&bytes).is_err());
    }
    assert!(refused > png.len() / 2, "{refused} of {}", png.len());
    for kind in ["420", "progressive", "restart", "grey", "cmyk"] {
        let path = loract_testkit::golden::folder("images").join(format!("jpeg-{kind}.jpg"));
        let jpeg = std::fs::read(path).expect("a picture");
        assert!(Picture::decode(&jpeg).is_ok());
        for end in 0..jpeg.len() - 8 {
            assert!(Picture::decode(&jpeg[..end]).is_err(), "{kind}: {end} bytes were enough");
        }
        let mut refused = 0;
        for at in 0..jpeg.len() {
            for flip in [1, 0x10, 0xff] {
                let mut bytes = jpeg.clone();
                bytes[at] ^= flip;
                refused += usize::from(Picture::decode(&bytes).is_err());
            }
        }
        assert!(refused > jpeg.len() / 10, "{kind}: {refused} of {}", 3 * jpeg.len());
    }
}

#[test]
fn transparent_colours_are_laid_on_white_or_left() {
    let bytes = vec![10, 20, 30, 255, 10, 20, 30, 0, 0, 0, 0, 128];
    let image = Picture::new(1, 3, Channels::RgbAlpha, bytes).expect("its size");
    assert_eq!(image.to_rgb(Alpha::Dropped).bytes(), [10, 20, 30, 10, 20, 30, 0, 0, 0]);
    assert_eq!(image.to_rgb(Alpha::OnWhite).bytes(), [10, 20, 30, 255, 255, 255, 127, 127, 127]);
    let colours = Picture::new(1, 2, Channels::Rgb, vec![255, 0, 0, 9, 9, 9]).expect("its size");
    assert_eq!(colours.to_grey(Alpha::Dropped).bytes(), [76, 9]);
}
