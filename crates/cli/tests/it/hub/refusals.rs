//! What is said when a model cannot be had, and who gets to see the token.

use crate::harness::Anyhow;
use crate::hub::place::{WEIGHTS, World, eval};
use crate::hub::server::{ID, Wrong};

#[test]
fn the_token_goes_to_the_hub_alone() -> Anyhow {
    for from_file in [false, true] {
        let world = World::new()?;
        if from_file {
            world.place.write("hf/token", "hf_mine\n")?;
            world.evaluated(&[])?;
        } else {
            world.evaluated(&[("HF_TOKEN", "hf_mine")])?;
        }
        let requests = world.hub.requests();
        assert_eq!(requests.len(), 8);
        for request in requests {
            let sent = request.headers.get("authorization").map(String::as_str);
            let want = if request.path.starts_with("/storage/") { None } else { Some("Bearer hf_mine") };
            assert_eq!(sent, want, "{request:?}");
        }
    }
    Ok(())
}

#[test]
fn models_that_may_not_be_had() -> Anyhow {
    let world = World::new()?;
    let endpoint = world.hub.endpoint();
    let licence = format!("accept its licence at {endpoint}/{ID}");
    world.hub.fault("GET", "/api/", 1, Wrong::Status(401, "X-Error-Code: GatedRepo\r\n"));
    let says = ["no file or folder owner/tiny", "401", &licence, "set HF_TOKEN", "none is set"];
    assert_eq!(world.eval(&[])?.complaint(2, &says), None);
    world.hub.fault("HEAD", WEIGHTS, 1, Wrong::Status(403, ""));
    let outcome = world.eval(&[("HF_TOKEN", "hf_mine")])?;
    assert_eq!(outcome.complaint(2, &["403", &licence, "one was sent"]), None);
    assert!(!outcome.stderr.contains("hf_mine"), "the token is nobody's business");
    world.assert_no_weights();
    Ok(())
}

#[test]
fn models_that_are_not_there() -> Anyhow {
    let world = World::new()?;
    let endpoint = world.hub.endpoint();
    for (model, says) in [
        (
            "models/absent",
            &[
                "no file or folder models/absent",
                &endpoint[..],
                "no repository models/absent with a revision main (404)",
            ][..],
        ),
        ("owner/tiny@v9", &["no repository owner/tiny with a revision v9 (404)"]),
        ("owner/tiny/q4.gguf", &["owner/tiny/q4.gguf: its repository has no q4.gguf", "q/tiny.gguf"]),
        ("./models/absent", &["no model at ./models/absent: there is no such file or folder"]),
        ("models/absent/x", &["no model at models/absent/x"]),
    ] {
        let asked = !says[0].starts_with("no model at");
        assert_eq!(world.run(&[], &eval(model))?.complaint(2, says), None);
        assert_eq!(!world.hub.requests().is_empty(), asked, "{model}");
    }
    world.hub.fault("HEAD", "config.json", 1, Wrong::Status(404, ""));
    assert_eq!(world.eval(&[])?.complaint(2, &["has no file at http://", "config.json"]), None);
    Ok(())
}

#[test]
fn servers_that_stay_busy_are_given_up() -> Anyhow {
    let world = World::new()?;
    world.hub.fault("GET", "/storage/", 5, Wrong::Status(503, "Retry-After: 0\r\n"));
    let says = ["/storage/model.safetensors", "503 Service Unavailable", "asked 5 times"];
    assert_eq!(world.eval(&[])?.complaint(1, &says), None);
    world.assert_no_weights();
    world.hub.fault("GET", "/storage/", 1, Wrong::Status(429, "Retry-After: 3600\r\n"));
    let outcome = world.eval(&[])?;
    assert_eq!(outcome.complaint(1, &["429 Too Many Requests", "asks to wait 3600 s"]), None);
    world.evaluated(&[])?;
    Ok(())
}

#[test]
fn answers_that_make_no_sense() -> Anyhow {
    let listing = |sha: &str| format!("{{\"sha\":\"{sha}\",\"siblings\":[{{\"rfilename\":\"config.json\"}}]}}");
    for (method, part, wrong, code, says) in [
        (
            "GET",
            "/api/",
            Wrong::Body("<html>sign in</html>".into()),
            1,
            &["not the hub's answer", "is HF_ENDPOINT right?"][..],
        ),
        ("GET", "/api/", Wrong::Body(listing("../../up")), 1, &["`../../up` is no commit"]),
        (
            "GET",
            "/api/",
            Wrong::Status(302, "Location: /api/models/owner/tiny/revision/main\r\n"),
            1,
            &["more than 10 redirects"],
        ),
        ("GET", "/api/", Wrong::Status(302, ""), 1, &["a redirect to ``"]),
        ("GET", "/api/", Wrong::Status(418, ""), 1, &["the server answered 418"]),
        ("HEAD", "config.json", Wrong::Status(200, "ETag: \"../up\"\r\n"), 1, &["ETag cannot be the name of a file"]),
        ("HEAD", "config.json", Wrong::Status(200, ""), 1, &["has no ETag"]),
    ] {
        let world = World::new()?;
        world.hub.fault(method, part, 20, wrong);
        assert_eq!(world.eval(&[])?.complaint(code, says), None);
        world.assert_no_weights();
    }
    Ok(())
}

#[test]
fn an_index_that_leads_out_of_its_folder() -> Anyhow {
    let world = World::with("llama-untied")?;
    let mut files = world.place.files("model")?;
    files.retain(|name, _| name == "config.json");
    let index = "{\"weight_map\":{\"w\":\"../../../../../up.safetensors\"}}";
    files.insert("model.safetensors.index.json".into(), index.into());
    let world = World { hub: super::server::Hub::start(files)?, ..world };
    let outcome = world.eval(&[])?;
    assert_eq!(outcome.complaint(2, &["a bad model.safetensors.index.json", "../up.safetensors`"]), None);
    Ok(())
}

#[test]
fn variables_that_cannot_be_used() -> Anyhow {
    let world = World::new()?;
    for (variable, value) in [
        ("HF_ENDPOINT", "hub.example"),
        ("HF_ENDPOINT", "ftp://hub.example"),
        ("HF_TOKEN", "hf_\u{e9}"),
        ("HF_HUB_DOWNLOAD_TIMEOUT", "soon"),
    ] {
        assert_eq!(world.eval(&[(variable, value)])?.complaint(2, &[&format!("{variable}: ")]), None);
    }
    assert_eq!(world.hub.requests().len(), 0);
    Ok(())
}
