//! From flags to captured activations: which layers and sites of a model, on which rows of a data file.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;
use loract_autograd::{Memory, Tensor};
use loract_linalg::Mat;
use loract_models::{Classifier, Decoder, ImageBatch, LoraConfig, Model, ModelSource, TokenBatch, VisionSource};
use loract_train::capture::{Place, capture, capture_images};
use loract_train::data::{Dataset, Reader, Split};
use loract_train::{Error, ImagesLook, Tuning, look_at_images};

use crate::args::{ImageArgs, RowArgs, data_file, picture_file};
use crate::output;

/// Rows of the micro-batch, if not given.
const ROWS: usize = 4;

/// Which activations, as typed.
#[derive(Debug, Clone, Default, PartialEq, Args)]
pub struct ChoiceArgs {
    /// PEFT adapter folder [default: a fresh LoRA pair on every linear layer, so that every site is saved]
    #[arg(long)]
    pub adapter: Option<PathBuf>,
    /// Rows from the start of the file, as one micro-batch [default: 4]
    #[arg(long)]
    pub rows: Option<usize>,
    /// Cut rows to this many tokens [default: a row beyond the model's context is an error]
    #[arg(long)]
    pub seq_len: Option<usize>,
    #[command(flatten)]
    pub row: RowArgs,
    #[command(flatten)]
    pub images: ImageArgs,
    /// Layers, counted from 0, or `all`
    #[arg(long, value_delimiter = ',')]
    pub layers: Option<Vec<String>>,
    /// Sites: norm, attn_in, attn_qkv, attn_out, mlp_in, act_fn, mlp_out, or one tensor of a site (act_fn.gate) [default: all]
    #[arg(long, value_delimiter = ',')]
    pub sites: Option<Vec<String>>,
}

/// The layers chosen when none are named.
#[derive(Debug, Clone, Copy)]
pub enum DefaultLayers {
    /// The first, the middle and the last.
    Three,
    /// The middle one.
    Middle,
}

/// A model and a micro-batch, ready to be run.
pub struct Subject {
    memory: Memory,
    kind: Kind,
    data: PathBuf,
    layers: BTreeSet<usize>,
    places: BTreeSet<Place>,
    /// The model's name.
    pub model: String,
    /// Rows of the micro-batch.
    pub rows: usize,
}

enum Kind {
    Text { decoder: Box<Decoder>, batch: TokenBatch },
    Images { classifier: Box<Classifier>, batch: ImageBatch },
}

/// A captured tensor's name: `layer14.attn_out`, `norm.final`.
pub fn label(place: Place, layer: Option<usize>) -> String {
    layer.map_or_else(|| place.to_string(), |layer| format!("layer{layer}.{place}"))
}

/// The tensor's numbers as a matrix (m×n), a copy.
pub fn matrix(tensor: &Tensor) -> Mat {
    Mat::from_vec(tensor.to_vec(), tensor.rows(), tensor.cols())
}

impl Subject {
    /// Opens model, adapter and data; what is wrong with the choice is said before weights are read.
    pub fn open(model: &Path, data: &Path, args: &ChoiceArgs, default: DefaultLayers) -> Result<Self, Error> {
        let asked = args.rows.unwrap_or(ROWS);
        if asked == 0 {
            return Err(setting("rows", "0; the least is 1"));
        }
        if args.seq_len.is_some_and(|t| t < 2) {
            return Err(setting("seq-len", "a row needs two tokens at least, one to predict the other"));
        }
        let places = places(args)?;
        match VisionSource::is_at(model) {
            true => Self::open_images(model, data, args, (places, asked), default),
            false => Self::open_text(model, data, args, (places, asked), default),
        }
    }

    fn open_text(
        model: &Path,
        data: &Path,
        args: &ChoiceArgs,
        (places, asked): (BTreeSet<Place>, usize),
        default: DefaultLayers,
    ) -> Result<Self, Error> {
        if args.images != ImageArgs::default() {
            let key = if args.images.skip_broken { "skip-broken" } else { "image-size" };
            return Err(setting(key, "belongs to image models, and this one is for text; leave it out"));
        }
        let memory = Memory::new();
        let source = ModelSource::open(model)?;
        let layers = layers(args.layers.as_deref(), source.config.layers, default)?;
        let reader = Reader::new(&source, args.seq_len, &args.row.clone().resolve()?)?;
        let dataset = Dataset::read(&data_file(data, &[Split::Train])?, &reader)?;
        let rows = fewer(asked, dataset.examples().len(), args, data);
        let batch = TokenBatch::new(dataset.examples().iter().take(rows).map(|e| &e.row));
        let name = source.name.clone();
        let mut decoder = Box::new(Decoder::load(&memory, source.config, source.weights)?);
        with_pairs(&memory, &mut *decoder, args)?;
        output::message(&format!("{name}: one micro-batch of {rows} rows, {} tokens", batch.tokens()));
        let kind = Kind::Text { decoder, batch };
        Ok(Self { memory, kind, data: data.to_path_buf(), layers, places, model: name, rows })
    }

    fn open_images(
        model: &Path,
        data: &Path,
        args: &ChoiceArgs,
        (places, asked): (BTreeSet<Place>, usize),
        default: DefaultLayers,
    ) -> Result<Self, Error> {
        let of_text = args.seq_len.is_some() || args.row != RowArgs::default();
        if of_text {
            return Err(setting(
                "seq-len",
                "and what is said of rows belong to text; leave them out for an image model",
            ));
        }
        let layers = layers(args.layers.as_deref(), VisionSource::read_config(model)?.layers(), default)?;
        let memory = Memory::new();
        let pictures = picture_file(data, &[Split::Train])?;
        let settings = args.images.clone().resolve()?;
        let look = look_at_images(&memory, model, &pictures, args.adapter.as_deref(), &settings, asked)?;
        let ImagesLook { name, model, batch, notes } = look;
        notes.iter().for_each(|note| output::message(note));
        let mut classifier = Box::new(model);
        let rows = fewer(asked, batch.images(), args, data);
        with_pairs(&memory, &mut *classifier, args)?;
        output::message(&format!("{name}: one micro-batch of {rows} images, {} rows", batch.tokens()));
        let kind = Kind::Images { classifier, batch };
        Ok(Self { memory, kind, data: data.to_path_buf(), layers, places, model: name, rows })
    }

    /// m: tokens of the micro-batch.
    pub fn tokens(&self) -> usize {
        match &self.kind {
            Kind::Text { batch, .. } => batch.tokens(),
            Kind::Images { batch, .. } => batch.tokens(),
        }
    }

    /// Runs the micro-batch and shows `see` the chosen tensors as they are saved; returns the mean loss.
    pub fn capture(
        &self,
        mut see: impl FnMut(Place, Option<usize>, &Tensor) -> Result<(), Error>,
    ) -> Result<f64, Error> {
        let mut seen = 0usize;
        let mut chosen = |place: Place, layer: Option<usize>, tensor: &Tensor| {
            if !self.places.contains(&place) || layer.is_some_and(|l| !self.layers.contains(&l)) {
                return Ok(());
            }
            seen += 1;
            see(place, layer, tensor)
        };
        let loss = match &self.kind {
            Kind::Text { decoder, batch } => capture(decoder, &self.memory, batch, &mut chosen)?,
            Kind::Images { classifier, batch } => capture_images(classifier, &self.memory, batch, &mut chosen)?,
        };
        if !loss.is_finite() {
            return Err(Error::Evaluation { path: self.data.clone(), value: loss });
        }
        if seen == 0 {
            let names: Vec<_> = self.places.iter().map(|p| p.name()).collect();
            let layers: Vec<_> = self.layers.iter().map(usize::to_string).collect();
            let what = format!(
                "nothing is saved at {} in layers {}: the norm before attention of layer 0 saves attn_in instead, and a \
                 layer without a LoRA pair does not save its input; name other sites or layers, or leave --adapter away",
                names.join(", "),
                layers.join(", ")
            );
            return Err(setting("sites", what));
        }
        Ok(loss)
    }
}

/// How many there are of so many `asked`; that there are fewer is said.
fn fewer(asked: usize, there: usize, args: &ChoiceArgs, data: &Path) -> usize {
    if there < asked && args.rows.is_some() {
        output::message(&format!("{} has {there} rows; --rows {asked} takes them all", data.display()));
    }
    asked.min(there)
}

/// The adapter, or new pairs. B of a new pair is 0, so the model is unchanged; the pairs only make every site save.
fn with_pairs<M: Model>(memory: &Memory, model: &mut M, args: &ChoiceArgs) -> Result<(), Error> {
    let lora = LoraConfig { rank: 1, ..LoraConfig::default() };
    Tuning::Lora(lora).begin(memory, model, args.adapter.as_deref(), 0).map(drop)
}

fn setting(key: &'static str, what: impl Into<String>) -> Error {
    Error::Setting { key, what: what.into() }
}

/// The final norm belongs to no layer: it is in `all` of them, or named.
fn places(args: &ChoiceArgs) -> Result<BTreeSet<Place>, Error> {
    let Some(names) = &args.sites else {
        let all_layers = args.layers.as_ref().is_some_and(|l| l.iter().any(|word| word == "all"));
        return Ok(Place::ALL.into_iter().filter(|&p| all_layers || p != Place::NormFinal).collect());
    };
    let mut places = BTreeSet::new();
    for name in names {
        places.extend(Place::named(name.trim()).map_err(|what| setting("sites", what))?);
    }
    Ok(places)
}

fn layers(words: Option<&[String]>, count: usize, default: DefaultLayers) -> Result<BTreeSet<usize>, Error> {
    let last = count.saturating_sub(1);
    let Some(words) = words else {
        return Ok(match default {
            DefaultLayers::Three => BTreeSet::from([0, count / 2, last]),
            DefaultLayers::Middle => BTreeSet::from([count / 2]),
        });
    };
    let mut layers = BTreeSet::new();
    for word in words.iter().map(|word| word.trim()) {
        if word == "all" {
            layers.extend(0..count);
            continue;
        }
        let layer: usize = word
            .parse()
            .map_err(|_| setting("layers", format!("`{word}` is neither a number nor `all`; give e.g. 0,{last}")))?;
        if layer > last {
            let what = format!("{layer} is beyond the model's {count} layers, which are 0 to {last}");
            return Err(setting("layers", what));
        }
        layers.insert(layer);
    }
    Ok(layers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_are_chosen_by_number_or_all_or_by_default() {
        let of = |text: &str, count| {
            let words: Vec<String> = text.split(',').map(String::from).collect();
            layers(Some(&words), count, DefaultLayers::Three).map(Vec::from_iter).map_err(|e| e.to_string())
        };
        assert_eq!(of("3,0,3", 4), Ok(vec![0, 3]));
        assert_eq!(of("all", 3), Ok(vec![0, 1, 2]));
        for (text, want) in [("4", "4 is beyond the model's 4 layers, which are 0 to 3"), ("x", "`x`"), ("", "``")] {
            let got = of(text, 4).err().unwrap_or_default();
            assert!(got.contains(want), "{text}: {got}");
        }
        let default = |count, default| layers(None, count, default).map(Vec::from_iter).unwrap_or_default();
        assert_eq!(default(30, DefaultLayers::Three), [0, 15, 29]);
        assert_eq!(default(1, DefaultLayers::Three), [0]);
        assert_eq!(default(30, DefaultLayers::Middle), [15]);
    }

    #[test]
    fn the_final_norm_comes_with_all_layers_or_by_name() {
        let of = |layers: Option<&str>, sites: Option<&str>| {
            let words = |text: &str| vec![text.to_owned()];
            let args = ChoiceArgs { layers: layers.map(words), sites: sites.map(words), ..ChoiceArgs::default() };
            places(&args).is_ok_and(|places| places.contains(&Place::NormFinal))
        };
        assert!(of(Some("all"), None) && of(None, Some("norm")) && of(Some("0"), Some("norm.final")));
        assert!(!of(None, None) && !of(Some("0"), None) && !of(Some("all"), Some("attn_out")));
    }
}
