//! How rows become tokens, and which files a path stands for, as typed.

use std::path::{Path, PathBuf};

use clap::Args;
use loract_models::VisionSource;
use loract_models::chat::Date;
use loract_train::data::images::{picture_files, pictures_of};
use loract_train::data::{Reader, RowSettings, Split, folder_files};
use loract_train::{Error, RunConfig};

use super::{named, setting};
use crate::output;

#[derive(Debug, Clone, Default, PartialEq, Args)]
pub struct RowArgs {
    /// File with a chat template (Jinja) [default: the model's own]
    #[arg(long, value_name = "FILE")]
    pub chat_template: Option<PathBuf>,
    /// The day that a chat template takes for today, YYYY-MM-DD [default: today, in UTC]
    #[arg(long, value_name = "DATE")]
    pub chat_date: Option<String>,
    /// What is trained of a conversation: assistant (every turn of it), last (its last turn), all (every token) [default:
    /// assistant]
    #[arg(long)]
    pub train_on: Option<String>,
}

impl RowArgs {
    /// The settings that these arguments mean.
    pub fn resolve(self) -> Result<RowSettings, Error> {
        let train_on = named("train-on", self.train_on.as_deref())?.unwrap_or_default();
        let chat_date =
            self.chat_date.map(|text| text.parse::<Date>()).transpose().map_err(|what| setting("chat-date", what))?;
        Ok(RowSettings { chat_template: self.chat_template, chat_date, train_on })
    }
}

/// Says that rows hold today's date, if they do and it was not asked for.
pub fn tell_date(reader: &Reader<'_>, settings: &RowSettings) {
    if settings.chat_date.is_none() && reader.wrote_date() {
        let today = Date::today();
        output::message(&format!(
            "note: the chat template writes today's date into the rows, so tokens differ from day to day; --chat-date {today} \
             keeps them as they are"
        ));
    }
}

/// What to train and to evaluate on `model`, as far as it can be known what `model` is: an id becomes a folder later, and a folder of
/// data then stays as it is ([`settle_data`]).
pub fn files_of(model: &Path, data: PathBuf, eval_data: Option<PathBuf>) -> Result<(PathBuf, Option<PathBuf>), Error> {
    match waits(model, &data, eval_data.as_deref()) {
        false => data_files(model, &data, eval_data),
        true => Ok((data, eval_data)),
    }
}

/// As [`files_of`], of a model that `typed` stood for and that is there now.
pub fn settle_data(typed: &Path, config: &mut RunConfig) -> Result<(), Error> {
    if waits(typed, &config.data, config.eval_data.as_deref()) {
        (config.data, config.eval_data) = data_files(&config.model, &config.data, config.eval_data.take())?;
    }
    Ok(())
}

/// Whether what a folder stands for is not known before the model is there.
fn waits(model: &Path, data: &Path, eval_data: Option<&Path>) -> bool {
    !model.exists() && (data.is_dir() || eval_data.is_some_and(Path::is_dir))
}

/// What to train and to evaluate on; what a folder stands for is said.
fn data_files(model: &Path, data: &Path, eval_data: Option<PathBuf>) -> Result<(PathBuf, Option<PathBuf>), Error> {
    let (train, eval) = match VisionSource::is_at(model) {
        true => picture_files(data, eval_data.as_deref())?,
        false => folder_files(data, eval_data.as_deref())?,
    };
    if train != data {
        let more = match &eval {
            Some(eval) if eval_data.is_none() => format!(", evaluation on {}", eval.display()),
            _ => String::new(),
        };
        output::message(&format!("note: --data {} is a folder: training on {}{more}", data.display(), train.display()));
    }
    if let (Some(asked), Some(eval)) = (&eval_data, &eval)
        && asked != eval
    {
        let (asked, eval) = (asked.display(), eval.display());
        output::message(&format!("note: --eval-data {asked} is a folder: evaluation on {eval}"));
    }
    Ok((train, eval))
}

/// The one file that `data` stands for: itself, or the first of `splits` in a folder, which is said.
pub fn data_file(data: &Path, splits: &[Split]) -> Result<PathBuf, Error> {
    let file = Split::file(data, splits)?;
    tell_part(data, &file);
    Ok(file)
}

/// The pictures that `data` stands for: all there are, or the first of `splits` in a folder, which is said.
pub fn picture_file(data: &Path, splits: &[Split]) -> Result<PathBuf, Error> {
    let part = pictures_of(data, splits)?;
    tell_part(data, &part);
    Ok(part)
}

fn tell_part(data: &Path, part: &Path) {
    if part != data {
        output::message(&format!("note: --data {} is a folder: reading {}", data.display(), part.display()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_wait_for_a_model_that_is_not_there_yet() -> Result<(), Box<dyn std::error::Error>> {
        let folder = std::env::temp_dir().join(format!("loract-waits-{}", std::process::id()));
        // Of pictures, where rules of text find nothing.
        std::fs::create_dir_all(folder.join("valid"))?;
        let (model, data) = (Path::new("owner/name"), folder.join("train.safetensors"));
        std::fs::write(&data, "")?;
        let files = files_of(model, data.clone(), Some(folder.clone()));
        std::fs::remove_dir_all(&folder)?;
        assert_eq!(files?, (data, Some(folder)));
        Ok(())
    }
}
