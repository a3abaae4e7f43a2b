//! The JSON Schema of a config: what editors complete and check with.

use super::{Kind, LANGUAGE, SECTIONS, Section};
use serde_json::{Map, Value, json};

impl Kind {
    /// As a JSON Schema. A word that stands for a value (`${vars.NAME}`) is a text wherever it stands.
    fn schema(self) -> Value {
        let word = json!({"type": "string", "pattern": "^\\$\\{(vars|param)\\.[^}]+\\}$"});
        let text = json!({"type": "string"});
        match self {
            Self::Text | Self::Path => text,
            Self::Number(low, high) => {
                json!({"anyOf": [{"type": "integer", "minimum": low, "maximum": high}, word]})
            }
            Self::Boolean => json!({"anyOf": [{"type": "boolean"}, word]}),
            Self::Texts | Self::Paths => {
                json!({"anyOf": [{"type": "array", "items": text}, word]})
            }
        }
    }
}

impl Section {
    fn schema(&self) -> Value {
        let keys = self.keys.iter().map(|key| {
            let mut schema = key.kind.schema();
            schema["description"] = key.doc.into();
            (key.name.to_owned(), schema)
        });
        let mut table = object(&keys.collect());
        if self.each.is_some() {
            table = json!({"type": "object", "additionalProperties": table});
        }
        table["description"] = self.doc.into();
        table
    }
}

fn object(properties: &Map<String, Value>) -> Value {
    json!({"type": "object", "properties": properties, "additionalProperties": false})
}

/// The JSON Schema of a config (draft 4, which editors' TOML support takes).
pub fn schema() -> Value {
    let all = || -> Map<String, Value> {
        let sections = SECTIONS.iter();
        sections
            .map(|section| (section.name.to_owned(), section.schema()))
            .collect()
    };
    let described = |mut schema: Value, name: &str| {
        let doc = LANGUAGE.iter().find(|(known, _)| *known == name);
        schema["description"] = doc.map_or("", |(_, doc)| doc).into();
        schema
    };
    let part = json!({"$ref": "#/definitions/part"});
    let any = json!({"type": "object"});
    let condition = json!({"type": "object", "required": ["apply"], "properties": {
        "apply": {"$ref": "#/definitions/body"}, "arch": {}, "suite": {}, "vars": any, "not": any,
        "any": {"type": "array", "items": any},
    }, "additionalProperties": false});
    let used = json!({"type": "object", "required": ["module"], "properties": {
        "module": {"type": "string"}, "with": any, "for_each": {"type": ["string", "array", "object"]},
    }, "additionalProperties": false});
    let mut body = all();
    for name in ["default", "force"] {
        body.insert(name.into(), described(part.clone(), name));
    }
    body.insert("remove".into(), described(any.clone(), "remove"));
    let mut top = body.clone();
    let texts = json!({"type": "array", "items": {"type": "string"}});
    let bodies = json!({"type": "object", "additionalProperties": {"$ref": "#/definitions/body"}});
    for (name, schema) in [
        ("schema", json!({"type": "integer", "enum": [1]})),
        ("imports", texts),
        ("vars", any.clone()),
        ("use", json!({"type": "array", "items": used})),
        ("when", json!({"type": "array", "items": condition})),
        ("specialisation", bodies),
    ] {
        top.insert(name.into(), described(schema, name));
    }
    let mut part = all();
    part.insert("vars".into(), any);
    let mut schema = object(&top);
    schema["$schema"] = "http://json-schema.org/draft-04/schema#".into();
    schema["title"] = "The config of a system, for `elea build`".into();
    schema["definitions"] = json!({"part": object(&part), "body": object(&body)});
    schema
}
