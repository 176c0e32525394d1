//! `preprocessor_config.json`, of Transformers 5 and before, and back.
//!
//! What a class does where a key is absent is in `class`; null is a false flag, and otherwise a value that is missing. Keys that
//! are not asked for here change nothing in these classes.

use std::io::ErrorKind;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::class::{Class, Defaults};
use super::{Alpha, Colours, Filter, ImageProcessor, Normalise, ProcessorError, Resized, wrong};
use crate::config::json::Fields;
use crate::error::Error;
use crate::source::CONFIG;

/// The file of its own, and the one that it may be a part of.
/// The file of a processor.
pub(crate) const PROCESSOR: &str = "preprocessor_config.json";
/// One that it may share with a tokenizer, in newer folders; it goes before the other.
pub(crate) const SHARED_PROCESSOR: &str = "processor_config.json";
const PART: &str = "image_processor";

/// Longest edge of what comes out, or is resized to.
const LONGEST_EDGE: usize = 1 << 14;
/// Pillow's numbers of the filters.
const FILTERS: [Filter; 6] =
    [Filter::Nearest, Filter::Lanczos, Filter::Bilinear, Filter::Bicubic, Filter::Box, Filter::Hamming];

pub(super) fn read(folder: &Path) -> Result<Option<ImageProcessor>, Error> {
    let text = |name: &str| {
        let path = folder.join(name);
        match std::fs::read_to_string(&path) {
            Ok(text) => Ok(Some((path, text))),
            Err(reason) if reason.kind() == ErrorKind::NotFound => Ok(None),
            Err(reason) => Err(Error::Read { path, reason }),
        }
    };
    let model_type = match text(CONFIG)? {
        Some((path, text)) => object(&path, &text)?.get("model_type").and_then(Value::as_str).map(str::to_owned),
        None => None,
    };
    let of_model = model_type.as_deref().and_then(Class::of_model);
    if let Some((path, text)) = text(SHARED_PROCESSOR)?
        && object(&path, &text)?.contains_key(PART)
    {
        return parse(&path, &text, of_model).map(Some);
    }
    text(PROCESSOR)?.map(|(path, text)| parse(&path, &text, of_model)).transpose()
}

/// Of the text of either file; of class `otherwise` if it says none.
pub(super) fn parse(path: &Path, text: &str, otherwise: Option<Class>) -> Result<ImageProcessor, Error> {
    let values = object(path, text)?;
    let fields = Fields(&values);
    let read = || {
        let part = fields.object(PART)?;
        ImageProcessor::of_fields(part.as_ref().unwrap_or(&fields), otherwise)
    };
    read().map_err(|reason| wrong(path, reason))
}

fn object(path: &Path, text: &str) -> Result<Map<String, Value>, Error> {
    serde_json::from_str(text).map_err(|reason| Error::Json { path: path.to_path_buf(), reason })
}

impl ImageProcessor {
    /// What a class does where nothing is said.
    pub(super) fn of_class(class: Class) -> Self {
        let Defaults { filter, size, shortest_edge, crop, convert, mean, std, .. } = class.defaults();
        let resized = if shortest_edge { Resized::ShortestEdge(size) } else { Resized::To([size, size]) };
        Self {
            class,
            colours: Colours::Rgb,
            alpha: if convert { Alpha::OnWhite } else { Alpha::Dropped },
            resize: Some((resized, filter)),
            filter,
            crop: crop.map(|size| [size, size]),
            rescale: Some(1.0 / 255.0),
            normalise: Some(Normalise { mean: mean.to_vec(), std: std.to_vec() }),
        }
    }

    fn of_fields(fields: &Fields<'_>, otherwise: Option<Class>) -> Result<Self, ProcessorError> {
        let class = class(fields, otherwise)?;
        let (defaults, mut processor) = (class.defaults(), Self::of_class(class));
        unsupported(fields)?;
        processor.alpha =
            if flag(fields, "do_convert_rgb", defaults.convert)? { Alpha::OnWhite } else { Alpha::Dropped };
        processor.filter = filter(fields)?.unwrap_or(defaults.filter);
        let square = flag(fields, "default_to_square", defaults.square)?;
        let resized = size(fields, "size", square)?.or(processor.resize.map(|(resized, _)| resized));
        processor.resize = if flag(fields, "do_resize", true)? {
            not_null(fields, &["size", "resample"])?;
            resized.map(|resized| (resized, processor.filter))
        } else {
            None
        };
        processor.crop = crop(fields, processor.crop)?;
        processor.rescale = rescale(fields)?;
        processor.normalise = normalise(fields, defaults)?;
        if let Some(normalise) = &processor.normalise
            && normalise.mean.len() == 1
        {
            processor.colours = Colours::Grey;
        }
        match (processor.crop, processor.resize) {
            (None, None) => Err(ProcessorError::Varying { why: "do_resize is false and nothing is cut out" }),
            (None, Some((Resized::ShortestEdge(_), _))) => {
                Err(ProcessorError::Varying { why: "size is that of the shortest edge and nothing is cut out" })
            }
            _ => Ok(processor),
        }
    }

    /// As a `preprocessor_config.json`, which Transformers and [`Self::read`] read as the same.
    pub fn to_json(&self) -> Map<String, Value> {
        let (mut values, crop) =
            (Map::new(), self.crop.map(|[height, width]| json!({"height": height, "width": width})));
        let mut set = |key: &str, value: Value| values.insert(key.into(), value);
        set("image_processor_type", self.class.name().into());
        set("do_convert_rgb", (self.alpha == Alpha::OnWhite).into());
        set("do_resize", self.resize.is_some().into());
        match self.resize {
            None => {}
            Some((Resized::To([height, width]), _)) => drop(set("size", json!({"height": height, "width": width}))),
            Some((Resized::ShortestEdge(edge), _)) => drop(set("size", json!({"shortest_edge": edge}))),
        }
        let number = FILTERS.iter().position(|&filter| filter == self.filter);
        set("resample", number.into());
        set("do_center_crop", crop.is_some().into());
        crop.map(|crop| set("crop_size", crop));
        set("do_rescale", self.rescale.is_some().into());
        self.rescale.map(|factor| set("rescale_factor", factor.into()));
        set("do_normalize", self.normalise.is_some().into());
        if let Some(Normalise { mean, std }) = &self.normalise {
            set("image_mean", json!(mean));
            set("image_std", json!(std));
        }
        values
    }
}

/// A flag that is null is false.
fn flag(fields: &Fields<'_>, key: &str, default: bool) -> Result<bool, ProcessorError> {
    Ok(fields.flag_or(key, default && !(fields.has(key) && fields.value(key).is_none()))?)
}

/// That nothing which is needed is null.
fn not_null(fields: &Fields<'_>, keys: &[&'static str]) -> Result<(), ProcessorError> {
    match keys.iter().find(|&&key| fields.has(key) && fields.value(key).is_none()) {
        Some(key) => {
            Err(ProcessorError::Unsupported { key, found: "null".into(), expected: "a value, or no such key" })
        }
        None => Ok(()),
    }
}

fn class(fields: &Fields<'_>, otherwise: Option<Class>) -> Result<Class, ProcessorError> {
    for key in ["image_processor_type", "feature_extractor_type"] {
        if let Some(found) = fields.text(key)? {
            let unknown = || ProcessorError::Class { key, found: found.to_owned(), known: Class::known() };
            return Class::named(found).ok_or_else(unknown);
        }
    }
    otherwise.ok_or_else(|| ProcessorError::NoClass { known: Class::known() })
}

/// Settings of these classes that would change what comes out.
fn unsupported(fields: &Fields<'_>) -> Result<(), ProcessorError> {
    for key in ["do_pad", "use_square_size"] {
        if fields.flag(key)? {
            return Err(ProcessorError::Unsupported { key, found: "true".into(), expected: "false" });
        }
    }
    Ok(())
}

fn filter(fields: &Fields<'_>) -> Result<Option<Filter>, ProcessorError> {
    let Some(number) = fields.size("resample")? else { return Ok(None) };
    let unknown = || ProcessorError::Unsupported {
        key: "resample",
        found: number.to_string(),
        expected: "0 nearest, 1 lanczos, 2 bilinear, 3 bicubic, 4 box, 5 hamming",
    };
    FILTERS.get(number).copied().map(Some).ok_or_else(unknown)
}

/// A size as a number (the shortest edge unless `square`), a list or an object.
fn size(fields: &Fields<'_>, key: &'static str, square: bool) -> Result<Option<Resized>, ProcessorError> {
    let Some(value) = fields.value(key) else { return Ok(None) };
    let wrong = || ProcessorError::Size { key, found: value.to_string(), most: LONGEST_EDGE };
    let edge = |value: &Value| {
        let size = value.as_u64().and_then(|size| usize::try_from(size).ok());
        size.filter(|size| (1..=LONGEST_EDGE).contains(size)).ok_or_else(wrong)
    };
    let resized = match value {
        Value::Number(_) if square => Resized::To([edge(value)?; 2]),
        Value::Number(_) => Resized::ShortestEdge(edge(value)?),
        Value::Array(list) => match &list[..] {
            [height, width] => Resized::To([edge(height)?, edge(width)?]),
            _ => return Err(wrong()),
        },
        Value::Object(sizes) => {
            // Of those that are null nothing is said.
            let said: Vec<_> = sizes.iter().filter(|(_, size)| !size.is_null()).collect();
            match (said.len(), sizes.get("height"), sizes.get("width"), sizes.get("shortest_edge")) {
                (2, Some(height), Some(width), _) => Resized::To([edge(height)?, edge(width)?]),
                (1, _, _, Some(shortest)) => Resized::ShortestEdge(edge(shortest)?),
                _ => return Err(wrong()),
            }
        }
        _ => return Err(wrong()),
    };
    Ok(Some(resized))
}

fn crop(fields: &Fields<'_>, otherwise: Option<[usize; 2]>) -> Result<Option<[usize; 2]>, ProcessorError> {
    let said = match size(fields, "crop_size", true)? {
        Some(Resized::To(size)) => Some(size),
        None => None,
        Some(Resized::ShortestEdge(edge)) => {
            let found = format!("{{\"shortest_edge\": {edge}}}");
            return Err(ProcessorError::Size { key: "crop_size", found, most: LONGEST_EDGE });
        }
    };
    let asked = flag(fields, "do_center_crop", otherwise.is_some())?;
    if asked {
        not_null(fields, &["crop_size"])?;
    }
    match (asked, said.or(otherwise)) {
        (false, _) => Ok(None),
        (true, Some(size)) => Ok(Some(size)),
        (true, None) => Err(ProcessorError::NoCropSize),
    }
}

fn rescale(fields: &Fields<'_>) -> Result<Option<f64>, ProcessorError> {
    if !flag(fields, "do_rescale", true)? {
        return Ok(None);
    }
    not_null(fields, &["rescale_factor"])?;
    let factor = fields.float("rescale_factor")?.unwrap_or(1.0 / 255.0);
    if !factor.is_finite() || factor == 0.0 {
        let expected = "a number other than 0";
        return Err(ProcessorError::Number { key: "rescale_factor", found: factor, expected });
    }
    Ok(Some(factor))
}

fn normalise(fields: &Fields<'_>, defaults: Defaults) -> Result<Option<Normalise>, ProcessorError> {
    if !flag(fields, "do_normalize", true)? {
        return Ok(None);
    }
    not_null(fields, &["image_mean", "image_std"])?;
    let mean = numbers(fields, "image_mean", defaults.mean)?;
    let std = numbers(fields, "image_std", defaults.std)?;
    if mean.len() != std.len() {
        let expected = "as many as image_mean";
        return Err(ProcessorError::Channels { key: "image_std", found: std.len(), expected });
    }
    let usable = |x: f64| x.is_finite() && (x as f32) != 0.0;
    if let Some(&found) = std.iter().find(|&&x| !usable(x)) {
        return Err(ProcessorError::Number { key: "image_std", found, expected: "numbers other than 0" });
    }
    Ok(Some(Normalise { mean, std }))
}

/// A number for each channel, 1 or 3; a number alone is for each of three.
fn numbers(fields: &Fields<'_>, key: &'static str, default: [f64; 3]) -> Result<Vec<f64>, ProcessorError> {
    let numbers = match fields.value(key) {
        None => default.to_vec(),
        Some(Value::Number(_)) => vec![fields.float(key)?.unwrap_or_default(); 3],
        Some(_) => fields.floats(key)?.unwrap_or_default(),
    };
    match numbers.len() {
        1 | 3 => Ok(numbers),
        found => Err(ProcessorError::Channels { key, found, expected: "1 or 3" }),
    }
}
