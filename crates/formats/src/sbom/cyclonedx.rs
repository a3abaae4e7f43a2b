//! `CycloneDX` 1.6, as JSON.

use super::{Bill, Part, is_url, person};
use serde_json::{Value, json};

const IMAGE: &str = "image";

/// The document.
pub fn encode(bill: &Bill) -> Value {
    let components: Vec<Value> = bill
        .parts
        .iter()
        .map(|part| component(part, bill))
        .collect();
    let all: Vec<&Value> = components.iter().map(|c| &c["bom-ref"]).collect();
    let mut image = json!({
        "type": "operating-system",
        "bom-ref": IMAGE,
        "name": bill.name,
        "properties": [{ "name": "elea:image", "value": bill.image.to_string() }],
    });
    if let Some(version) = &bill.version {
        image["version"] = json!(version);
    }
    json!({
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": format!("urn:uuid:{}", bill.uuid("cyclonedx-1.6")),
        "version": 1,
        "metadata": {
            "timestamp": bill.created(),
            "tools": { "components": [{ "type": "application", "name": "elea", "version": bill.tool }] },
            "component": image,
        },
        "components": components,
        "dependencies": [{ "ref": IMAGE, "dependsOn": all }],
    })
}

fn component(part: &Part, bill: &Bill) -> Value {
    let other = format!("part:{}", part.name);
    let mut out = json!({
        "type": if part.architecture.is_empty() { "application" } else { "library" },
        "bom-ref": part.purl.as_ref().unwrap_or(&other),
        "name": part.name,
    });
    let mut set = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            out[name] = value;
        }
    };
    set("version", part.version.as_ref().map(|v| json!(v)));
    set("description", part.summary.as_ref().map(|s| json!(s)));
    set("purl", part.purl.as_ref().map(|p| json!(p)));
    set("supplier", part.maintainer.as_deref().and_then(supplier));
    set(
        "hashes",
        part.sha256
            .map(|d| json!([{ "alg": "SHA-256", "content": d.to_string() }])),
    );
    set(
        "licenses",
        part.licence
            .as_deref()
            .map(|licence| licences(licence, bill)),
    );
    let ancestor = part.source.as_ref().map(|source| {
        json!({ "ancestors": [{
            "type": "library",
            "name": source.name,
            "version": source.version,
            "purl": source.purl,
        }]})
    });
    set("pedigree", ancestor);
    let homepage = part.homepage.as_deref().filter(|h| is_url(h));
    set(
        "externalReferences",
        homepage.map(|h| json!([{ "type": "website", "url": h }])),
    );
    out
}

/// A licence that is one text is shown with it; an expression has no place for texts.
fn licences(expression: &str, bill: &Bill) -> Value {
    match bill.texts.get(expression) {
        Some(text) => json!([{ "license": {
            "name": expression,
            "text": { "contentType": "text/plain", "content": text.text },
            "acknowledgement": "declared",
        }}]),
        None => json!([{ "expression": expression, "acknowledgement": "declared" }]),
    }
}

fn supplier(maintainer: &str) -> Option<Value> {
    let (name, address) = person(maintainer);
    let address =
        address.filter(|a| a.contains('@') && a.is_ascii() && !a.contains(char::is_whitespace));
    let contact = address.map(|address| json!([{ "email": address }]));
    (!name.is_empty()).then(|| match contact {
        Some(contact) => json!({ "name": name, "contact": contact }),
        None => json!({ "name": name }),
    })
}
