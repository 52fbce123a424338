//! A table's definition, checked as CreateTable checks it: pure, the same for every protocol.
//!
//! Always true: checks come in the order in which DynamoDB makes them, because of two mistakes in one
//! request it names the first; what comes out fits together: every key attribute has a type, every
//! type has a key, and no two indexes share a name.

use std::collections::BTreeSet;

use tombolo_item::limits::KEY_NAME_BYTES;
use tombolo_item::{IndexProjection, KeyAttribute, KeySchema, KeyType};

use crate::arn;
use crate::errors;
use crate::failure::Failure;
use crate::operation::{
    BillingMode, CreateTable, IndexDefinition, KeyRole, ProjectionDefinition, ProjectionKind,
    Throughput,
};

/// Local indexes of a table (quotas page).
const MOST_LOCAL_INDEXES: usize = 5;
/// Global indexes of a table (quotas page, default).
const MOST_GLOBAL_INDEXES: usize = 20;
/// Attributes projected with INCLUDE into one index (API_Projection).
const MOST_NON_KEY_ATTRIBUTES: usize = 20;
/// Attributes projected with INCLUDE into all indexes of a table (quotas page).
const MOST_NON_KEY_ATTRIBUTES_OF_TABLE: usize = 100;
/// Capacity units beyond which a number is no wish.
const MOST_UNITS: i64 = 1_000_000_000_000;

/// An index that was understood.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Index {
    pub(super) name: String,
    pub(super) keys: KeySchema,
    pub(super) projection: IndexProjection,
    pub(super) throughput: Option<Throughput>,
}

/// A table that was understood.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Definition {
    pub(super) schema: KeySchema,
    pub(super) billing: BillingMode,
    pub(super) throughput: Throughput,
    pub(super) local: Vec<Index>,
    pub(super) global: Vec<Index>,
}

type Attributes<'a> = &'a [(String, KeyType)];

/// What CreateTable asks for, if it fits together.
pub(super) fn check(create: &CreateTable) -> Result<Definition, Failure> {
    if !arn::is_name(&create.table) {
        return Err(errors::bad_table_name());
    }
    check_shapes(create)?;
    let (billing, throughput) = capacity(create)?;
    for (position, (name, _)) in create.attributes.iter().enumerate() {
        if create.attributes[..position].iter().any(|(known, _)| known == name) {
            return Err(errors::duplicate_definition(name));
        }
    }
    let schema = table_keys(&create.attributes, &create.key_schema)?;
    let without_indexes = create.local_indexes.is_none() && create.global_indexes.is_none();
    if without_indexes && create.key_schema.len() != create.attributes.len() {
        return Err(errors::definitions_without_key());
    }
    let mut names = BTreeSet::new();
    let local = local_indexes(create, &schema, &mut names)?;
    let global = global_indexes(create, billing, &mut names)?;
    check_used(create)?;
    let projected = local.iter().chain(&global).map(|index| match &index.projection {
        IndexProjection::Include(names) => names.len(),
        _ => 0,
    });
    let projected: usize = projected.sum();
    if projected > MOST_NON_KEY_ATTRIBUTES_OF_TABLE {
        return Err(errors::too_many_projected(projected, MOST_NON_KEY_ATTRIBUTES_OF_TABLE));
    }
    Ok(Definition { schema, billing, throughput, local, global })
}

/// What the API model says of each member by itself.
fn check_shapes(create: &CreateTable) -> Result<(), Failure> {
    check_key_shape(&create.key_schema, "keySchema")?;
    for (position, (name, _)) in create.attributes.iter().enumerate() {
        let parameter = format!("attributeDefinitions.{}.member.attributeName", position + 1);
        check_attribute_name(name, &parameter)?;
    }
    let lists = [
        (&create.local_indexes, "localSecondaryIndexes"),
        (&create.global_indexes, "globalSecondaryIndexes"),
    ];
    for (indexes, list) in lists {
        for (position, index) in indexes.iter().flatten().enumerate() {
            check_index_shape(index, &format!("{list}.{}.member", position + 1))?;
        }
    }
    check_throughput_shape(create.throughput, "provisionedThroughput")
}

/// What the API model says of an index by itself.
pub(super) fn check_index_shape(index: &IndexDefinition, at: &str) -> Result<(), Failure> {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    let parameter = format!("{at}.indexName");
    if index.name.len() < 3 {
        return Err(errors::too_short_text(&index.name, &parameter, 3));
    }
    if index.name.len() > 255 {
        return Err(errors::too_long_text(&index.name, &parameter, 255));
    }
    if !index.name.bytes().all(legal) {
        return Err(errors::pattern(&index.name, &parameter, "[a-zA-Z0-9_.-]+"));
    }
    check_key_shape(&index.key_schema, &format!("{at}.keySchema"))?;
    let Some(projection) = &index.projection else {
        return Err(errors::missing_parameter(&format!("{at}.projection")));
    };
    if let Some(names) = &projection.non_key_attributes {
        let parameter = format!("{at}.projection.nonKeyAttributes");
        if names.is_empty() {
            return Err(errors::too_few_members("[]", &parameter, 1));
        }
        if names.len() > MOST_NON_KEY_ATTRIBUTES {
            return Err(errors::too_many_members(names.len(), &parameter, MOST_NON_KEY_ATTRIBUTES));
        }
        for name in names {
            check_attribute_name(name, &parameter)?;
        }
    }
    check_throughput_shape(index.throughput, &format!("{at}.provisionedThroughput"))
}

fn check_key_shape(elements: &[(String, KeyRole)], parameter: &str) -> Result<(), Failure> {
    if elements.is_empty() {
        return Err(errors::missing_parameter(parameter));
    }
    if elements.len() > 2 {
        return Err(errors::too_many_members(elements.len(), parameter, 2));
    }
    for (position, (name, _)) in elements.iter().enumerate() {
        let parameter = format!("{parameter}.{}.member.attributeName", position + 1);
        check_attribute_name(name, &parameter)?;
    }
    Ok(())
}

fn check_attribute_name(name: &str, parameter: &str) -> Result<(), Failure> {
    match name.len() {
        0 => Err(errors::too_short_text(name, parameter, 1)),
        1..=KEY_NAME_BYTES => Ok(()),
        _ => Err(errors::too_long_text(name, parameter, KEY_NAME_BYTES)),
    }
}

/// What the API model says of capacity by itself.
pub(super) fn check_throughput_shape(
    throughput: Option<Throughput>,
    parameter: &str,
) -> Result<(), Failure> {
    let Some(Throughput { read, write }) = throughput else { return Ok(()) };
    for (units, which) in [(write, "writeCapacityUnits"), (read, "readCapacityUnits")] {
        if units < 1 {
            return Err(errors::too_small(units, &format!("{parameter}.{which}"), 1));
        }
    }
    Ok(())
}

/// No more units than there can be.
pub(super) fn check_bounds(throughput: Throughput) -> Result<(), Failure> {
    let units = [(throughput.read, "ReadCapacityUnits"), (throughput.write, "WriteCapacityUnits")];
    match units.into_iter().find(|(units, _)| *units > MOST_UNITS) {
        Some((units, which)) => Err(errors::units_out_of_bounds(units, which)),
        None => Ok(()),
    }
}

fn capacity(create: &CreateTable) -> Result<(BillingMode, Throughput), Failure> {
    let billing = create.billing.unwrap_or_default();
    match (billing, create.throughput) {
        (BillingMode::PayPerRequest, Some(_)) => Err(errors::units_of_on_demand()),
        (BillingMode::PayPerRequest, None) => Ok((billing, Throughput::default())),
        (BillingMode::Provisioned, Some(throughput)) => {
            check_bounds(throughput)?;
            match create.on_demand {
                Some(_) => Err(errors::on_demand_of_provisioned()),
                None => Ok((billing, throughput)),
            }
        }
        (BillingMode::Provisioned, None) => Err(errors::units_missing()),
    }
}

fn kind_of(attributes: Attributes<'_>, name: &str) -> Option<KeyType> {
    attributes.iter().find(|(known, _)| known == name).map(|(_, kind)| *kind)
}

/// The key of the table itself.
fn table_keys(
    attributes: Attributes<'_>,
    elements: &[(String, KeyRole)],
) -> Result<KeySchema, Failure> {
    let undefined = elements.iter().any(|(name, _)| kind_of(attributes, name).is_none());
    if undefined && elements.len() == 2 {
        return Err(errors::key_without_definition());
    }
    keys(attributes, elements)
}

/// A key, its attributes with their types.
fn keys(attributes: Attributes<'_>, elements: &[(String, KeyRole)]) -> Result<KeySchema, Failure> {
    if elements.iter().any(|(name, _)| kind_of(attributes, name).is_none()) {
        let keys: Vec<_> = elements.iter().map(|(name, _)| name.as_str()).collect();
        let defined: Vec<_> = attributes.iter().map(|(name, _)| name.as_str()).collect();
        return Err(errors::undefined_keys(&keys, &defined));
    }
    if let [(first, _), (second, _)] = elements
        && first == second
    {
        return Err(errors::same_key_twice());
    }
    let mut found = Vec::with_capacity(elements.len());
    for (position, (name, role)) in elements.iter().enumerate() {
        if *role != [KeyRole::Hash, KeyRole::Range][position.min(1)] {
            return Err(errors::key_order(position));
        }
        if let Some(kind) = kind_of(attributes, name) {
            found.push(KeyAttribute { name: name.clone(), kind });
        }
    }
    let mut found = found.into_iter();
    let partition = found.next().ok_or_else(|| errors::missing_parameter("keySchema"))?;
    Ok(KeySchema { partition, sort: found.next() })
}

fn projection(definition: Option<&ProjectionDefinition>) -> Result<IndexProjection, Failure> {
    let definition = definition.cloned().unwrap_or_default();
    match (definition.kind, definition.non_key_attributes) {
        (None, _) => Err(errors::unknown_projection()),
        (Some(ProjectionKind::Include), Some(names)) => Ok(IndexProjection::Include(names)),
        (Some(ProjectionKind::Include), None) => Err(errors::projected_names_missing()),
        (Some(ProjectionKind::All), Some(_)) => Err(errors::projected_names_given("ALL")),
        (Some(ProjectionKind::KeysOnly), Some(_)) => {
            Err(errors::projected_names_given("KEYS_ONLY"))
        }
        (Some(ProjectionKind::All), None) => Ok(IndexProjection::All),
        (Some(ProjectionKind::KeysOnly), None) => Ok(IndexProjection::KeysOnly),
    }
}

fn take_name<'a>(names: &mut BTreeSet<&'a str>, index: &'a IndexDefinition) -> Result<(), Failure> {
    match names.insert(&index.name) {
        true => Ok(()),
        false => Err(errors::duplicate_index(&index.name)),
    }
}

fn local_indexes<'a>(
    create: &'a CreateTable,
    table: &KeySchema,
    names: &mut BTreeSet<&'a str>,
) -> Result<Vec<Index>, Failure> {
    let Some(definitions) = &create.local_indexes else { return Ok(Vec::new()) };
    if definitions.is_empty() {
        return Err(errors::no_indexes("LocalSecondaryIndexes"));
    }
    if table.sort.is_none() {
        return Err(errors::local_index_without_sort_key());
    }
    let mut indexes = Vec::with_capacity(definitions.len());
    for definition in definitions {
        let keys = keys(&create.attributes, &definition.key_schema)?;
        if keys.sort.is_none() {
            return Err(errors::index_without_sort_key(&definition.name));
        }
        if keys.partition.name != table.partition.name {
            let (own, tables) = (&keys.partition.name, &table.partition.name);
            return Err(errors::index_of_another_key(&definition.name, own, tables));
        }
        let projection = projection(definition.projection.as_ref())?;
        take_name(names, definition)?;
        let name = definition.name.clone();
        indexes.push(Index { name, keys, projection, throughput: None });
    }
    match indexes.len() > MOST_LOCAL_INDEXES {
        true => Err(errors::too_many_local_indexes(MOST_LOCAL_INDEXES)),
        false => Ok(indexes),
    }
}

fn global_indexes<'a>(
    create: &'a CreateTable,
    billing: BillingMode,
    names: &mut BTreeSet<&'a str>,
) -> Result<Vec<Index>, Failure> {
    let Some(definitions) = &create.global_indexes else { return Ok(Vec::new()) };
    if definitions.is_empty() {
        return Err(errors::no_indexes("GlobalSecondaryIndexes"));
    }
    let mut indexes = Vec::with_capacity(definitions.len());
    for definition in definitions {
        indexes.push(global_index(definition, &create.attributes, billing)?);
        take_name(names, definition)?;
    }
    match indexes.len() > MOST_GLOBAL_INDEXES {
        true => Err(errors::too_many_global_indexes(MOST_GLOBAL_INDEXES)),
        false => Ok(indexes),
    }
}

/// A global index, of a new table or for one that is there.
pub(super) fn global_index(
    definition: &IndexDefinition,
    attributes: Attributes<'_>,
    billing: BillingMode,
) -> Result<Index, Failure> {
    let keys = keys(attributes, &definition.key_schema)?;
    let projection = projection(definition.projection.as_ref())?;
    match (billing, definition.throughput) {
        (BillingMode::PayPerRequest, Some(_)) => {
            return Err(errors::index_units_of_on_demand(&definition.name));
        }
        (BillingMode::Provisioned, None) => {
            return Err(errors::index_units_missing(&definition.name));
        }
        (BillingMode::Provisioned, Some(throughput)) => check_bounds(throughput)?,
        (BillingMode::PayPerRequest, None) => {}
    }
    let (name, throughput) = (definition.name.clone(), definition.throughput);
    Ok(Index { name, keys, projection, throughput })
}

/// Every attribute that has a type is part of a key.
fn check_used(create: &CreateTable) -> Result<(), Failure> {
    let lists = [&create.local_indexes, &create.global_indexes];
    let of_indexes = lists.into_iter().flatten().flatten().flat_map(|index| &index.key_schema);
    let used: BTreeSet<_> =
        create.key_schema.iter().chain(of_indexes).map(|(name, _)| name.as_str()).collect();
    if create.attributes.iter().all(|(name, _)| used.contains(name.as_str())) {
        return Ok(());
    }
    let defined: Vec<_> = create.attributes.iter().map(|(name, _)| name.as_str()).collect();
    let used: Vec<_> = used.into_iter().collect();
    Err(errors::unused_definitions(&defined, &used))
}
