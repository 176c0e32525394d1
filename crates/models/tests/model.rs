//! What every model gets from the trait: whole weights written and taken again under their published names and sizes, and adapters.

use std::fs;
use std::path::PathBuf;

use loract_autograd::ops::{Linear, LossOutput};
use loract_autograd::{Bytes, DType, Frozen, Memory, Param, Tape, Values, Weight};
use loract_models::weights::{safetensors, store::StoredAs};
use loract_models::{
    Batch, Checked, Decoder, Error, LoraConfig, Model, ModelSource, TensorMut, TensorRef, Weights, adapter,
};
use loract_testkit::golden::{folder, tensors};

type Outcome<T = ()> = Result<T, Box<dyn std::error::Error>>;

/// A folder for what a test writes.
fn scratch(name: &str) -> Outcome<PathBuf> {
    let folder = std::env::temp_dir().join(format!("loract-model-{name}-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    Ok(folder)
}

/// A patch projection and a class token, stored with more sizes than they have in memory and under other names.
struct Patches {
    projection: Linear,
    class: Values,
}

struct Nothing;

impl Batch for Nothing {
    fn trained(&self) -> usize {
        0
    }
    fn rows(&self) -> usize {
        0
    }
}

const PATCH: [usize; 4] = [2, 3, 1, 2];
const CLASS: [usize; 3] = [1, 1, 2];

impl Patches {
    fn new(memory: &Memory) -> Outcome<Self> {
        let numbers = (0..12).flat_map(|i| (i as f32).to_le_bytes()).collect();
        let weight = Weight::Frozen(Frozen::new(memory, DType::F32, 2, 6, Bytes::owned(numbers))?);
        let projection = Linear { weight, bias: None, lora: None };
        Ok(Self { projection, class: Values::frozen(memory, vec![0.5, -0.5]) })
    }

    fn params_of(&self) -> impl Iterator<Item = &Param> {
        self.projection.weight.trained().into_iter().chain(self.class.trained())
    }
}

impl Model for Patches {
    type Batch = Nothing;
    const TASK: Option<&'static str> = None;

    fn loss<'m>(&'m self, _: &mut Tape<'m>, _: &Nothing) -> Result<LossOutput, Error> {
        Err(Error::NoTokens)
    }
    fn linears(&self) -> Vec<(String, &Linear)> {
        vec![("embeddings.projection".to_owned(), &self.projection)]
    }
    fn linears_mut(&mut self) -> Vec<(String, &mut Linear)> {
        vec![("embeddings.projection".to_owned(), &mut self.projection)]
    }
    fn tensors(&self) -> Vec<(String, TensorRef<'_>)> {
        vec![
            ("embeddings.projection.weight".to_owned(), TensorRef::ShapedMatrix(&self.projection.weight, &PATCH)),
            ("embeddings.class".to_owned(), TensorRef::ShapedVector(&self.class, &CLASS)),
        ]
    }
    fn tensors_mut(&mut self) -> Vec<(String, TensorMut<'_>)> {
        vec![
            ("embeddings.projection.weight".to_owned(), TensorMut::ShapedMatrix(&mut self.projection.weight, &PATCH)),
            ("embeddings.class".to_owned(), TensorMut::ShapedVector(&mut self.class, &CLASS)),
        ]
    }
    fn params(&self) -> Vec<&Param> {
        self.params_of().collect()
    }
    fn params_mut(&mut self) -> Vec<&mut Param> {
        self.projection.weight.trained_mut().into_iter().chain(self.class.trained_mut()).collect()
    }
    fn head(&self) -> &'static str {
        "classifier"
    }
    fn published(&self, tensor: &str) -> String {
        tensor.replace("embeddings.", "vit.embeddings.")
    }
}

#[test]
fn tensors_keep_their_published_names_and_sizes_there_and_back() -> Outcome {
    let (memory, out) = (Memory::new(), scratch("patches")?);
    let mut model = Patches::new(&memory)?;
    model.train_all(&memory);
    assert_eq!(model.params().iter().map(|p| p.name()).collect::<Vec<_>>().join(" "), NAMES);
    model.params_mut()[1].value_mut().write(&[7.0, 8.0]);
    for file in model.to_files(StoredAs::F32, usize::MAX) {
        file.write(&out.join(&*file.name))?;
    }
    let stored = tensors(&out.join("model.safetensors"));
    let shapes: Vec<_> = stored.iter().map(|(name, (shape, _))| (name.as_str(), shape.clone())).collect();
    let want = [("vit.embeddings.class", CLASS.to_vec()), ("vit.embeddings.projection.weight", PATCH.to_vec())];
    assert_eq!(shapes, want);
    assert_eq!(stored["vit.embeddings.class"].1, [7.0, 8.0]);

    let mut again = Patches::new(&memory)?;
    again.train_all(&memory);
    again.take_trained(&mut safetensors::open_folder(&out)?)?;
    let numbers = |model: &Patches| model.params().iter().map(|p| p.value().to_vec()).collect::<Vec<_>>();
    assert_eq!(numbers(&again), numbers(&model));

    let mut checked = Checked::new(safetensors::open_folder(&out)?, &memory);
    let projection = checked.shaped("vit.embeddings.projection.weight", &PATCH, [2, 6]).ok_or("it is there")?;
    assert_eq!(projection.to_f32(), (0..12).map(|i| i as f32).collect::<Vec<_>>());
    assert!(checked.shaped("vit.embeddings.class", &PATCH, [2, 6]).is_none());
    let error = checked.finish(&[]).err().ok_or("a shape is wrong")?.to_string();
    assert!(error.contains("stored 1x1x2, expected 2x3x1x2"), "{error}");
    Ok(fs::remove_dir_all(&out)?)
}

const NAMES: &str = "embeddings.projection.weight embeddings.class";

/// A norm of heads with a row for each is a matrix in the file and a vector in memory.
#[test]
fn norms_of_own_heads_are_taken_as_they_are_written() -> Outcome {
    let (memory, out) = (Memory::new(), scratch("heads")?);
    let open = || -> Outcome<Decoder> {
        let source = ModelSource::open(&folder("cohere"))?;
        let mut decoder = Decoder::load(&memory, source.config, source.weights)?;
        decoder.train_all(&memory);
        Ok(decoder)
    };
    let mut decoder = open()?;
    decoder.params_mut().into_iter().for_each(|param| {
        let numbers: Vec<f32> = param.value().to_vec().iter().map(|x| x + 1.0).collect();
        param.value_mut().write(&numbers);
    });
    for file in decoder.to_files(StoredAs::F32, usize::MAX) {
        file.write(&out.join(&*file.name))?;
    }
    let mut again = open()?;
    again.take_trained(&mut safetensors::open_folder(&out)?)?;
    let heads = |decoder: &Decoder| {
        let norms = decoder.params().into_iter().filter(|param| param.name().ends_with("q_norm.weight"));
        norms.map(|param| param.value().to_vec()).collect::<Vec<_>>()
    };
    assert!(!heads(&decoder).is_empty());
    assert_eq!(heads(&again), heads(&decoder));
    Ok(fs::remove_dir_all(&out)?)
}

/// PEFT leaves a model without a task's type null, and lists what it left out.
#[test]
fn an_adapter_may_exclude_what_it_has_no_pair_for() -> Outcome {
    let (memory, out) = (Memory::new(), scratch("exclude")?);
    let config = LoraConfig { targets: vec!["projection".to_owned()], rank: 2, ..LoraConfig::default() };
    let mut model = Patches::new(&memory)?;
    let lora = model.attach_lora(&memory, &config, 0)?;
    for file in adapter::files(&model, &lora, "base") {
        file.write(&out.join(&*file.name))?;
    }
    let path = out.join(adapter::CONFIG_FILE);
    let written: serde_json::Value = serde_json::from_str(&fs::read_to_string(&path)?)?;
    assert_eq!(written.get("task_type"), Some(&serde_json::Value::Null));
    for (excluded, names_it) in [
        (serde_json::json!(["lm_head", "jection"]), false),
        (serde_json::json!("head.*"), false),
        (serde_json::json!(["embeddings.projection"]), true),
    ] {
        let mut settings = written.clone();
        settings["exclude_modules"] = excluded.clone();
        fs::write(&path, settings.to_string())?;
        match adapter::load(&memory, &mut Patches::new(&memory)?, &out) {
            Ok(read) => assert!(!names_it && read == lora, "{excluded}"),
            Err(error) => assert!(names_it && error.to_string().contains("exclude_modules"), "{excluded}: {error}"),
        }
    }
    Ok(fs::remove_dir_all(&out)?)
}

/// Weights are taken once.
#[test]
fn a_shaped_matrix_is_missing_when_it_is_not_there() {
    let taken = Weights::new("m").take_shaped(&Memory::new(), "x", &PATCH, [2, 6]);
    assert!(matches!(taken, Err(Error::MissingTensor { .. })));
}
