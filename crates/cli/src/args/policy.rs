//! From the flags of a preset and its parts to a policy.

use std::collections::BTreeMap;

use loract_autograd::{Compress, Factored, Form, Policy, Quant, Rank, Recompute, Site};
use loract_train::{Activations, Error};

use super::{TrainArgs, named, parsed, setting};

/// The preset, with what is given apart changed in it.
pub(super) fn resolve(args: &TrainArgs) -> Result<Policy, Error> {
    let preset = parsed::<Activations>("activations", args.activations.as_deref())?.unwrap_or(Activations::Loract);
    let method = parsed::<Compress>("compress", args.compress.as_deref())?;
    let rank = parsed::<Rank>("rank", args.rank.as_deref())?;
    let mut common = preset.common();
    if method == Some(Compress::None) {
        common.bits = 0;
    }
    common.method = method.unwrap_or(common.method);
    common.rank = rank.unwrap_or(common.rank);
    common.bits = args.residual_bits.map_or(common.bits, usize::from);
    let form = common.form().ok_or_else(|| {
        setting("residual-bits", format!("{} is not offered; possible: 0 (none), 2, 3, 4, 5, 6, 8", common.bits))
    })?;
    let mut policy = preset.policy();
    let recompute = named("recompute", args.recompute.as_deref())?.unwrap_or(policy.recompute);
    if let Some(sites) = &args.sites {
        policy.forms = site_forms(sites, recompute, form)?;
    } else if recompute != policy.recompute || policy.forms.is_empty() || form == Form::Exact {
        policy = Policy::uniform(recompute, Policy::sites_of(recompute).iter().copied(), form);
    } else {
        let quant = args.residual_bits.map(|bits| Quant::new(bits.into()));
        policy.forms.values_mut().for_each(|form| *form = changed(*form, method, rank, quant));
    }
    policy.recompute = recompute;
    policy.warm_start = named("warm-start", args.warm_start.as_deref())?.unwrap_or_default();
    policy.forms.retain(|_, form| *form != Form::Exact);
    Ok(policy)
}

/// `form` with another method, rank or quantisation where given; what is neither factors nor codes stays.
fn changed(form: Form, method: Option<Compress>, rank: Option<Rank>, quant: Option<Option<Quant>>) -> Form {
    let (factors, old) = match form {
        Form::Exact | Form::Bf16 | Form::Again => return form,
        Form::Quantised(quant) => (None, Some(quant)),
        Form::LowRank(factors) => (Some(factors), None),
        Form::Hybrid(factors, quant) => (Some(factors), Some(quant)),
    };
    let factors = factors.filter(|_| method != Some(Compress::None)).map(|f| Factored {
        method: method.unwrap_or(f.method),
        rank: rank.unwrap_or(f.rank),
        ..f
    });
    Form::of(factors, quant.unwrap_or(old))
}

/// Reads `site`, `site=form`, and the words all, terminal and propagating for several sites; later entries win.
fn site_forms(entries: &[String], recompute: Recompute, common: Form) -> Result<BTreeMap<Site, Form>, Error> {
    let mut forms = BTreeMap::new();
    for entry in entries.iter().filter(|entry| !entry.is_empty()) {
        let (name, form) = match entry.split_once('=') {
            None => (entry.as_str(), common),
            Some((name, form)) => (name, form.parse().map_err(|what| setting("sites", format!("{entry}: {what}")))?),
        };
        let existing = Site::COMPRESSIBLE.into_iter().filter(|site| Policy::allows(recompute, *site));
        match name {
            "all" => forms.extend(existing.map(|site| (site, form))),
            "terminal" => forms.extend(existing.filter(|s| !s.propagates()).map(|site| (site, form))),
            "propagating" => forms.extend(existing.filter(|s| s.propagates()).map(|site| (site, form))),
            site => {
                forms.insert(site.parse().map_err(|what| setting("sites", what))?, form);
            }
        }
    }
    if common == Form::Exact && !forms.is_empty() && forms.values().all(|form| *form == Form::Exact) {
        return Err(setting("sites", "sites are named but --compress is none; choose a method, such as rqb"));
    }
    Ok(forms)
}

#[cfg(test)]
mod tests {
    use super::super::train::tests::train;
    use super::*;

    #[test]
    fn a_preset_sets_four_settings_and_each_can_be_changed() -> Result<(), Error> {
        let forms = |flags: &[&str]| -> Result<String, Error> {
            let config = train(flags)?;
            let forms: Vec<_> = config.sites.iter().map(|(site, form)| format!("{site}={form}")).collect();
            Ok(format!("{:?} {}", config.recompute, forms.join(",")))
        };
        for (flags, want) in [
            (&["--activations", "loract-layer", "--rank", "72"][..], "Layer ckpt_layer=rqb:72"),
            (
                &["--activations", "loract-layer", "--rank", "1/16", "--residual-bits", "4"],
                "Layer ckpt_layer=rqb:1/16+q4",
            ),
            (&["--activations", "checkpoint"], "Layer "),
            (&["--activations", "exact", "--rank", "1/4"], "None "),
            (
                &["--activations", "exact", "--compress", "gauss", "--sites", "act_fn,mlp_out"],
                "None act_fn=gauss:1/8,mlp_out=gauss:1/8",
            ),
            (
                &["--activations", "exact", "--residual-bits", "4"],
                "None norm=q4,attn_in=q4,attn_out=q4,mlp_in=q4,act_fn=q4,mlp_out=q4",
            ),
            (&["--recompute", "sublayer"], "Sublayer norm=rqb:1/16+q4,ckpt_attn=rqb:1/16+q4,ckpt_mlp=rqb:1/16+q4"),
            (&["--compress", "none"], "None "),
            (
                &["--rank", "auto@0.2"],
                "None norm=rqb:auto@0.2+q4,attn_in=rqb:auto@0.2+q4,attn_out=q4,mlp_in=rqb:auto@0.2+q4,act_fn=q5,\
                 mlp_out=again,attn_qkv=q8",
            ),
            (
                &["--sites", "terminal=rqb:1/8,propagating=q8,attn_out=exact"],
                "None norm=q8,attn_in=rqb:1/8,mlp_in=rqb:1/8,act_fn=q8,mlp_out=rqb:1/8,attn_qkv=q8",
            ),
            (&["--sites", ""], "None "),
        ] {
            assert_eq!(forms(flags)?, want, "{flags:?}");
        }
        Ok(())
    }
}
