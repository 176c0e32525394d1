//! The pictures of the next micro-batches, made ready on a thread of their own while a step computes.
//!
//! What comes out depends on what was asked for alone: one thread serves the requests in their order. It is at most
//! [`AHEAD`] micro-batches ahead of [`Loader::take`], whatever was requested, which bounds the memory; it waits for nothing else,
//! and ends with the loader.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::{self, JoinHandle};

use loract_models::vision::{ImageProcessor, View};

use super::ImageSet;
use crate::error::Error;

/// Micro-batches that lie ready; one more is being made.
const AHEAD: usize = 1;

/// Pictures and what is seen of each.
type Request = (Vec<usize>, Vec<View>);
/// N × channels × height × width.
type Pixels = Result<Vec<f32>, Error>;

/// Makes micro-batches ready ahead of time.
#[derive(Debug)]
pub struct Loader {
    set: Arc<ImageSet>,
    /// Nothing only while it is dropped; so are the others.
    requests: Option<Sender<Request>>,
    ready: Option<Receiver<Pixels>>,
    thread: Option<JoinHandle<()>>,
    outstanding: usize,
}

impl Loader {
    /// Starts its thread.
    pub fn new(set: Arc<ImageSet>, processor: ImageProcessor) -> Self {
        let (requests, asked) = channel();
        let (done, ready) = sync_channel(AHEAD);
        let pictures = set.clone();
        let thread = thread::spawn(move || serve(&pictures, &processor, &asked, &done));
        Self { set, requests: Some(requests), ready: Some(ready), thread: Some(thread), outstanding: 0 }
    }

    /// Asks for a micro-batch: pictures by their numbers, and what is seen of each. Returns at once.
    pub fn request(&mut self, rows: Vec<usize>, views: Vec<View>) {
        // If the thread has ended, `take` says so.
        let _ = self.requests.as_ref().map(|requests| requests.send((rows, views)));
        self.outstanding += 1;
    }

    /// Micro-batches that were requested and not taken.
    pub fn outstanding(&self) -> usize {
        self.outstanding
    }

    /// The next micro-batch in the order of requests, N × channels × height × width; waits until it is ready. One that fails is
    /// an error, and those after it come as if it had not been.
    ///
    /// # Errors
    /// As [`ImageSet::pixels`], of the first picture that cannot be used; [`Error::Data`] if nothing was requested, or not one
    /// view for each picture.
    pub fn take(&mut self) -> Result<Vec<f32>, Error> {
        let wrong = |what: &str| Error::Data { path: self.set.path().to_path_buf(), what: what.to_owned() };
        if self.outstanding == 0 {
            return Err(wrong("no micro-batch of pictures was requested"));
        }
        let next = self.ready.as_ref().and_then(|ready| ready.recv().ok());
        let next = next.ok_or_else(|| wrong("the thread that decodes pictures ended early"))?;
        self.outstanding -= 1;
        next
    }
}

impl Drop for Loader {
    fn drop(&mut self) {
        // The thread waits for one of these two at most, and ends without either.
        drop(self.requests.take());
        drop(self.ready.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Until nobody asks, or nobody takes.
fn serve(set: &ImageSet, processor: &ImageProcessor, asked: &Receiver<Request>, done: &SyncSender<Pixels>) {
    while let Ok((rows, views)) = asked.recv() {
        if done.send(micro_batch(set, processor, &rows, &views)).is_err() {
            return;
        }
    }
}

fn micro_batch(set: &ImageSet, processor: &ImageProcessor, rows: &[usize], views: &[View]) -> Pixels {
    if rows.len() != views.len() {
        let what = format!("{} views for {} pictures", views.len(), rows.len());
        return Err(Error::Data { path: set.path().to_path_buf(), what });
    }
    let [height, width] = processor.size();
    let mut pixels = Vec::with_capacity(rows.len() * processor.channels() * height * width);
    for (&row, &view) in rows.iter().zip(views) {
        pixels.extend(set.pixels(row, processor, view)?);
    }
    Ok(pixels)
}
