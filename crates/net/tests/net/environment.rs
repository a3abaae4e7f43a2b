//! What comes from the environment: proxies, the system's certificates, credential helpers. It is
//! set for a child of the test, which is the same test in another process.

use crate::docker_registry::{Access, DockerRegistry};
use crate::fixture::{Place, anything, options, reference};
use crate::server::{Reply, Repository, Server};
use crate::tls::Authority;
use base64::Engine as _;
use elea_net::{NetError, Options, push};
use elea_sys::progress::Silent;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _, copy};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::sync::{Arc, Mutex};

/// Tells a child what to do.
const ROLE: &str = "ELEA_TEST_ROLE";

/// Runs a test of this file in another process, which must succeed.
fn child(test: &str, role: &str, variables: &[(&str, &str)]) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", &format!("environment::{test}"), "--nocapture"]);
    for name in ["http_proxy", "https_proxy", "all_proxy", "no_proxy"] {
        command.env_remove(name).env_remove(name.to_uppercase());
    }
    let out = command
        .env(ROLE, role)
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&out.stdout) + String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{role}: {said}");
    assert!(said.contains("1 passed"), "{role}: {said}");
}

/// A proxy that leads everywhere to one address; the first line of each connection is kept.
fn proxy(to: String) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let lines = Arc::new(Mutex::new(Vec::new()));
    let kept = lines.clone();
    // It ends with the test's process.
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let (to, kept) = (to.clone(), kept.clone());
            std::thread::spawn(move || {
                let _ = serve(client.unwrap(), &to, &kept);
            });
        }
    });
    (address, lines)
}

fn serve(client: TcpStream, to: &str, kept: &Mutex<Vec<String>>) -> std::io::Result<()> {
    let mut reader = BufReader::new(client.try_clone()?);
    let mut head = String::new();
    reader.read_line(&mut head)?;
    kept.lock().unwrap().push(head.trim().to_owned());
    let mut server = TcpStream::connect(to)?;
    if head.starts_with("CONNECT ") {
        let mut line = head;
        while !line.trim().is_empty() {
            line.clear();
            reader.read_line(&mut line)?;
        }
        (&client).write_all(b"HTTP/1.1 200 X\r\n\r\n")?;
    } else {
        // A server takes the whole address too (RFC 9112, section 3.2.2).
        server.write_all(head.as_bytes())?;
    }
    let (mut back, mut out) = (server.try_clone()?, client);
    let answers = std::thread::spawn(move || copy(&mut back, &mut out));
    copy(&mut reader, &mut server)?;
    server.shutdown(std::net::Shutdown::Write)?;
    let _ = answers.join();
    Ok(())
}

/// What a child does: pushes and pulls an image under this name.
fn there_and_back(host: &str, options: &Options) -> Result<(), NetError> {
    let place = Place::new();
    let image = place.system("hello", "1.0", 0).image;
    let to = reference(&format!("registry:{host}/hello:1.0"));
    push(&image, &place.store, &to, options, None, &Silent)?;
    let there = Place::new();
    let policy = anything();
    let offer = elea_net::check(&to, &there.store, options, &policy, None, &Silent)?;
    let pulled = elea_net::pull(&offer, &there.store, options, &policy, None, &Silent)?;
    assert_eq!(pulled.image.image, image);
    Ok(())
}

#[test]
fn proxies_and_the_systems_certificates_are_used() {
    const NAME: &str = "proxies_and_the_systems_certificates_are_used";
    let once = Options {
        attempts: 1,
        ..options()
    };
    let plain = Options {
        plain_http: true,
        ..once.clone()
    };
    match std::env::var(ROLE).as_deref() {
        Ok("plain") => return there_and_back("registry.invalid", &plain).unwrap(),
        Ok("tls") => return there_and_back("registry.invalid", &once).unwrap(),
        Ok("tls unknown") => {
            let error = there_and_back("registry.invalid", &once).unwrap_err();
            assert!(error.to_string().contains("certificate"), "{error}");
            return;
        }
        Ok("past the proxy") => {
            let error = there_and_back("registry.invalid", &plain).unwrap_err();
            assert!(matches!(error, NetError::Connection { .. }), "{error}");
            return;
        }
        Ok(loopback) => return there_and_back(loopback, &once).unwrap(),
        Err(_) => {}
    }
    let place = Place::new();
    let Some(authority) = Authority::new(&place.path("tls"), "DNS:registry.invalid") else {
        return;
    };
    let Some(open) = DockerRegistry::start(&Access::default()) else {
        return;
    };
    let access = Access {
        htpasswd: None,
        tls: Some((&authority.certificate, &authority.key)),
    };
    let secret = DockerRegistry::start(&access).unwrap();

    let (address, lines) = proxy(open.host());
    child(NAME, "plain", &[("http_proxy", &address)]);
    let seen = lines.lock().unwrap().clone();
    assert!(
        seen.iter()
            .any(|l| l.starts_with("GET http://registry.invalid/v2/hello/")),
        "{seen:?}"
    );
    let proxied = [
        ("http_proxy", address.as_str()),
        ("no_proxy", "registry.invalid"),
    ];
    child(NAME, "past the proxy", &proxied);
    child(NAME, &open.host(), &[("http_proxy", &address)]);
    assert_eq!(lines.lock().unwrap().len(), seen.len());

    let (address, lines) = proxy(secret.host());
    let authority_file = authority.root.display().to_string();
    let trusted = [
        ("https_proxy", address.as_str()),
        ("SSL_CERT_FILE", &authority_file),
    ];
    child(NAME, "tls", &trusted);
    child(NAME, "tls unknown", &trusted[..1]);
    let seen = lines.lock().unwrap();
    assert!(
        seen.iter()
            .all(|l| l.starts_with("CONNECT registry.invalid:443 ")),
        "{seen:?}"
    );
}

#[test]
fn helpers_give_passwords_and_identity_tokens() {
    const NAME: &str = "helpers_give_passwords_and_identity_tokens";
    if let Ok(host) = std::env::var(ROLE) {
        let place = Place::new();
        let from = reference(&format!("registry:{host}/hello:1.0"));
        place.pull(&from, &anything()).unwrap();
        return;
    }
    let place = Place::new();
    let layout = place.path("layout");
    let image = place.system("hello", "1.0", 0).image;
    let to = reference(&format!("oci:{}:1.0", layout.display()));
    push(&image, &place.store, &to, &options(), None, &Silent).unwrap();
    let basic = base64::engine::general_purpose::STANDARD.encode("me:from the helper");
    let repository = Repository::new(&layout);
    let by_password = Server::start(move |asked| {
        let given = asked.headers.get("authorization").map(String::as_str);
        if given == Some(&format!("Basic {basic}")) {
            return repository.answer(asked);
        }
        Reply::new(401, "application/json", "{}").header("www-authenticate", "Basic realm=x")
    });
    let repository = Repository::new(&layout);
    let by_token = Server::start(move |asked| {
        let host = &asked.headers["host"];
        if asked.path == "/token" && asked.method == "POST" {
            let form = String::from_utf8_lossy(&asked.body);
            let good =
                "service=s&scope=pull&grant_type=refresh_token&client_id=elea&refresh_token=a%2Fb";
            let status = if form == good { 200 } else { 403 };
            return Reply::new(status, "application/json", r#"{"access_token":"tok"}"#);
        }
        if asked.headers.get("authorization").map(String::as_str) == Some("Bearer tok") {
            return repository.answer(asked);
        }
        let challenge = format!(r#"Bearer realm="http://{host}/token",service="s",scope="pull""#);
        Reply::new(401, "application/json", "{}").header("www-authenticate", challenge)
    });
    let programs = place.path("bin");
    fs::create_dir_all(&programs).unwrap();
    let script = |name: &str, answer: &str| {
        let path = programs.join(format!("docker-credential-{name}"));
        let asked = place.path("asked").display().to_string();
        let text = format!("#!/bin/sh\n(cat; echo) >> {asked}\necho '{answer}'\n");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    };
    script(
        "all",
        r#"{"ServerURL":"","Username":"me","Secret":"from the helper"}"#,
    );
    script(
        "one",
        r#"{"ServerURL":"","Username":"<token>","Secret":"a/b"}"#,
    );
    let text = format!(
        r#"{{"credsStore":"all","credHelpers":{{"{}":"one"}}}}"#,
        by_token.host()
    );
    fs::write(place.path("config.json"), text).unwrap();
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
    let folder = place.path("").display().to_string();
    let variables = [
        ("PATH", path.as_str()),
        ("DOCKER_CONFIG", &folder),
        ("HOME", "/nowhere"),
    ];
    for server in [&by_password, &by_token] {
        child(NAME, &server.host(), &variables);
    }
    // Once for the look and once for the pull, however many layers there are.
    let asked = fs::read_to_string(place.path("asked")).unwrap();
    let (one, two) = (by_password.host(), by_token.host());
    assert_eq!(asked, format!("{one}\n{one}\n{two}\n{two}\n"));
}
