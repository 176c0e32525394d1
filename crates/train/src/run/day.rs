//! Which day a chat template takes for today: one for all of a run, so that a run that goes on tomorrow has the same rows.

use loract_models::chat::Date;

/// The day, and where it comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Day {
    /// `--chat-date`.
    Given(Date),
    /// On which the run that goes on began.
    Began(Date),
    /// On which this run begins.
    Begins(Date),
}

impl Day {
    /// What is given goes before what a checkpoint holds; that the two agree is seen to with the other settings.
    pub(super) fn of(given: Option<Date>, stored: Option<Date>) -> Self {
        let began = || stored.map_or_else(|| Day::Begins(Date::today()), Day::Began);
        given.map_or_else(began, Day::Given)
    }

    pub(super) fn date(self) -> Date {
        let (Day::Given(date) | Day::Began(date) | Day::Begins(date)) = self;
        date
    }

    /// What is a setting of the run: a day that no row holds, and that no one gave, is none.
    pub(super) fn worth_keeping(self, wrote_date: bool) -> Option<Date> {
        let by_chance = matches!(self, Day::Begins(_));
        (wrote_date || !by_chance).then(|| self.date())
    }

    /// What is told of it if rows hold it.
    pub(super) fn note(self) -> Option<String> {
        match self {
            Day::Given(_) => None,
            Day::Began(date) => {
                Some(format!("the chat template writes a date into the rows: {date}, when the run began"))
            }
            Day::Begins(date) => Some(format!(
                "the chat template writes today's date into the rows: {date} (UTC), kept if the run goes on with --resume; \
                 give --chat-date {date} to train on, or evaluate, the same rows on another day"
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_goes_first_and_then_the_run_that_goes_on() -> Result<(), String> {
        let (one, two): (Date, Date) = ("2026-01-01".parse()?, "2026-01-02".parse()?);
        assert_eq!(Day::of(Some(one), Some(two)), Day::Given(one));
        assert_eq!(Day::of(None, Some(two)), Day::Began(two));
        let today = Day::of(None, None);
        assert!(matches!(today, Day::Begins(_)));
        assert_eq!((today.worth_keeping(false), today.worth_keeping(true)), (None, Some(today.date())));
        assert_eq!(Day::Began(two).worth_keeping(false), Some(two));
        Ok(())
    }
}
