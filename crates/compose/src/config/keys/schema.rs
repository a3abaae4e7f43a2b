//! The JSON Schema of a config: what editors complete and check with.

use super::super::modules::PARAMETERS;
use super::super::moves::SCHEMA;
use super::{Key, Kind, LANGUAGE, SECTIONS, Section};
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
            Self::Word(words) => json!({"anyOf": [{"enum": words}, word]}),
            Self::Ports => {
                let number = json!({"type": "integer", "minimum": 1, "maximum": 65_535});
                let port = json!({"anyOf": [number, text]});
                json!({"anyOf": [{"type": "array", "items": port}, word]})
            }
            Self::Tables(keys) => {
                json!({"anyOf": [{"type": "array", "items": table_of(keys)}, word]})
            }
            Self::Setting => json!({"type": ["string", "integer", "boolean"]}),
            Self::Settings => {
                let single = Self::Setting.schema();
                let many = json!({"type": "array", "items": single});
                json!({"type": "object", "additionalProperties": {"anyOf": [single, many]}})
            }
            Self::Texts | Self::Paths => {
                json!({"anyOf": [{"type": "array", "items": text}, word]})
            }
            Self::Table => json!({"type": "object", "additionalProperties": text}),
            Self::Named(section) => section.schema(),
        }
    }
}

/// A table with these keys. One that stands for names that are not Elea's is what all others are.
fn table_of(keys: &[Key]) -> Value {
    let mut known = Map::new();
    let mut others = Value::Bool(false);
    for key in keys {
        let mut schema = key.kind.schema();
        schema["description"] = key.doc.into();
        if matches!(key.kind, Kind::Setting | Kind::Settings) {
            others = schema;
        } else {
            known.insert(key.name.to_owned(), schema);
        }
    }
    json!({"type": "object", "properties": known, "additionalProperties": others})
}

impl Section {
    fn schema(&self) -> Value {
        let mut table = table_of(self.keys);
        if self.each.is_some() {
            table = json!({"type": "object", "additionalProperties": table});
        }
        table["description"] = self.doc.into();
        table
    }
}

/// Every table at the top of a config, with those in it.
fn sections() -> Map<String, Value> {
    let mut all = Map::new();
    for section in SECTIONS {
        match section.name.split_once('.') {
            None => {
                all.insert(section.name.into(), section.schema());
            }
            Some((top, inner)) => {
                let outer = all.entry(top).or_insert_with(|| object(&Map::new()));
                outer["properties"][inner] = section.schema();
            }
        }
    }
    all
}

fn object(properties: &Map<String, Value>) -> Value {
    json!({"type": "object", "properties": properties, "additionalProperties": false})
}

/// A schema with what the language says of a name.
fn described(mut schema: Value, name: &str) -> Value {
    let doc = LANGUAGE.iter().find(|(known, _)| *known == name);
    schema["description"] = doc.map_or("", |(_, doc)| doc).into();
    schema
}

/// What the tables of a system can stand in: at the top, with other ranks, and taken out.
fn body() -> Map<String, Value> {
    let mut body = sections();
    for name in ["default", "force"] {
        body.insert(
            name.into(),
            described(json!({"$ref": "#/definitions/part"}), name),
        );
    }
    body.insert(
        "remove".into(),
        described(json!({"type": "object"}), "remove"),
    );
    body
}

/// A whole schema of draft 4, which editors' TOML support takes.
fn document(title: &str, top: &Map<String, Value>, definitions: Value) -> Value {
    let mut schema = object(top);
    schema["$schema"] = "http://json-schema.org/draft-04/schema#".into();
    schema["title"] = title.into();
    schema["definitions"] = definitions;
    schema
}

/// The JSON Schema of the file of a module: what it asks for, and what it says.
pub fn module_schema() -> Value {
    let kinds: Vec<&str> = PARAMETERS.iter().map(|(name, _)| *name).collect();
    let parameter = json!({"type": "object", "required": ["type"], "properties": {
        "type": {"enum": kinds, "description": "what it takes"},
        "default": {"description": "what it is if nothing is given; without it it must be given"},
        "one_of": {"type": "array", "description": "all that it may be"},
        "doc": {"type": "string", "description": "what it means, for people"},
    }, "additionalProperties": false});
    let mut top = body();
    top.insert("schema".into(), version());
    top.insert(
        "parameters".into(),
        json!({"type": "object", "additionalProperties": parameter,
            "description": "what the module asks for: `${param.NAME}` stands for it"}),
    );
    let part = object(&sections());
    document(
        "A module of a config, for `[[use]]`",
        &top,
        json!({"part": part}),
    )
}

fn version() -> Value {
    described(json!({"type": "integer", "enum": [SCHEMA]}), "schema")
}

/// The JSON Schema of a config.
pub fn schema() -> Value {
    let any = json!({"type": "object"});
    let condition = json!({"type": "object", "required": ["apply"], "properties": {
        "apply": {"$ref": "#/definitions/body"}, "arch": {}, "suite": {}, "vars": any, "not": any,
        "any": {"type": "array", "items": any},
    }, "additionalProperties": false});
    let used = json!({"type": "object", "required": ["module"], "properties": {
        "module": {"type": "string"}, "with": any, "for_each": {"type": ["string", "array", "object"]},
    }, "additionalProperties": false});
    let body = body();
    let mut top = body.clone();
    top.insert("schema".into(), version());
    let texts = json!({"type": "array", "items": {"type": "string"}});
    let bodies = json!({"type": "object", "additionalProperties": {"$ref": "#/definitions/body"}});
    for (name, schema) in [
        ("imports", texts),
        ("vars", any.clone()),
        ("use", json!({"type": "array", "items": used})),
        ("when", json!({"type": "array", "items": condition})),
        ("specialisation", bodies),
    ] {
        top.insert(name.into(), described(schema, name));
    }
    let mut part = sections();
    part.insert("vars".into(), any);
    let definitions = json!({"part": object(&part), "body": object(&body)});
    document(
        "The config of a system, for `elea build`",
        &top,
        definitions,
    )
}
