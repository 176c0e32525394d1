//! Pairs by AMX: registers of 16 rows of 64 bytes, and an instruction that multiplies two of them onto a third.
//!
//! Four of the eight registers are the sums of a tile of 32×32, two are its rows of a strip, two its columns of a panel. In
//! assembly, as the compiler's own names for these instructions are not stable yet.

use std::arch::asm;
use std::arch::x86_64::{__cpuid, __cpuid_count};
use std::sync::LazyLock;

use pulp::x86::V4;

use super::avx512::Vectors;
use super::{BLOCK, EXACT, PAIRS};
use crate::tiles::{Depth, Sweep, Tile};

const SIDE: usize = 32;

/// Panels that a strip meets in turn, so that rows of the result are written 1 KB at a time: they come and go more slowly than
/// they are computed. (Of 1, 8 and 16 the fastest.)
const GROUP: usize = 8;

pub(super) const TILE: Tile = Tile { rows: SIDE, cols: SIDE, lanes: 16 };

/// Proof of AMX with bf16, which this process may use, and of AVX512-BF16, which packs for it.
#[derive(Clone, Copy)]
pub(crate) struct Amx(Vectors);

impl Amx {
    pub(super) fn new() -> Option<Self> {
        static FOUND: LazyLock<bool> = LazyLock::new(|| has_tiles() && is_allowed());
        Vectors::new().filter(|_| *FOUND).map(Self)
    }

    pub(super) fn vectors(self) -> Vectors {
        self.0
    }

    pub(super) fn sweep(self, sweep: Sweep<'_, '_>) {
        let multiply = match sweep.depth.parts {
            [1, 1] => multiply,
            [EXACT, 1] => multiply_by_1,
            [EXACT, 2] => multiply_by_2,
            [EXACT, EXACT] => multiply_by_3,
            parts => unreachable!("{parts:?} parts"),
        };
        // SAFETY: the processor has what `on_tiles` is compiled for, as `self` proves.
        unsafe { on_tiles(self.0.simd(), multiply, sweep) }
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
fn on_tiles(simd: V4, multiply: Multiply, sweep: Sweep<'_, '_>) {
    let Depth { rows, parts } = sweep.depth;
    let blocks = rows / PAIRS;
    assert!(blocks > 0, "a depth of nothing");
    // SAFETY: only an `Amx` gets here.
    let _shaped = unsafe { Shaped::new() };
    sweep.with::<V4, SIDE, 2>(simd, GROUP, |strip, panel, sums| {
        let len = blocks * PAIRS * SIDE;
        assert!(strip.len() == len * parts[0] && panel.len() == len * parts[1]);
        // SAFETY: `_shaped` lives; strip and panel hold `blocks` blocks in their parts; `sums` are 4096 bytes.
        unsafe { multiply(strip.as_ptr(), panel.as_ptr(), blocks, std::ptr::from_mut(sums).cast()) };
    });
}

/// 32×32 numbers at `sums` = strip · panel, of so many blocks, at least one, of the depth.
///
/// Safety: the registers must be [`Shaped`], the operands as long as that, and the sums writable.
type Multiply = unsafe fn(strip: *const f32, panel: *const f32, blocks: usize, sums: *mut f32);

/// A [`Multiply`] that does `$block` for each block, which takes `$strip` and `$panel` bytes of the operands.
macro_rules! product {
    ($name:ident, $strip:literal, $panel:literal, $($block:expr),* $(,)?) => {
        unsafe fn $name(strip: *const f32, panel: *const f32, blocks: usize, sums: *mut f32) {
            // SAFETY: read are so many bytes a block of each operand, written 4096.
            unsafe {
                asm!(
                    "tilezero tmm0",
                    "tilezero tmm1",
                    "tilezero tmm2",
                    "tilezero tmm3",
                    "2:",
                    $($block,)*
                    concat!("add {strip}, ", $strip),
                    concat!("add {panel}, ", $panel),
                    "dec {blocks}",
                    "jnz 2b",
                    "tilestored [{sums} + {of_panel}], tmm0",
                    "tilestored [{sums} + {of_panel} + 64], tmm1",
                    "tilestored [{sums} + {of_panel} + 2048], tmm2",
                    "tilestored [{sums} + {of_panel} + 2112], tmm3",
                    strip = inout(reg) strip => _,
                    panel = inout(reg) panel => _,
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
    };
}

/// A part of a block, so many bytes into it, times what is there of the other operand; 32 rows of a strip.
macro_rules! strip {
    ($at:literal) => {
        concat!(
            "tileloadd tmm4, [{strip} + {of_strip} + ",
            $at,
            "]\n",
            "tdpbf16ps tmm0, tmm4, tmm6\n",
            "tileloadd tmm5, [{strip} + {of_strip} + ",
            $at,
            " + 1024]\n",
            "tdpbf16ps tmm1, tmm4, tmm7\n",
            "tdpbf16ps tmm2, tmm5, tmm6\n",
            "tdpbf16ps tmm3, tmm5, tmm7",
        )
    };
}

/// The same, 32 columns of a panel.
macro_rules! panel {
    ($at:literal) => {
        concat!(
            "tileloadd tmm6, [{panel} + {of_panel} + ",
            $at,
            "]\n",
            "tdpbf16ps tmm0, tmm4, tmm6\n",
            "tileloadd tmm7, [{panel} + {of_panel} + ",
            $at,
            " + 64]\n",
            "tdpbf16ps tmm2, tmm5, tmm6\n",
            "tdpbf16ps tmm1, tmm4, tmm7\n",
            "tdpbf16ps tmm3, tmm5, tmm7",
        )
    };
}

/// The first 32 columns of a panel, for a strip to meet.
macro_rules! first {
    () => {
        "tileloadd tmm6, [{panel} + {of_panel}]\ntileloadd tmm7, [{panel} + {of_panel} + 64]"
    };
}

const _: () = assert!(BLOCK == 32 && SIDE == 32 && EXACT == 3, "a part of a block is 2048 bytes of either operand");

product!(multiply, "2048", "2048", first!(), strip!("0"));

// Parts in an order in which each product has an operand of the one before, small ones first: low·nearest, mid·nearest and
// nearest·nearest; mid·mid and nearest·mid if the panel has a second part, nearest·low if it has a third.
product!(multiply_by_1, "6144", "2048", first!(), strip!("4096"), strip!("2048"), strip!("0"));
product!(
    multiply_by_2,
    "6144",
    "4096",
    first!(),
    strip!("4096"),
    strip!("2048"),
    panel!("2048"),
    strip!("0"),
    panel!("0")
);
product!(
    multiply_by_3,
    "6144",
    "6144",
    first!(),
    strip!("4096"),
    strip!("2048"),
    panel!("2048"),
    strip!("0"),
    panel!("4096"),
    panel!("0"),
);
