//! Changes of single values and lists in a text, whose comments and layout stay.

use toml_edit::{Array, Item, RawString, TableLike, Value};

/// Puts a value in the place of another, between the same comments.
pub(super) fn set(table: &mut dyn TableLike, key: &str, value: Value) {
    match table.get_mut(key).and_then(Item::as_value_mut) {
        Some(old) => {
            let decor = old.decor().clone();
            *old = value;
            *old.decor_mut() = decor;
        }
        None => {
            table.insert(key, Item::Value(value));
        }
    }
}

/// One more item of a list, laid out like the one before it.
pub(super) fn add(table: &mut dyn TableLike, key: &str, item: &str) -> Result<(), String> {
    if table.get(key).is_none() {
        table.insert(key, Item::Value(Value::Array(Array::new())));
    }
    let list = table.get_mut(key).and_then(Item::as_array_mut);
    let list = list.ok_or_else(|| format!("`{key}` of the config is no list"))?;
    if list.iter().any(|have| have.as_str() == Some(item)) {
        return Ok(());
    }
    let before = list.iter().last().and_then(|last| {
        let prefix = last.decor().prefix().and_then(RawString::as_str)?;
        let indent = prefix.rsplit_once('\n')?.1.to_owned();
        Some(indent)
    });
    let Some(indent) = before else {
        list.push(item);
        return Ok(());
    };
    // A comment behind the last item stays behind it.
    let end = if list.trailing_comma() {
        list.trailing().as_str().unwrap_or_default().to_owned()
    } else {
        let last = list.iter_mut().last();
        let suffix = last.map(|last| {
            let text = last
                .decor()
                .suffix()
                .and_then(RawString::as_str)
                .unwrap_or_default()
                .to_owned();
            last.decor_mut().set_suffix("");
            text
        });
        suffix.unwrap_or_default()
    };
    let comments = end.trim_end();
    let mut value = Value::from(item);
    value
        .decor_mut()
        .set_prefix(format!("{comments}\n{indent}"));
    list.push_formatted(value);
    list.set_trailing("\n");
    list.set_trailing_comma(true);
    Ok(())
}

/// Takes an item out of a list that has it; says whether it had it.
pub(super) fn take_out(table: &mut dyn TableLike, key: &str, item: &str) -> bool {
    let Some(list) = table.get_mut(key).and_then(Item::as_array_mut) else {
        return false;
    };
    let at = list.iter().position(|have| have.as_str() == Some(item));
    if let Some(at) = at {
        list.remove(at);
    }
    if list.is_empty() {
        table.remove(key);
    }
    at.is_some()
}
