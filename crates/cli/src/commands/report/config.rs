//! The settings, resolved; of several runs those that differ first, and marked.

use super::account::shown;
use super::html::Html;
use super::plate::head_of_runs;
use super::run::Run;

/// Writes the table.
pub fn put(html: &mut Html, runs: &[Run]) {
    html.raw("<h2>Settings</h2>\n");
    let mut keys: Vec<&String> = Vec::new();
    for key in runs.iter().flat_map(|run| run.account.config.keys()) {
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    if keys.is_empty() {
        html.element(
            "p",
            "Not known yet: they are written with a checkpoint (--save-every), and when the run has finished.",
        );
        return;
    }
    let value = |run: &Run, key: &str| run.account.config.get(key).map(shown);
    let differs = |key: &str| runs.windows(2).any(|pair| value(&pair[0], key) != value(&pair[1], key));
    let (different, same): (Vec<&String>, Vec<&String>) = keys.into_iter().partition(|key| differs(key));
    if runs.len() > 1 {
        let all = different.len() + same.len();
        html.element(
            "p class=note",
            format!("{} of {all} settings differ; they are marked, and come first.", different.len()),
        );
    }
    html.raw("<div class=scroll><table class=settings>");
    head_of_runs(html, "setting", runs);
    html.raw("<tbody>\n");
    for (marked, key) in different.iter().map(|key| (true, key)).chain(same.iter().map(|key| (false, key))) {
        html.raw(if marked { "<tr class=differs>" } else { "<tr>" }).element("th", key);
        for run in runs {
            html.element("td class=set", value(run, key).unwrap_or_else(|| "-".into()));
        }
        html.raw("</tr>\n");
    }
    html.raw("</tbody></table></div>\n");
}
