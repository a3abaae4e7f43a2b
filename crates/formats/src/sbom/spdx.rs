//! SPDX 2.3, as JSON.

use super::{Bill, Part, is_url, person};
use serde_json::{Value, json};

const NONE: &str = "NOASSERTION";
const IMAGE: &str = "SPDXRef-Image";

/// The document.
pub fn encode(bill: &Bill) -> Value {
    let mut packages = vec![image(bill)];
    let mut relations = vec![relation("SPDXRef-DOCUMENT", "DESCRIBES", IMAGE)];
    for part in &bill.parts {
        let id = id(part);
        relations.push(relation(IMAGE, "CONTAINS", &id));
        if let Some(source) = &part.source {
            let from = source_id(&source.name, &source.version);
            relations.push(relation(&id, "GENERATED_FROM", &from));
        }
        packages.push(package(part, &id));
    }
    for source in bill.sources().values() {
        packages.push(json!({
            "SPDXID": source_id(&source.name, &source.version),
            "name": source.name,
            "versionInfo": source.version,
            "downloadLocation": NONE,
            "filesAnalyzed": false,
            "licenseConcluded": NONE,
            "licenseDeclared": NONE,
            "copyrightText": NONE,
            "primaryPackagePurpose": "SOURCE",
            "externalRefs": [purl(&source.purl)],
        }));
    }
    let texts = bill.texts.iter().map(
        |(id, text)| json!({ "licenseId": id, "name": text.name, "extractedText": text.text }),
    );
    json!({
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": title(bill),
        "documentNamespace": format!("urn:uuid:{}", bill.uuid("spdx-2.3")),
        "creationInfo": {
            "created": bill.created(),
            "creators": [format!("Tool: elea-{}", bill.tool)],
        },
        "hasExtractedLicensingInfos": texts.collect::<Vec<_>>(),
        "packages": packages,
        "relationships": relations,
    })
}

fn title(bill: &Bill) -> String {
    let version = bill.version.as_ref();
    version.map_or_else(
        || bill.name.clone(),
        |version| format!("{} {version}", bill.name),
    )
}

fn image(bill: &Bill) -> Value {
    let mut image = json!({
        "SPDXID": IMAGE,
        "name": bill.name,
        "downloadLocation": NONE,
        "filesAnalyzed": false,
        "licenseConcluded": NONE,
        "licenseDeclared": NONE,
        "copyrightText": NONE,
        "primaryPackagePurpose": "OPERATING-SYSTEM",
        "comment": format!("composefs image with the fs-verity digest {}", bill.image),
    });
    if let Some(version) = &bill.version {
        image["versionInfo"] = json!(version);
    }
    image
}

fn package(part: &Part, id: &str) -> Value {
    let mut out = json!({
        "SPDXID": id,
        "name": part.name,
        "downloadLocation": NONE,
        "filesAnalyzed": false,
        "licenseConcluded": NONE,
        "licenseDeclared": part.licence.as_deref().unwrap_or(NONE),
        "copyrightText": NONE,
    });
    let mut set = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            out[name] = value;
        }
    };
    set("versionInfo", part.version.as_ref().map(|v| json!(v)));
    set("supplier", part.maintainer.as_deref().and_then(supplier));
    set(
        "homepage",
        part.homepage
            .as_deref()
            .filter(|h| is_url(h))
            .map(|h| json!(h)),
    );
    set("summary", part.summary.as_ref().map(|s| json!(s)));
    let source = part.source.as_ref();
    set(
        "sourceInfo",
        source.map(|s| {
            json!(format!(
                "built from the source package {} {}",
                s.name, s.version
            ))
        }),
    );
    let checksum = part
        .sha256
        .map(|digest| json!([{ "algorithm": "SHA256", "checksumValue": digest.to_string() }]));
    set("checksums", checksum);
    set(
        "externalRefs",
        part.purl.as_deref().map(|p| json!([purl(p)])),
    );
    out
}

/// Most maintainers are teams, which their names say.
fn supplier(maintainer: &str) -> Option<Value> {
    let (name, address) = person(maintainer);
    if name.is_empty() || name.contains(['(', ')']) {
        return None;
    }
    let group = ["team", "maintainers", "developers", "group", "project"];
    let lower = name.to_lowercase();
    let kind = if group.iter().any(|word| lower.contains(word)) {
        "Organization"
    } else {
        "Person"
    };
    let address = address.filter(|a| a.contains('@') && !a.contains(char::is_whitespace));
    Some(match address {
        Some(address) => json!(format!("{kind}: {name} ({address})")),
        None => json!(format!("{kind}: {name}")),
    })
}

fn purl(purl: &str) -> Value {
    json!({
        "referenceCategory": "PACKAGE-MANAGER",
        "referenceType": "purl",
        "referenceLocator": purl,
    })
}

fn relation(from: &str, kind: &str, to: &str) -> Value {
    json!({ "spdxElementId": from, "relationshipType": kind, "relatedSpdxElement": to })
}

fn id(part: &Part) -> String {
    format!(
        "SPDXRef-Package-{}-{}",
        word(&part.name),
        word(&part.architecture)
    )
}

fn source_id(name: &str, version: &str) -> String {
    format!("SPDXRef-Source-{}-{}", word(name), word(version))
}

/// Letters, digits, `.` and `-` stay; others become `.` and two capital hexadecimal digits, which no name of
/// Debian's has, so that ids stay different.
fn word(text: &str) -> String {
    let each = text.bytes().map(|byte| match byte {
        b if b.is_ascii_alphanumeric() || b == b'-' || b == b'.' => char::from(b).to_string(),
        b => format!(".{b:02X}"),
    });
    each.collect()
}
