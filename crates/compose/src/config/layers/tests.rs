use super::*;
use proptest::prelude::*;
use std::collections::BTreeSet;

/// A tree of values without places.
#[derive(Debug, Clone)]
enum Shape {
    Text(u8),
    Number(i64),
    List(Vec<u8>),
    Table(BTreeMap<String, Shape>),
}

fn shape() -> impl Strategy<Value = Shape> {
    let leaf = prop_oneof![
        (0..3_u8).prop_map(Shape::Text),
        (0..3_i64).prop_map(Shape::Number),
        prop::collection::vec(0..4_u8, 0..3).prop_map(Shape::List),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop::collection::btree_map("[ab.]", inner, 0..3).prop_map(Shape::Table)
    })
}

fn rank() -> impl Strategy<Value = Rank> {
    prop_oneof![
        Just(Rank::Default),
        Just(Rank::Plain),
        Just(Rank::Specialisation),
        Just(Rank::Force)
    ]
}

/// Layers, each of another file.
fn layers() -> impl Strategy<Value = Vec<Layer>> {
    let table = prop::collection::btree_map("[abc]", shape(), 0..4);
    prop::collection::vec((rank(), table), 0..6).prop_map(|list| {
        let layer = |(file, (rank, table)): (usize, (Rank, BTreeMap<String, Shape>))| {
            let mut next = 0;
            let node = node(file, &mut next, &Shape::Table(table));
            let Value::Table(table) = node.value else {
                unreachable!("it was a table")
            };
            let why = file.to_string();
            Layer { rank, why, table }
        };
        list.into_iter().enumerate().map(layer).collect()
    })
}

fn node(file: usize, next: &mut usize, shape: &Shape) -> Node {
    let mut place = || {
        *next += 1;
        Place {
            file,
            start: *next,
            end: *next,
        }
    };
    let at = place();
    let value = match shape {
        Shape::Text(text) => Value::Text(text.to_string()),
        Shape::Number(number) => Value::Integer(Some(*number)),
        Shape::List(list) => {
            let item = |text: &u8| Node {
                at: place(),
                value: Value::Text(text.to_string()),
            };
            Value::List(list.iter().map(item).collect())
        }
        Shape::Table(table) => {
            let mut inner = Table::new();
            for (name, shape) in table {
                let node = node(file, next, shape);
                inner.insert(name.clone(), Field { key: node.at, node });
            }
            Value::Table(inner)
        }
    };
    Node { at, value }
}

/// The values of a table by their names, those of lists in one order.
fn values(table: &Table) -> BTreeMap<String, String> {
    fn walk(path: &str, table: &Table, all: &mut BTreeMap<String, String>) {
        for (name, field) in table {
            let path = match path {
                "" => quoted(name),
                path => format!("{path}.{}", quoted(name)),
            };
            match &field.node.value {
                Value::Table(inner) => {
                    all.insert(path.clone(), "a table".into());
                    walk(&path, inner, all);
                }
                Value::List(list) => {
                    let items: BTreeSet<String> = list.iter().map(Node::to_string).collect();
                    all.insert(path, format!("{items:?}"));
                }
                _ => {
                    all.insert(path, field.node.to_string());
                }
            }
        }
    }
    let mut all = BTreeMap::new();
    walk("", table, &mut all);
    all
}

fn leaves(path: &str, table: &Table, all: &mut Vec<(String, Place)>) {
    for (name, field) in table {
        let path = match path {
            "" => quoted(name),
            path => format!("{path}.{}", quoted(name)),
        };
        match &field.node.value {
            Value::Table(inner) => leaves(&path, inner, all),
            _ => all.push((path, field.node.at)),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    /// In whatever order layers come, they say the same, and it is the same that is wrong.
    #[test]
    fn order_plays_no_role(layers in layers(), seed in 0..1000_usize) {
        let one = merge(&layers, &[]);
        let mut other = layers.clone();
        let middle = seed % other.len().max(1);
        other.rotate_left(middle);
        if seed % 2 == 0 {
            other.reverse();
        }
        let other = merge(&other, &[]);
        prop_assert_eq!(one.problems.is_empty(), other.problems.is_empty());
        if one.problems.is_empty() {
            prop_assert_eq!(values(&one.table), values(&other.table));
        }
    }

    /// Whoever says again what is said already changes nothing.
    #[test]
    fn saying_it_again_changes_nothing(layers in layers(), which in 0..6_usize) {
        let once = merge(&layers, &[]);
        if let Some(layer) = layers.get(which) {
            let twice = [&layers[..], std::slice::from_ref(layer)].concat();
            let twice = merge(&twice, &[]);
            prop_assert_eq!(once.problems.is_empty(), twice.problems.is_empty());
            if once.problems.is_empty() {
                prop_assert_eq!(values(&once.table), values(&twice.table));
            }
        }
    }

    /// Everything that is said is told of, where it was said, and what holds is among it.
    #[test]
    fn nothing_that_is_said_is_lost(layers in layers()) {
        let merged = merge(&layers, &[]);
        prop_assume!(merged.problems.is_empty());
        let mut said = Vec::new();
        for layer in &layers {
            leaves("", &layer.table, &mut said);
        }
        let mut told: Vec<(String, Place)> = merged
            .said
            .iter()
            .flat_map(|(path, all)| all.iter().map(move |said| (path.clone(), said.at)))
            .collect();
        said.sort();
        told.sort();
        prop_assert_eq!(said, told);
        for (path, value) in values(&merged.table) {
            let Some(all) = merged.said.get(&path) else {
                prop_assert_eq!(value, "a table");
                continue;
            };
            prop_assert!(all.iter().any(|said| said.counts));
            let strongest = all.iter().map(|said| said.rank).max();
            prop_assert!(all.iter().all(|said| said.counts || said.rank < strongest.unwrap_or(said.rank)));
            if !value.starts_with('{') {
                prop_assert!(all.iter().filter(|said| said.counts).all(|said| said.text == value));
            }
        }
    }

    /// Of parts with one rank some may be laid over one another first: it is the same whole.
    #[test]
    fn some_may_be_merged_first(layers in layers(), rank in rank(), from in 0..6_usize, to in 0..6_usize) {
        let layers: Vec<Layer> = layers.into_iter().map(|layer| Layer { rank, ..layer }).collect();
        let (from, to) = (from.min(to).min(layers.len()), from.max(to).min(layers.len()));
        let whole = merge(&layers, &[]);
        let some = merge(&layers[from..to], &[]);
        prop_assume!(some.problems.is_empty());
        let first = Layer { rank, why: "some".into(), table: some.table };
        let rest = [&layers[..from], std::slice::from_ref(&first), &layers[to..]].concat();
        let nested = merge(&rest, &[]);
        prop_assert_eq!(whole.problems.is_empty(), nested.problems.is_empty());
        if whole.problems.is_empty() {
            prop_assert_eq!(values(&whole.table), values(&nested.table));
        }
    }

    /// What is taken out is not in what comes out unless it is forced; who said it is told where it went, and that it
    /// does not hold. Nothing else changes.
    #[test]
    fn what_is_removed_is_told_to_be_gone(layers in layers(), names in prop::collection::btree_set("[abc0-3]", 0..3), below in "[abc]") {
        let node = |at: usize, value| {
            let at = Place { file: 99, start: at, end: at };
            Field { key: at, node: Node { at, value } }
        };
        let texts = names.iter().enumerate().map(|(at, name)| node(at, Value::Text(name.clone())).node);
        let removed = Table::from([(below.clone(), node(50, Value::List(texts.collect())))]);
        let whole = merge(&layers, &[]);
        let merged = merge(&layers, std::slice::from_ref(&removed));
        prop_assume!(whole.problems.is_empty() && merged.problems.is_empty());
        for (path, all) in &merged.said {
            let is_gone = names.iter().any(|name| {
                let of = format!("{below}.{name}");
                path.strip_prefix(&of).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            });
            if is_gone {
                prop_assert!(all.iter().all(|said| !said.counts && said.gone.is_some()), "{path}");
                prop_assert!(!values(&merged.table).contains_key(path));
            } else if *path == below {
                for said in all.iter().filter(|said| said.gone.is_some()) {
                    prop_assert!(said.items.iter().all(|(item, _)| names.contains(item.trim_matches('"'))));
                }
            } else {
                prop_assert_eq!(Some(all), whole.said.get(path));
            }
        }
        let before = merge(&layers, &[]).table;
        for item in merged.gone.values().flatten().map(|(item, _)| item) {
            prop_assert!(names.contains(item.trim_matches('"')));
        }
        if let (Some(Value::List(old)), Some(Value::List(new))) = (
            before.get(&below).map(|f| &f.node.value),
            merged.table.get(&below).map(|f| &f.node.value),
        ) {
            let left: Vec<String> = new.iter().map(Node::to_string).collect();
            for item in old.iter().map(Node::to_string) {
                let gone = merged.gone.get(&below).is_some_and(|gone| gone.contains_key(&item));
                prop_assert!(left.contains(&item) != gone || merged.ranks.values().any(|rank| *rank == Rank::Force), "{item}");
            }
        }
    }
}
