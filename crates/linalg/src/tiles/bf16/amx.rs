//! Pairs by AMX: registers of 16 rows of 64 bytes, and an instruction that multiplies two of them onto a third.
//!
//! Four of the eight registers are the sums of a tile of 32×32, two are its rows of a strip, two its columns of a panel. In
//! assembly, as the compiler's own names for these instructions are not stable yet.

use std::arch::asm;
use std::arch::x86_64::{__cpuid, __cpuid_count};
use std::mem::MaybeUninit;
use std::sync::LazyLock;

use pulp::f32x16;
use pulp::x86::V4;

use super::{BLOCK, PAIRS};
use crate::tiles::{Sweep, Tile};

const SIDE: usize = 32;

/// Panels that a strip meets in turn, so that rows of the result are written 1 KB at a time: they come and go more slowly than
/// they are computed. (Of 1, 8 and 16 the fastest.)
const GROUP: usize = 8;

pub(super) const TILE: Tile = Tile { rows: SIDE, cols: SIDE, lanes: 16 };

/// Proof of AMX with bf16, which this process may use, and of AVX-512.
#[derive(Clone, Copy)]
pub(crate) struct Amx(V4);

impl Amx {
    pub(super) fn new() -> Option<Self> {
        static FOUND: LazyLock<bool> = LazyLock::new(|| has_tiles() && is_allowed());
        V4::try_new().filter(|_| *FOUND).map(Self)
    }

    pub(super) fn simd(self) -> V4 {
        self.0
    }

    pub(super) fn sweep(self, sweep: Sweep<'_, '_>) {
        // SAFETY: the processor has what `on_tiles` is compiled for, as `self` proves.
        unsafe { on_tiles(self.0, sweep) }
    }
}

// `__cpuid` became safe after the oldest compiler that this is for.
#[allow(unused_unsafe)]
fn has_tiles() -> bool {
    const BF16_AND_TILE: u32 = 1 << 22 | 1 << 24;
    // SAFETY: every x86-64 has the instruction; the leaf is read if it is there.
    unsafe { __cpuid(0).eax >= 7 && __cpuid_count(7, 0).edx & BF16_AND_TILE == BF16_AND_TILE }
}

/// Linux keeps the registers' 8 KB for processes that ask for them (its documentation, arch/x86/xstate).
fn is_allowed() -> bool {
    #[cfg(target_os = "linux")]
    {
        const ARCH_REQ_XCOMP_PERM: libc::c_ulong = 0x1023;
        const XFEATURE_XTILEDATA: libc::c_ulong = 18;
        // SAFETY: a call that changes nothing but this permission, and fails on kernels that do not know it.
        unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0 }
    }
    #[cfg(not(target_os = "linux"))]
    false
}

/// The registers' shape, while it lives: 16 rows of 64 bytes, for each of them.
struct Shaped;

impl Shaped {
    /// # Safety
    /// There must be an [`Amx`].
    unsafe fn new() -> Self {
        #[repr(align(64))]
        struct Shape([u8; 64]);
        let mut shape = Shape([0; 64]);
        shape.0[0] = 1;
        for register in 0..8 {
            shape.0[16 + 2 * register] = 64;
            shape.0[48 + register] = 16;
        }
        // SAFETY: 64 bytes that are a valid configuration.
        unsafe { asm!("ldtilecfg [{}]", in(reg) shape.0.as_ptr(), options(nostack, readonly)) };
        Self
    }
}

impl Drop for Shaped {
    fn drop(&mut self) {
        // SAFETY: as when it was made. The kernel need not keep the registers any longer.
        unsafe { asm!("tilerelease", options(nostack, nomem)) };
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl")]
fn on_tiles(simd: V4, sweep: Sweep<'_, '_>) {
    // SAFETY: only an `Amx` gets here.
    let _shaped = unsafe { Shaped::new() };
    sweep.with::<V4, SIDE, 2>(simd, GROUP, |strip, panel| {
        let blocks = (strip.len() / (SIDE * PAIRS)).min(panel.len() / (SIDE * PAIRS));
        let mut sums = MaybeUninit::<[[f32x16; 2]; SIDE]>::uninit();
        // SAFETY: `_shaped` lives; strip and panel hold `blocks` blocks, at least one as no sweep has a depth of 0, and `sums` is
        // written as a whole.
        unsafe {
            multiply(strip, panel, blocks, sums.as_mut_ptr().cast());
            sums.assume_init()
        }
    });
}

/// 32×32 numbers at `sums` = strip · panel, of `blocks` blocks, at least one, of the depth.
///
/// # Safety
/// The registers must be [`Shaped`], the operands as long as said, and `sums` writable.
#[inline]
unsafe fn multiply(strip: &[f32], panel: &[f32], blocks: usize, sums: *mut f32) {
    const { assert!(BLOCK == 32 && SIDE == 32, "blocks are 2048 bytes of either operand") };
    debug_assert!(blocks > 0);
    // SAFETY: what is read are 2048 bytes a block of each operand, what is written 4096.
    unsafe {
        asm!(
            "tilezero tmm0",
            "tilezero tmm1",
            "tilezero tmm2",
            "tilezero tmm3",
            "2:",
            "tileloadd tmm4, [{strip} + {of_strip}]",
            "tileloadd tmm6, [{panel} + {of_panel}]",
            "tileloadd tmm7, [{panel} + {of_panel} + 64]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tileloadd tmm5, [{strip} + {of_strip} + 1024]",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "add {strip}, 2048",
            "add {panel}, 2048",
            "tdpbf16ps tmm2, tmm5, tmm6",
            "tdpbf16ps tmm3, tmm5, tmm7",
            "dec {blocks}",
            "jnz 2b",
            "tilestored [{sums} + {of_panel}], tmm0",
            "tilestored [{sums} + {of_panel} + 64], tmm1",
            "tilestored [{sums} + {of_panel} + 2048], tmm2",
            "tilestored [{sums} + {of_panel} + 2112], tmm3",
            strip = inout(reg) strip.as_ptr() => _,
            panel = inout(reg) panel.as_ptr() => _,
            blocks = inout(reg) blocks => _,
            sums = in(reg) sums,
            of_strip = in(reg) 64usize,
            of_panel = in(reg) 128usize,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack),
        );
    }
}
