//! What an image classifier is, apart from its numbers: `config.json` of Transformers 4 and 5.
//!
//! Absent keys have the defaults of the family's configuration in Transformers, sizes too: files of CLIP name only what differs from
//! them. What a classifier does not need is kept and written again.

use std::path::Path;

use loract_autograd::ops::Activation;
use serde_json::{Map, Value, json};

use super::family::VisionType;
use crate::config::ConfigError;
use crate::config::json::{Fields, activation};
use crate::error::Error;
use crate::weights::store::StoredAs;

/// More of anything than any classifier has; keeps sizes computed from them in range.
const MOST: usize = 1 << 20;
/// More classes than any classifier has (ImageNet-21k: 21,841).
const MOST_LABELS: usize = 1 << 17;
/// More rows of an image than any classifier has.
const MOST_ROWS: usize = 1 << 17;
/// More numbers of a patch.
const MOST_OF_A_PATCH: usize = 1 << 24;
/// A window of more is none.
const MOST_WINDOW: usize = 64;

/// The architecture of an image classifier.
#[derive(Debug, Clone, PartialEq)]
pub struct VisionConfig {
    /// Family.
    pub model_type: VisionType,
    /// Height and width of the images that go in, pixels.
    pub image_size: [usize; 2],
    /// Those that its table of positions is for.
    pub(super) table_size: [usize; 2],
    /// Height and width of a patch, pixels.
    pub patch_size: [usize; 2],
    /// Channels of a pixel.
    pub channels: usize,
    /// Layers of one width each; all families but Swin have one stage.
    pub stages: Vec<StageConfig>,
    /// Inside the MLP.
    pub activation: Activation,
    /// Whether the MLP has a gate (DINOv2's largest).
    pub gated: bool,
    /// Whether q, k and v have a bias.
    pub qkv_bias: bool,
    /// Added to the variance in norms.
    pub norm_eps: f32,
    /// Height and width of a window of attention, patches (Swin).
    pub window: Option<usize>,
    /// Whether there is a table of positions.
    pub positions: bool,
    /// The classes, in the order of logits.
    pub labels: Vec<String>,
    /// Standard deviation of a new head's weights.
    pub(super) initializer_range: f32,
    /// `config.json` as it was.
    values: Map<String, Value>,
}

/// Layers of one width.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StageConfig {
    /// Layers.
    pub layers: usize,
    /// Heads of attention.
    pub heads: usize,
    /// Width of the residual stream, C.
    pub hidden_size: usize,
    /// Width inside the MLP, F.
    pub intermediate_size: usize,
}

impl StageConfig {
    /// Width of a head, D.
    pub fn head_dim(&self) -> usize {
        self.hidden_size / self.heads
    }
}

impl VisionConfig {
    /// The configuration in the text of a `config.json`, which messages call `path`.
    ///
    /// # Errors
    /// [`Error::Json`] if the text is not a JSON object; [`Error::Config`] if the model is not supported or a value is of another
    /// kind or does not fit the others.
    pub fn from_json(path: &Path, text: &str) -> Result<Self, Error> {
        let values = serde_json::from_str::<Map<String, Value>>(text);
        let values = values.map_err(|reason| Error::Json { path: path.to_path_buf(), reason })?;
        Self::of_map(values).map_err(|reason| Error::Config { path: path.to_path_buf(), reason })
    }

    fn of_map(values: Map<String, Value>) -> Result<Self, ConfigError> {
        let top = Fields(&values);
        let found = top.text("model_type")?.ok_or(ConfigError::Missing { key: "model_type" })?;
        let model_type = VisionType::named(found).ok_or_else(|| ConfigError::VisionType { found: found.to_owned() })?;
        let family = model_type.family();
        let within = family.within.filter(|_| family.alone != Some(found));
        let inner = match within {
            // Older files have the values under a second key, which goes before the first.
            Some(key) => match top.object(&format!("{key}_dict"))? {
                Some(older) => Some(older),
                None => top.object(key)?,
            },
            None => None,
        };
        let nothing = Map::new();
        // In a file of images and texts an absent part is that of the defaults.
        let config = match (&inner, within) {
            (Some(inner), _) => inner,
            (None, Some(_)) => &Fields(&nothing),
            (None, None) => &top,
        };
        let stages = stages(model_type, config)?;
        let swin = model_type == VisionType::Swin;
        let image_size = pair(config, "image_size", family.defaults.image_size)?;
        let read = Self {
            model_type,
            image_size,
            table_size: image_size,
            patch_size: pair(config, "patch_size", family.defaults.patch_size)?,
            channels: config.size("num_channels")?.unwrap_or(3),
            stages,
            activation: activation(config, ("hidden_act", family.defaults.activation))?,
            gated: model_type == VisionType::Dinov2 && config.flag("use_swiglu_ffn")?,
            qkv_bias: family.within.is_some() || config.flag_or("qkv_bias", true)?,
            norm_eps: config.float("layer_norm_eps")?.unwrap_or(family.defaults.eps) as f32,
            window: if swin { Some(config.size("window_size")?.unwrap_or(7)) } else { None },
            positions: !swin || config.flag("use_absolute_embeddings")?,
            labels: labels(&top)?,
            initializer_range: config.float("initializer_range")?.unwrap_or(0.02) as f32,
            values: Map::new(),
        };
        let mut read = read.checked()?;
        read.values = values;
        Ok(read)
    }

    /// Refuses what nothing can be built from.
    fn checked(self) -> Result<Self, ConfigError> {
        let [height, width] = self.image_size;
        let within = |key, size, most| match size {
            1.. if size <= most => Ok(()),
            _ => Err(ConfigError::OutOf { key, size, most }),
        };
        let size = |key, size| within(key, size, MOST);
        for (key, value) in [
            ("image_size", height),
            ("image_size", width),
            ("patch_size", self.patch_size[0]),
            ("patch_size", self.patch_size[1]),
            ("num_channels", self.channels),
        ] {
            size(key, value)?;
        }
        within("window_size", self.window.unwrap_or(1), MOST_WINDOW)?;
        within("the labels of id2label", self.labels.len(), MOST_LABELS)?;
        let of_patch = self.channels.saturating_mul(self.patch_size[0]).saturating_mul(self.patch_size[1]);
        within("num_channels times a patch", of_patch, MOST_OF_A_PATCH)?;
        for stage in &self.stages {
            size("num_hidden_layers", stage.layers)?;
            size("num_attention_heads", stage.heads)?;
            size("hidden_size", stage.hidden_size)?;
            size("intermediate_size", stage.intermediate_size)?;
            if stage.hidden_size % stage.heads != 0 {
                return Err(ConfigError::NoHeadDim { hidden_size: stage.hidden_size, heads: stage.heads });
            }
        }
        if !(self.norm_eps.is_finite() && self.norm_eps > 0.0) {
            return Err(ConfigError::NotPositive { key: "layer_norm_eps", value: f64::from(self.norm_eps) });
        }
        self.check_images()?;
        Ok(self)
    }

    fn check_images(&self) -> Result<(), ConfigError> {
        let [rows, cols] = self.grid();
        if rows == 0 || cols == 0 {
            let (image, patch) = (self.image_size, self.patch_size);
            return Err(ConfigError::NoPatch { image, patch });
        }
        if self.tokens() > MOST_ROWS {
            let key = "the patches of an image (image_size over patch_size)";
            return Err(ConfigError::OutOf { key, size: self.tokens(), most: MOST_ROWS });
        }
        let whole = [0, 1].iter().all(|&side| self.image_size[side].is_multiple_of(self.patch_size[side]));
        if self.window.is_some() && self.positions && !whole {
            return Err(ConfigError::PartOfPatch { image: self.image_size, patch: self.patch_size });
        }
        if let Some(window) = self.window {
            for stage in 0..self.stages.len() {
                let map = self.map(stage);
                if window > map[0].min(map[1]) {
                    return Err(ConfigError::Window { window, map, stage });
                }
            }
        }
        Ok(())
    }

    /// The same for images of another size, whose table of positions is resized.
    ///
    /// # Errors
    /// [`ConfigError::NoPatch`], [`ConfigError::Window`] if they are too small.
    pub fn with_image_size(mut self, [height, width]: [usize; 2]) -> Result<Self, ConfigError> {
        self.image_size = [height, width];
        self.checked()
    }

    /// The same with other classes.
    pub fn with_labels(mut self, labels: Vec<String>) -> Self {
        self.labels = labels;
        self
    }

    /// Patches down and across an image. What is left over of an image at its right and bottom is left out; Swin fills it up to a
    /// patch with zeros.
    pub fn grid(&self) -> [usize; 2] {
        self.grid_of(self.image_size)
    }

    pub(super) fn grid_of(&self, image: [usize; 2]) -> [usize; 2] {
        let [h, w] = image;
        let [p, q] = self.patch_size;
        match self.window {
            Some(_) => [h.div_ceil(p), w.div_ceil(q)],
            None => [h / p, w / q],
        }
    }

    /// Rows down and across an image in the layers of a stage.
    pub(super) fn map(&self, stage: usize) -> [usize; 2] {
        (0..stage).fold(self.grid(), |[h, w], _| [h.div_ceil(2), w.div_ceil(2)])
    }

    /// Rows of an image in the first layer, T: its patches and what is put before them.
    pub fn tokens(&self) -> usize {
        let [h, w] = self.grid();
        h * w + self.model_type.family().names.tokens.len()
    }

    /// Numbers of an image: channels × height × width.
    pub fn pixels(&self) -> usize {
        self.channels * self.image_size[0] * self.image_size[1]
    }

    /// Layers of all stages.
    pub fn layers(&self) -> usize {
        self.stages.iter().map(|stage| stage.layers).sum()
    }

    /// As the `config.json` of a classifier with weights so stored.
    pub fn to_json(&self, stored: StoredAs) -> Map<String, Value> {
        let family = self.model_type.family();
        let mut values = self.values.clone();
        // A file of the encoder alone becomes one of the whole kind.
        let alone = values.get("model_type").and_then(Value::as_str) == family.alone;
        if let Some(within) = family.within.filter(|_| alone) {
            let inner = std::mem::take(&mut values);
            values.insert(within.into(), Value::Object(inner));
        }
        let image = match self.image_size {
            [h, w] if h == w => json!(h),
            both => json!(both),
        };
        if let Some((key, older)) = family.within.and_then(|key| Some((key, values.remove(&format!("{key}_dict"))?))) {
            values.insert(key.into(), older);
        }
        let inner = match family.within {
            None => Some(&mut values),
            Some(key) => {
                let inner = values.entry(key).or_insert(Value::Null);
                if inner.is_null() {
                    *inner = json!({});
                }
                inner.as_object_mut()
            }
        };
        if let Some(inner) = inner {
            inner.insert("image_size".into(), image);
        }
        values.insert("model_type".into(), family.name.into());
        values.insert("architectures".into(), json!([family.class]));
        let key = if values.contains_key("torch_dtype") { "torch_dtype" } else { "dtype" };
        values.insert(key.into(), stored.torch_name().into());
        let numbered = || self.labels.iter().enumerate();
        let by_number: Map<String, Value> = numbered().map(|(i, name)| (i.to_string(), json!(name))).collect();
        let by_name: Map<String, Value> = numbered().map(|(i, name)| (name.clone(), json!(i))).collect();
        values.insert("id2label".into(), by_number.into());
        values.insert("label2id".into(), by_name.into());
        values.remove("num_labels");
        values
    }
}

/// The widths and layers of a model.
fn stages(model_type: VisionType, config: &Fields<'_>) -> Result<Vec<StageConfig>, ConfigError> {
    let defaults = &model_type.family().defaults;
    // As Python's int(): cut off.
    let ratio = |width: usize| -> Result<usize, ConfigError> {
        let ratio = config.float("mlp_ratio")?.unwrap_or(4.0);
        Ok((width as f64 * ratio).clamp(0.0, 1e12) as usize)
    };
    if model_type == VisionType::Swin {
        let first = config.size("embed_dim")?.unwrap_or(defaults.hidden_size);
        let depths = config.sizes("depths")?.unwrap_or_else(|| vec![2, 2, 6, 2]);
        let heads = config.sizes("num_heads")?.unwrap_or_else(|| vec![3, 6, 12, 24]);
        if depths.len() != heads.len() || depths.is_empty() || depths.len() > 16 {
            return Err(ConfigError::Stages { depths: depths.len(), heads: heads.len() });
        }
        let stage = |(i, (layers, heads))| {
            let hidden_size = first.saturating_mul(1usize << i);
            Ok(StageConfig { layers, heads, hidden_size, intermediate_size: ratio(hidden_size)? })
        };
        return depths.into_iter().zip(heads).enumerate().map(stage).collect();
    }
    let hidden_size = config.size("hidden_size")?.unwrap_or(defaults.hidden_size);
    let intermediate_size = match model_type {
        VisionType::Dinov2 if config.flag("use_swiglu_ffn")? => {
            ((ratio(hidden_size)? as f64 * 2.0 / 3.0) as usize).next_multiple_of(8)
        }
        VisionType::Dinov2 => ratio(hidden_size)?,
        _ => config.size("intermediate_size")?.unwrap_or(4 * defaults.hidden_size),
    };
    Ok(vec![StageConfig {
        layers: config.size("num_hidden_layers")?.unwrap_or(defaults.layers),
        heads: config.size("num_attention_heads")?.unwrap_or(defaults.heads),
        hidden_size,
        intermediate_size,
    }])
}

/// A number for both directions, or one for each.
pub(super) fn pair(config: &Fields<'_>, key: &'static str, default: usize) -> Result<[usize; 2], ConfigError> {
    if let Ok(Some(both)) = config.sizes(key) {
        return match both[..] {
            [h, w] => Ok([h, w]),
            _ => Err(ConfigError::Pair { key, found: both.len() }),
        };
    }
    let one = config.size(key)?.unwrap_or(default);
    Ok([one, one])
}

/// The classes of `id2label`, or as many as `num_labels` says.
pub(super) fn labels(top: &Fields<'_>) -> Result<Vec<String>, ConfigError> {
    let Some(named) = top.object("id2label")? else {
        // One too many is refused later.
        return Ok(numbered(top.size("num_labels")?.unwrap_or(2).min(MOST_LABELS + 1)));
    };
    (0..named.len())
        .map(|i| {
            let name = named.text(&i.to_string())?;
            name.map(str::to_owned).ok_or_else(|| ConfigError::NoLabel { number: i, labels: named.len() })
        })
        .collect()
}

/// Names for classes that have none, as Transformers gives them.
pub(crate) fn numbered(count: usize) -> Vec<String> {
    (0..count).map(|i| format!("LABEL_{i}")).collect()
}
