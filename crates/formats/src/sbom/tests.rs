use super::*;
use std::collections::BTreeSet;

fn bill() -> Bill {
    let part = |name: &str, version: &str, source: &str| Part {
        name: name.into(),
        architecture: "amd64".into(),
        version: Some(version.into()),
        purl: Some(purl(
            "debian",
            name,
            version,
            &[("arch", "amd64"), ("distro", "debian-13")],
        )),
        source: Some(Source {
            name: source.into(),
            version: version.into(),
            purl: purl("debian", source, version, &[("arch", "source")]),
        }),
        licence: Some("MIT".into()),
        sha256: Some(Sha256::of(name.as_bytes())),
        summary: Some("x".into()),
        maintainer: Some("A Team <a@localhost>".into()),
        homepage: Some("no url".into()),
    };
    Bill {
        image: "ab".repeat(32).parse().unwrap(),
        name: "hello".into(),
        version: Some("1.0".into()),
        time: 951_782_400,
        tool: "0.1.0".into(),
        parts: vec![
            part("libstdc++6", "1:14.2~x-1", "gcc-14"),
            part("libgcc-s1", "1:14.2~x-1", "gcc-14"),
        ],
        texts: BTreeMap::new(),
    }
}

#[test]
fn ids_are_different_and_refer_to_what_is_there() {
    let document = spdx::encode(&bill());
    let packages = document["packages"].as_array().unwrap();
    let ids: BTreeSet<&str> = packages
        .iter()
        .map(|p| p["SPDXID"].as_str().unwrap())
        .collect();
    // The image, two packages, one source.
    assert_eq!((ids.len(), packages.len()), (4, 4));
    for id in &ids {
        let rest = id.strip_prefix("SPDXRef-").unwrap();
        assert!(
            rest.chars()
                .all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '.'),
            "{id}"
        );
    }
    for relation in document["relationships"].as_array().unwrap() {
        let to = relation["relatedSpdxElement"].as_str().unwrap();
        assert!(ids.contains(to), "{to}");
    }
    let text = document.to_string();
    assert!(
        text.contains("Organization: A Team (a@localhost)"),
        "{text}"
    );
    assert!(!text.contains("no url"), "{text}");
    let document = cyclonedx::encode(&bill());
    let all = document["dependencies"][0]["dependsOn"].as_array().unwrap();
    assert_eq!(all.len(), 2);
}

#[test]
fn the_same_bill_gives_the_same_document() {
    for encode in [spdx::encode, cyclonedx::encode] {
        assert_eq!(encode(&bill()).to_string(), encode(&bill()).to_string());
    }
    let mut other = bill();
    other.image = "cd".repeat(32).parse().unwrap();
    assert_ne!(
        spdx::encode(&bill())["documentNamespace"],
        spdx::encode(&other)["documentNamespace"]
    );
}

#[test]
fn times_and_urls_are_as_their_formats_want() {
    let mut bill = bill();
    for (time, text) in [
        (0, "1970-01-01T00:00:00Z"),
        (951_782_400, "2000-02-29T00:00:00Z"),
        (1_704_067_199, "2023-12-31T23:59:59Z"),
        (4_107_542_400, "2100-03-01T00:00:00Z"),
    ] {
        bill.time = time;
        assert_eq!(bill.created(), text);
    }
    let url = purl(
        "debian",
        "libstdc++6",
        "1:14.2~x-1+b1",
        &[("arch", "amd64"), ("distro", "debian-13")],
    );
    assert_eq!(
        url,
        "pkg:deb/debian/libstdc%2B%2B6@1:14.2~x-1%2Bb1?arch=amd64&distro=debian-13"
    );
    assert!(
        is_url("https://a.example/x") && !is_url("http://localhost") && !is_url("https://a.b/{x}")
    );
}
