//! Run-time choice of vector instructions: a loop inside [`dispatch`] is compiled for AVX-512, AVX2+FMA, NEON and plain
//! code, and the best that the processor has runs. Whatever the loop calls must be `#[inline(always)]`.

/// Runs `f` compiled for the best instruction set of this processor.
#[inline(always)]
pub(crate) fn dispatch<R>(f: impl FnOnce() -> R) -> R {
    pulp::Arch::new().dispatch(f)
}
