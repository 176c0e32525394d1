//! Ctrl-C and SIGTERM: the first asks the run to stop after its step, a second ends the program at once.
//!
//! The handlers only set flags (crate `signal-hook`); whoever wants to know asks.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use std::{io, thread};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

/// How soon a signal is answered on the terminal; a step may take many seconds.
const GLANCE: Duration = Duration::from_millis(100);

/// A signal that asks the program to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signal(i32);

impl Signal {
    /// As shells tell it: 128 and the signal's number.
    pub fn exit_code(self) -> u8 {
        u8::try_from(128 + self.0).unwrap_or(1)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        if self.0 == SIGINT { "Ctrl-C" } else { "SIGTERM" }
    }
}

/// The last of them that came.
#[derive(Debug, Clone)]
pub struct Signals {
    last: Arc<AtomicUsize>,
    /// Whether no answer is wanted any more.
    hushed: Arc<AtomicBool>,
}

impl Signals {
    /// From now on signals are noted instead of ending the program, and `answer` is called soon after the first.
    pub fn listen(answer: impl FnOnce(Signal) + Send + 'static) -> io::Result<Self> {
        let (last, asked) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        for signal in [SIGINT, SIGTERM] {
            // In this order: the first signal finds the flag down and raises it, the second finds it raised.
            flag::register_conditional_shutdown(signal, 128 + signal, asked.clone())?;
            flag::register(signal, asked.clone())?;
            flag::register_usize(signal, last.clone(), signal as usize)?;
        }
        let signals = Self { last, hushed: Arc::default() };
        let watched = signals.clone();
        thread::spawn(move || {
            loop {
                thread::sleep(GLANCE);
                match watched.received() {
                    _ if watched.hushed.load(Ordering::Relaxed) => return,
                    Some(signal) => return answer(signal),
                    None => {}
                }
            }
        });
        Ok(signals)
    }

    /// The answer would come too late.
    pub fn hush(&self) {
        self.hushed.store(true, Ordering::Relaxed);
    }

    /// The signal that asked the program to end, if one has.
    pub fn received(&self) -> Option<Signal> {
        match self.last.load(Ordering::Relaxed) as i32 {
            0 => None,
            signal => Some(Signal(signal)),
        }
    }
}
