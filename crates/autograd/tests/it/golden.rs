//! Blocks of experts against those of Transformers (`testkit/golden/make_experts.py`): output, and gradients of the input,
//! the router and every expert's weights.

use std::collections::BTreeMap;

use loract_autograd::ops::{Linear, Shares, experts, linear, route};
use loract_autograd::{Category, Form, Grads, Memory, Param, Policy, Recompute, Site, Tape, Weight};
use loract_testkit::golden::{folder, tensors};

use crate::expert::Expert;
use crate::harness::{KEY, Result, assert_close, everywhere, wide};
use crate::kept::form;

const TOP_K: usize = 2;

type Tensors = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

/// A trained layer of the numbers of `name`, of the given part of its leading dimension.
fn layer(memory: &Memory, all: &Tensors, name: &str, part: usize, parts: usize) -> Linear {
    let (shape, numbers) = &all[name];
    let (len, cols) = (numbers.len() / parts, shape[shape.len() - 1]);
    let numbers = numbers[part * len..(part + 1) * len].to_vec();
    Linear { weight: Weight::Trained(Param::new(memory, name, len / cols, cols, numbers)), bias: None, lora: None }
}

fn check(family: &str, shares: Shares, policy: Policy) -> Result {
    let all = tensors(&folder("experts").join(format!("{family}.safetensors")));
    let memory = Memory::new();
    let router = layer(&memory, &all, "router", 0, 1);
    let count = all["down"].0[0];
    let experts_of: Vec<_> = (0..count)
        .map(|at| Expert {
            gate: layer(&memory, &all, "gate_up", 2 * at, 2 * count),
            up: layer(&memory, &all, "gate_up", 2 * at + 1, 2 * count),
            down: layer(&memory, &all, "down", at, count),
        })
        .collect();
    let matrix = |name: &str| {
        let (shape, numbers) = &all[name];
        memory.tensor(shape[0], shape[1], numbers.clone(), Category::Transient)
    };
    let (mut tape, mut grads) = (Tape::new(&memory, policy, KEY), Grads::new());
    let x = tape.input(matrix("x"), true);
    let id = x.id();
    let y = tape.segment(
        Site::CkptMlp,
        x,
        Box::new(|tape, x| {
            let logits = linear(tape, &x, &router, Site::MlpIn)?;
            let routed = route(tape, &logits, TOP_K, shares)?;
            experts(tape, &x, &routed, &[Site::MlpIn], |tape, number, input| {
                experts_of[number].run(tape, &input.x, &input.weights, &[Site::CkptMlp])
            })
        }),
    )?;
    let output = y.tensor().to_vec();
    let dx = tape.backward(y.id(), matrix("dy"), &mut grads)?.take(id).expect("x wants a gradient").to_vec();
    let gradient = |layer: &Linear| layer.weight.trained().and_then(|w| grads.get(w)).expect("it is trained").to_vec();
    let gate_up = experts_of.iter().flat_map(|expert| [gradient(&expert.gate), gradient(&expert.up)].concat());
    let down = experts_of.iter().flat_map(|expert| gradient(&expert.down));
    let got = [output, dx, gradient(&router), gate_up.collect(), down.collect()];
    let want = ["y", "dx", "grad.router", "grad.gate_up", "grad.down"].map(|name| wide(&all[name].1));
    // Both in f32: sums of up to 24 rows, a few of them one after another.
    assert_close(family, &got, &want, 8.0 * 24.0 * f64::from(f32::EPSILON));
    Ok(())
}

#[test]
fn blocks_of_experts_equal_those_of_transformers() -> Result {
    for (family, shares) in [("mixtral", Shares::OfChosen), ("qwen3_moe", Shares::OfChosen), ("olmoe", Shares::OfAll)] {
        check(family, shares, Policy::exact())?;
        // What loses nothing: all computed again, full rank, what gate and up give again.
        check(family, shares, Policy { recompute: Recompute::Sublayer, ..Policy::exact() })?;
        check(family, shares, Policy { recompute: Recompute::Factored, ..everywhere(form("rqb:8:f32")) })?;
        check(family, shares, Policy::uniform(Recompute::None, [Site::MlpOut], Form::Again))?;
    }
    Ok(())
}
