//! Generation against Transformers' (`testkit/golden/make_generate.py`), and a cached token against the whole text.

use loract_autograd::{KvCache, Memory};
use loract_models::{Decoder, Error, Generator, ModelSource, Row, Sampling, TokenBatch, adapter};
use loract_testkit::golden::{DECODERS, folder, json, relative_error};
use serde_json::Value;

type Outcome<T = ()> = Result<T, Box<dyn std::error::Error>>;

fn open(memory: &Memory, case: &str, adapter_in: Option<&str>) -> Outcome<Decoder> {
    let source = ModelSource::open(&folder(case))?;
    let mut decoder = Decoder::load(memory, source.config, source.weights)?;
    if let Some(name) = adapter_in {
        adapter::load(memory, &mut decoder, &folder(case).join(name))?;
    }
    Ok(decoder)
}

fn tokens(value: &Value) -> Vec<u32> {
    value.as_array().into_iter().flatten().filter_map(Value::as_u64).map(|token| token as u32).collect()
}

#[test]
fn greedy_tokens_equal_those_of_transformers_to_the_end_of_the_context() -> Outcome {
    let golden = json(&folder("generate").join("greedy.json"));
    let prompt = tokens(&golden["prompt"]);
    let memory = Memory::new();
    for case in DECODERS {
        for (key, adapter_in) in [("base", None), ("adapter", Some("adapter"))] {
            let decoder = open(&memory, case, adapter_in)?;
            for (penalty, word) in [(1.0, "1.0"), (1.3, "1.3")] {
                let want = tokens(&golden["cases"][case][key][word]["tokens"]);
                assert_eq!(prompt.len() + want.len(), decoder.config().context);
                let sampling = Sampling { repetition_penalty: penalty, ..Sampling::default() };
                let mut generator = Generator::new(&decoder, &memory, sampling, 0);
                generator.set_text(&prompt);
                let got = want.iter().map(|_| generator.next_token()).collect::<Result<Vec<_>, _>>()?;
                assert_eq!(got, want, "{case}, {key}, penalty {word}");
                assert_eq!(generator.room(), 0);
            }
        }
    }
    Ok(())
}

#[test]
fn a_cached_token_equals_the_whole_text() -> Outcome {
    for case in DECODERS {
        for adapter_in in [None, Some("adapter")] {
            let memory = Memory::new();
            let decoder = open(&memory, case, adapter_in)?;
            let ids: Vec<u32> = (0..60).map(|i| (i * 7 + 3) % 64).collect();
            let whole = decoder.logits(&memory, &TokenBatch::new(&[Row::all(ids.clone())]))?;
            let (whole, vocabulary) = (whole.to_vec(), whole.cols());
            if decoder.config().is_long(ids.len()) {
                // Early tokens of a long text have other keys than the same text while it is short.
                let mut cache = KvCache::new();
                decoder.next_logits(&memory, &mut cache, &ids[..5])?;
                let refused = decoder.next_logits(&memory, &mut cache, &ids[5..]).err().ok_or("it becomes long")?;
                assert!(
                    matches!(refused, Error::BecomesLong { past: 5, tokens: 60 }) && cache.tokens() == 5,
                    "{refused}"
                );
                continue;
            }
            // One by one, and in pieces of other lengths.
            for pieces in [vec![1; 60], vec![13, 1, 1, 30, 15]] {
                let (mut cache, mut ran) = (KvCache::new(), 0);
                for piece in pieces {
                    let logits = decoder.next_logits(&memory, &mut cache, &ids[ran..ran + piece])?.to_vec();
                    ran += piece;
                    assert_eq!(cache.tokens(), ran);
                    let error = relative_error(&logits, &whole[(ran - 1) * vocabulary..ran * vocabulary]);
                    assert!(error < 1e-5, "{case}: after {ran} tokens: {error}");
                }
            }
        }
    }
    Ok(())
}

#[test]
fn a_text_that_changes_runs_again_from_where_it_does() -> Outcome {
    let memory = Memory::new();
    for case in ["llama-untied", "phi3-longrope"] {
        runs_again(&memory, &open(&memory, case, None)?)?;
    }
    Ok(())
}

/// For [`a_text_that_changes_runs_again_from_where_it_does`]; the longest text counts as long in LongRoPE's model.
fn runs_again(memory: &Memory, decoder: &Decoder) -> Outcome {
    let long: Vec<u32> = (1..30).collect();
    let fresh = |text: &[u32]| -> Outcome<u32> {
        let mut generator = Generator::new(decoder, memory, Sampling::default(), 0);
        generator.set_text(text);
        Ok(generator.next_token()?)
    };
    let mut generator = Generator::new(decoder, memory, Sampling::default(), 0);
    // Longer, the same again, shorter, other from the start.
    for text in [
        &[1, 2, 3, 4][..],
        &[1, 2, 3, 9, 9],
        &[1, 2, 3, 9, 9],
        &long,
        &[1, 2],
        &[1, 2, 3],
        &[7, 7, 7],
        &long[..20],
        &long,
        &long[..13],
        &long[..12],
        &long,
    ] {
        generator.set_text(text);
        assert_eq!(generator.next_token()?, fresh(text)?, "{text:?}");
        assert_eq!(generator.tokens().len(), text.len() + 1);
    }
    Ok(())
}

#[test]
fn a_refused_token_leaves_the_text_as_it_was() -> Outcome {
    let memory = Memory::new();
    let decoder = open(&memory, "llama-tied", None)?;
    let mut generator = Generator::new(&decoder, &memory, Sampling::default(), 0);
    assert!(matches!(generator.next_token(), Err(Error::NoTokens)));
    generator.set_text(&[1, 64]);
    assert!(generator.next_token().is_err(), "a token outside the vocabulary");
    assert_eq!(generator.tokens(), [1, 64]);
    generator.set_text(&[1; 65]);
    assert!(matches!(generator.next_token(), Err(Error::Context { tokens: 65, context: 64 })));
    generator.set_text(&[1, 2]);
    let mut fresh = Generator::new(&decoder, &memory, Sampling::default(), 0);
    fresh.set_text(&[1, 2]);
    assert_eq!(generator.next_token()?, fresh.next_token()?);
    Ok(())
}

#[test]
fn draws_of_a_seed_are_the_same_and_of_another_are_not() -> Outcome {
    let memory = Memory::new();
    let decoder = open(&memory, "llama-tied", None)?;
    let drawn = |seed| -> Outcome<Vec<u32>> {
        let sampling = Sampling { temperature: 1.5, ..Sampling::default() };
        let mut generator = Generator::new(&decoder, &memory, sampling, seed);
        generator.set_text(&[3, 4]);
        Ok((0..40).map(|_| generator.next_token()).collect::<Result<_, _>>()?)
    };
    assert_eq!(drawn(1)?, drawn(1)?);
    assert_ne!(drawn(1)?, drawn(2)?);
    Ok(())
}
