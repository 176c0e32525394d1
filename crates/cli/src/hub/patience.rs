//! What is tried again, and when: after 1, 2, 4 and 8 seconds, or when the server says (`Retry-After`), five times in all
//! since bytes last came.

use std::time::Duration;

use super::error::Error;
use super::telling::Teller;

/// Times that a request is made before it is given up.
const TRIES: u32 = 5;

/// The longest wait that a server may ask for. Longer ones are told to the user instead.
const LONGEST_WAIT: Duration = Duration::from_secs(300);

/// Why a request may succeed later.
#[derive(Debug)]
pub struct Later {
    /// Where it was made.
    pub url: String,
    /// In words.
    pub reason: String,
    /// What the server said.
    pub wait: Option<Duration>,
}

/// A request without an answer.
#[derive(Debug)]
pub enum Failed {
    /// It will not have one.
    ForGood(Error),
    /// It may have one.
    ForNow(Later),
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Failed::ForGood(error)
    }
}

/// Counts the failures of one purpose.
#[derive(Debug, Default)]
pub struct Patience {
    failures: u32,
}

impl Patience {
    /// Something has come since.
    pub fn renew(&mut self) {
        self.failures = 0;
    }

    /// Waits, and says so.
    ///
    /// # Errors
    /// If it has failed too often, or is to wait too long.
    pub fn wait(&mut self, later: Later, teller: &mut Teller) -> Result<(), Error> {
        self.failures += 1;
        let Later { url, reason, wait } = later;
        if self.failures >= TRIES {
            return Err(Error::NoAnswer { url, reason, tries: self.failures });
        }
        let wait = wait.unwrap_or_else(|| pause(self.failures));
        if wait > LONGEST_WAIT {
            return Err(Error::TooLong { url, reason, seconds: wait.as_secs() });
        }
        teller.note(&format!("warning: {url}: {reason}; again in {} s", wait.as_secs()));
        std::thread::sleep(wait);
        Ok(())
    }
}

/// Makes a request until it has an answer.
///
/// # Errors
/// As [`Patience::wait`], or for good.
pub fn persist<T>(teller: &mut Teller, mut request: impl FnMut() -> Result<T, Failed>) -> Result<T, Error> {
    let mut patience = Patience::default();
    loop {
        match request() {
            Ok(answer) => return Ok(answer),
            Err(Failed::ForGood(error)) => return Err(error),
            Err(Failed::ForNow(later)) => patience.wait(later, teller)?,
        }
    }
}

/// The wait after so many failures.
fn pause(failures: u32) -> Duration {
    Duration::from_secs(1 << (failures - 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::Telling;

    fn later(wait: Option<u64>) -> Later {
        Later { url: "u".into(), reason: "503".into(), wait: wait.map(Duration::from_secs) }
    }

    #[test]
    fn patience_ends() -> Result<(), Error> {
        assert_eq!([1, 2, 3, 4].map(|failures| pause(failures).as_secs()), [1, 2, 4, 8]);
        let mut teller = Teller::new(Telling::Quiet);
        let mut patience = Patience::default();
        for _ in 0..TRIES - 1 {
            patience.wait(later(Some(0)), &mut teller)?;
        }
        patience.renew();
        for _ in 0..TRIES - 1 {
            patience.wait(later(Some(0)), &mut teller)?;
        }
        let end = patience.wait(later(Some(0)), &mut teller);
        assert!(matches!(end, Err(Error::NoAnswer { tries: TRIES, .. })), "{end:?}");
        let long = Patience::default().wait(later(Some(301)), &mut teller);
        assert!(matches!(long, Err(Error::TooLong { seconds: 301, .. })), "{long:?}");
        Ok(())
    }
}
