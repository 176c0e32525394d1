//! The thread that makes micro-batches ready.

use super::*;

#[test]
fn micro_batches_come_in_the_order_of_requests_with_their_views() -> Outcome {
    let scratch = Scratch::new("loader")?;
    classes(&scratch)?;
    let set = Arc::new(open(&scratch.0)?);
    let processor = plain(3)?;
    let view = |row: usize| View::Random {
        augment: Augment { crop: Crop::RANDOM_RESIZED, flip: Flip::Half },
        draws: Rng::new(&[3, row as u64]),
    };
    let requests: Vec<Vec<usize>> = (0..20).map(|batch| (0..4).map(|i| (batch * 3 + i) % 6).collect()).collect();
    let mut loader = Loader::new(set.clone(), processor.clone());
    for rows in &requests {
        loader.request(rows.clone(), rows.iter().map(|&row| view(row)).collect());
    }
    for rows in &requests {
        let want = rows.iter().map(|&row| set.pixels(row, &processor, view(row))).collect::<Result<Vec<_>, _>>()?;
        assert_eq!(loader.take()?, want.concat());
    }
    assert_eq!(loader.outstanding(), 0);
    says(&told(loader.take()), &["no micro-batch of pictures was requested"]);
    Ok(())
}

#[test]
fn an_error_comes_where_it_belongs_and_the_rest_goes_on() -> Outcome {
    let scratch = Scratch::new("loader-errors")?;
    classes(&scratch)?;
    let png = png(30, 30, 1)?;
    scratch.write("cat/9.png", &png[..60])?;
    let mut loader = Loader::new(Arc::new(open(&scratch.0)?), plain(2)?);
    for rows in [vec![0], vec![1, 3], vec![2], vec![99]] {
        loader.request(rows.clone(), vec![View::Whole; rows.len()]);
    }
    loader.request(vec![1, 2], vec![View::Whole]);
    loader.request(vec![4, 5], vec![View::Whole; 2]);
    assert_eq!(loader.take()?, [0.0; 4]);
    says(&told(loader.take()), &["cat/9.png: damaged"]);
    assert_eq!(loader.take()?, [2.0; 4]);
    says(&told(loader.take()), &["picture 100 of 7 was asked for"]);
    says(&told(loader.take()), &["1 views for 2 pictures"]);
    assert_eq!(loader.take()?, [[10.0; 4], [11.0; 4]].concat());
    Ok(())
}

#[test]
fn a_loader_ends_with_whatever_was_asked_and_not_taken() -> Outcome {
    let scratch = Scratch::new("loader-ends")?;
    classes(&scratch)?;
    let set = Arc::new(open(&scratch.0)?);
    for asked in [0, 1, 2, 50] {
        let mut loader = Loader::new(set.clone(), plain(2)?);
        for _ in 0..asked {
            loader.request(vec![0, 1], vec![View::Whole; 2]);
        }
        drop(loader);
        // Its thread held the set.
        assert_eq!(Arc::strong_count(&set), 1, "{asked}");
    }
    Ok(())
}
