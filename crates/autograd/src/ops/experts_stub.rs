#![allow(missing_docs, unused)]
use crate::error::Error; use crate::saved::Site; use crate::tape::{Tape, Var};
#[derive(Debug, Clone, Copy, PartialEq, Eq)] pub enum Shares { OfAll, OfChosen }
#[derive(Debug)] pub struct Routed { pub weights: Var }
#[derive(Debug)] pub struct ExpertInput { pub x: Var, pub weights: Var }
pub fn route(tape: &mut Tape<'_>, logits: &Var, top_k: usize, shares: Shares) -> Result<Routed, Error> { panic!() }
pub fn experts<'m>(tape: &mut Tape<'m>, x: &Var, routed: &Routed, sites: &[Site], mut expert: impl FnMut(&mut Tape<'m>, usize, ExpertInput) -> Result<Var, Error>) -> Result<Var, Error> { panic!() }
pub fn weigh_rows(tape: &mut Tape<'_>, x: Var, w: &Var, site: Site) -> Result<Var, Error> { panic!() }
