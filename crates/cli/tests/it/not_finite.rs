//! Numbers that stop being numbers: the run fails by name and step, and an earlier good adapter stays.

use crate::damage::{WEIGHTS, fill, set};
use crate::harness::{Anyhow, Bad, Place, changed, earlier_run, refuse};

const UP: &str = "model.layers.1.mlp.up_proj.weight";
const EMBED: &str = "model.embed_tokens.weight";
const NORM: &str = "model.layers.1.input_layernorm.weight";

#[test]
fn a_loss_that_is_no_number_names_the_step() -> Anyhow {
    refuse(
        "llama-tied",
        1,
        &[
            Bad {
                name: "NaN weight",
                prepare: |p| set(p, WEIGHTS, UP, 5, f32::NAN),
                flags: "--activations exact",
                says: &["loss became NaN at step 1", "a weight of the model", "fetch it again"],
            },
            Bad {
                name: "infinite weight, recomputed",
                prepare: |p| set(p, WEIGHTS, UP, 5, f32::INFINITY),
                flags: "--activations checkpoint",
                says: &["at step 1"],
            },
            Bad {
                name: "weights that overflow",
                prepare: |p| fill(p, WEIGHTS, UP, 3e38),
                flags: "--activations exact",
                says: &["at step 1"],
            },
            Bad {
                name: "learning rate",
                prepare: |_| Ok(()),
                flags: "--activations exact --steps 8 --lr 1e30 --max-grad-norm 0",
                says: &["at step 2", "learning rate (1e30)", "try"],
            },
            Bad {
                name: "the last step's update",
                prepare: |_| Ok(()),
                flags: "--activations exact --steps 1 --lr 1e39 --max-grad-norm 0",
                says: &["at step 1", "learning rate (1e39)"],
            },
        ],
    )
}

#[test]
fn a_compressed_activation_names_site_and_layer() -> Anyhow {
    refuse(
        "llama-tied",
        1,
        &[
            Bad {
                name: "mlp of a layer",
                prepare: |p| set(p, WEIGHTS, UP, 5, f32::NAN),
                flags: "--activations loract",
                says: &["NaN", "site act_fn of layer 1", "feature 0", "at step 1"],
            },
            Bad {
                name: "embedding of the first tokens",
                prepare: |p| fill(p, WEIGHTS, EMBED, f32::INFINITY),
                flags: "--activations loract-layer",
                says: &["inf", "site ckpt_layer of layer 0", "row 0", "at step 1"],
            },
            Bad {
                name: "norm of a recomputed sub-layer",
                prepare: |p| set(p, WEIGHTS, NORM, 3, f32::NAN),
                flags: "--activations loract-sublayer",
                says: &["NaN", "layer 1", "at step 1"],
            },
            Bad {
                name: "later step",
                prepare: |_| Ok(()),
                flags: "--activations loract --steps 8 --lr 1e30 --max-grad-norm 0",
                says: &["at site", "layer", "at step 2"],
            },
        ],
    )
}

#[test]
fn eval_fails_on_a_loss_that_is_no_number() -> Anyhow {
    let place = Place::with("llama-tied")?;
    set(&place, WEIGHTS, UP, 5, f32::NAN)?;
    for json in ["", "--json"] {
        let outcome = place.run(&format!("eval {json} --model model --data rows.jsonl"))?;
        assert_eq!(outcome.complaint(1, &["loss", "NaN", "rows.jsonl"]), None);
    }
    Ok(())
}

#[test]
fn an_evaluation_in_a_run_that_is_no_number_fails_the_run() -> Anyhow {
    let place = Place::with("llama-tied")?;
    earlier_run(&place)?;
    let earlier = place.files("out")?;
    // One step breaks the adapter (its numbers are finite, what comes of them is not); evaluation is first to see it.
    let outcome = place.train("--steps 1 --lr 1e30 --max-grad-norm 0 --eval-data rows.jsonl")?;
    assert_eq!(outcome.complaint(1, &["eval", "step 1"]), None);
    assert_eq!(changed(&earlier, &place.files("out")?, 1), None);
    Ok(())
}
