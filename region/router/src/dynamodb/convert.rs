//! Makes of JSON what the model says: the service's serialization step, in its words.
//!
//! Always true: what comes out has the types of the model; members that the model does not have and
//! nulls are gone; members of structures stand in the model's order, entries of maps in the request's.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::json::Json;
use super::model::{Kind, Model, Shape, ShapeId};

/// Where a value stands: the service's texts differ by it.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    /// A member of a structure.
    Member,
    /// An element of a list or a map, or the whole request.
    Element,
}

/// The text of a SerializationException.
#[derive(Debug, PartialEq)]
pub(crate) struct NotThat(pub(crate) Cow<'static, str>);

const NO_STRUCTURE: &str = "Start of structure or map found where not expected";
const NO_FIELD: &str = "Unexpected field type";
/// What the service says of a scalar where a collection stands directly in a collection.
const NO_NESTED: &str = "class sun.reflect.generics.reflectiveObjects.ParameterizedTypeImpl cannot be cast to class java.lang.Class (sun.reflect.generics.reflectiveObjects.ParameterizedTypeImpl and java.lang.Class are in module java.base of loader 'bootstrap')";

fn not(text: impl Into<Cow<'static, str>>) -> NotThat {
    NotThat(text.into())
}

/// Makes a request of a body.
pub(crate) fn request<'a>(
    model: &Model,
    input: ShapeId,
    body: Json<'a>,
) -> Result<Json<'a>, NotThat> {
    value(model, model.shape(input), Place::Element, body)
}

fn value<'a>(
    model: &Model,
    shape: &Shape,
    place: Place,
    json: Json<'a>,
) -> Result<Json<'a>, NotThat> {
    match &shape.kind {
        Kind::Boolean => boolean(json),
        Kind::Integer => number(json, "Integer"),
        Kind::Long => number(json, "Long"),
        Kind::Double => number(json, "Double"),
        Kind::String => match json {
            Json::String(_) => Ok(json),
            other => Err(no_scalar(&other, "String")),
        },
        Kind::Blob => blob(json),
        Kind::List(member) => match json {
            Json::Array(list) => {
                let member = model.shape(*member);
                let list = list.into_iter().filter(|one| *one != Json::Null);
                let list = list.map(|one| value(model, member, Place::Element, one));
                Ok(Json::Array(list.collect::<Result<_, _>>()?))
            }
            Json::Object(_) => Err(not(NO_STRUCTURE)),
            _ => Err(not(no_collection(place))),
        },
        Kind::Map { value: of, .. } => match json {
            Json::Object(entries) => {
                let of = model.shape(*of);
                let entries = entries.into_iter().filter(|(_, one)| *one != Json::Null);
                let entries = entries
                    .map(|(key, one)| Ok((key, value(model, of, Place::Element, one)?)))
                    .collect::<Result<_, _>>()?;
                Ok(Json::Object(entries))
            }
            Json::Array(_) => Err(not(format!(
                "Unrecognized collection type java.util.Map<java.lang.String, {}>",
                java_type(model, *of)
            ))),
            _ => Err(not(no_collection(place))),
        },
        Kind::Structure(members) => match json {
            Json::Object(mut given) => {
                let mut kept = Vec::with_capacity(given.len().min(members.len()));
                for member in members {
                    let found = given.iter_mut().find(|(name, _)| *name == member.name);
                    let Some((name, one)) = found else { continue };
                    let (name, one) = (std::mem::take(name), std::mem::replace(one, Json::Null));
                    if one != Json::Null {
                        let shape = model.shape(member.shape);
                        kept.push((name, value(model, shape, Place::Member, one)?));
                    }
                }
                Ok(Json::Object(kept))
            }
            Json::Array(_) => Err(not(format!(
                "Unrecognized collection type class com.amazonaws.dynamodb.v20120810.{}",
                shape.name
            ))),
            _ => Err(not(match place {
                Place::Member => NO_FIELD,
                Place::Element => "Unexpected value type in payload",
            })),
        },
    }
}

fn no_collection(place: Place) -> &'static str {
    match place {
        Place::Member => NO_FIELD,
        Place::Element => NO_NESTED,
    }
}

/// The service is written in Java, and its texts say so.
fn java_type(model: &Model, id: ShapeId) -> String {
    let shape = model.shape(id);
    match &shape.kind {
        Kind::String => "java.lang.String".to_owned(),
        Kind::List(member) => format!("java.util.List<{}>", java_type(model, *member)),
        _ => format!("com.amazonaws.dynamodb.v20120810.{}", shape.name),
    }
}

/// What the service calls a token.
fn token(json: &Json<'_>) -> &'static str {
    match json {
        Json::Bool(true) => "TRUE_VALUE",
        Json::Bool(false) => "FALSE_VALUE",
        Json::Number(text) if is_whole(text) => "NUMBER_VALUE",
        Json::Number(_) => "DECIMAL_VALUE",
        _ => "STRING_VALUE",
    }
}

fn is_whole(text: &str) -> bool {
    let plain = text.strip_prefix('-').unwrap_or(text);
    plain.bytes().all(|byte| byte.is_ascii_digit())
        || text.parse::<f64>().is_ok_and(|value| value.fract() == 0.0)
}

fn no_scalar(json: &Json<'_>, name: &str) -> NotThat {
    match json {
        Json::Array(_) => not(format!("Unrecognized collection type class java.lang.{name}")),
        Json::Object(_) => not(NO_STRUCTURE),
        scalar => not(format!("{} cannot be converted to {name}", token(scalar))),
    }
}

fn boolean(json: Json<'_>) -> Result<Json<'_>, NotThat> {
    match json {
        Json::Bool(_) => Ok(json),
        Json::String(text) => match text.to_ascii_uppercase().as_str() {
            "TRUE" | "1" | "YES" => Ok(Json::Bool(true)),
            "FALSE" | "0" | "NO" => Ok(Json::Bool(false)),
            _ => Err(not("Unexpected token received from parser")),
        },
        other => Err(no_scalar(&other, "Boolean")),
    }
}

fn number<'a>(json: Json<'a>, name: &str) -> Result<Json<'a>, NotThat> {
    let Json::Number(text) = &json else { return Err(no_scalar(&json, name)) };
    let plain = text.strip_prefix('-').unwrap_or(text);
    let short = plain.len() <= 18 && plain.bytes().all(|byte| byte.is_ascii_digit());
    if short || name == "Double" {
        return Ok(json);
    }
    // A fraction is cut off; what does not fit ends at the type's limit.
    let whole = text.parse::<f64>().unwrap_or_default().floor();
    let clamped = match name {
        "Integer" => whole.clamp(f64::from(i32::MIN), f64::from(i32::MAX)),
        _ => whole,
    };
    Ok(Json::Number((clamped as i64).to_string().into()))
}

fn blob(json: Json<'_>) -> Result<Json<'_>, NotThat> {
    match json {
        Json::String(text) => {
            if text.len() % 4 != 0 {
                return Err(not(format!(
                    "Base64 encoded length is expected a multiple of 4 bytes but found: {}",
                    text.len()
                )));
            }
            // "dectected" is the service's spelling.
            let bytes = STANDARD
                .decode(text.as_bytes())
                .map_err(|_| not("Invalid last non-pad Base64 character dectected"))?;
            Ok(Json::Blob(bytes.into()))
        }
        Json::Array(_) => Err(not("Unrecognized collection type class java.nio.ByteBuffer")),
        Json::Object(_) => Err(not(NO_STRUCTURE)),
        _ => Err(not("only base-64-encoded strings are convertible to bytes")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{json, model::model};
    use super::*;

    fn convert(operation: &str, body: &str) -> Result<String, String> {
        let model = model();
        let (_, input) = model.operation(&format!("DynamoDB_20120810.{operation}")).unwrap();
        let body = json::parse(body.as_bytes()).unwrap();
        request(model, input, body).map(|made| format!("{made:?}")).map_err(|e| e.0.into_owned())
    }

    /// Texts as the service gives them (seen in dynalite's tests, which run against the service).
    #[test]
    fn what_is_not_of_the_models_type_is_told_as_the_service_tells_it() {
        let cases = [
            ("GetItem", r#"{"TableName":23}"#, "NUMBER_VALUE cannot be converted to String"),
            ("GetItem", r#"{"TableName":23.5}"#, "DECIMAL_VALUE cannot be converted to String"),
            ("GetItem", r#"{"TableName":true}"#, "TRUE_VALUE cannot be converted to String"),
            (
                "GetItem",
                r#"{"TableName":[]}"#,
                "Unrecognized collection type class java.lang.String",
            ),
            ("GetItem", r#"{"TableName":{}}"#, NO_STRUCTURE),
            ("GetItem", r#"{"ConsistentRead":"hi"}"#, "Unexpected token received from parser"),
            ("GetItem", r#"{"ConsistentRead":23}"#, "NUMBER_VALUE cannot be converted to Boolean"),
            ("GetItem", r#"{"AttributesToGet":"a"}"#, NO_FIELD),
            ("GetItem", r#"{"AttributesToGet":{}}"#, NO_STRUCTURE),
            (
                "GetItem",
                r#"{"Key":[]}"#,
                "Unrecognized collection type java.util.Map<java.lang.String, com.amazonaws.dynamodb.v20120810.AttributeValue>",
            ),
            (
                "GetItem",
                r#"{"ExpressionAttributeNames":[]}"#,
                "Unrecognized collection type java.util.Map<java.lang.String, java.lang.String>",
            ),
            ("GetItem", r#"{"Key":{"a":"b"}}"#, "Unexpected value type in payload"),
            (
                "GetItem",
                r#"{"Key":{"a":[]}}"#,
                "Unrecognized collection type class com.amazonaws.dynamodb.v20120810.AttributeValue",
            ),
            ("GetItem", r#"{"Key":{"a":{"SS":"a"}}}"#, NO_FIELD),
            (
                "GetItem",
                r#"{"Key":{"a":{"B":"a"}}}"#,
                "Base64 encoded length is expected a multiple of 4 bytes but found: 1",
            ),
            (
                "GetItem",
                r#"{"Key":{"a":{"B":1}}}"#,
                "only base-64-encoded strings are convertible to bytes",
            ),
            ("Query", r#"{"Limit":"1"}"#, "STRING_VALUE cannot be converted to Integer"),
            ("Query", r#"{"Limit":true}"#, "TRUE_VALUE cannot be converted to Integer"),
            (
                "BatchWriteItem",
                r#"{"RequestItems":[]}"#,
                "Unrecognized collection type java.util.Map<java.lang.String, java.util.List<com.amazonaws.dynamodb.v20120810.WriteRequest>>",
            ),
            ("BatchWriteItem", r#"{"RequestItems":{"a":"b"}}"#, NO_NESTED),
            ("BatchGetItem", r#"{"RequestItems":{"a":{"Keys":[1]}}}"#, NO_NESTED),
            ("UpdateItem", r#"{"AttributeUpdates":{"a":{"Value":"b"}}}"#, NO_FIELD),
            (
                "CreateTable",
                r#"{"ProvisionedThroughput":{"ReadCapacityUnits":"1"}}"#,
                "STRING_VALUE cannot be converted to Long",
            ),
        ];
        for (operation, body, text) in cases {
            assert_eq!(convert(operation, body), Err(text.to_owned()), "{operation} {body}");
        }
    }

    #[test]
    fn unknown_members_and_nulls_go_and_the_rest_is_of_its_type() {
        let made = convert(
            "Query",
            r#"{"Nobody":{"x":[[]]},"Limit":2.7,"IndexName":null,"ConsistentRead":"Yes","Select":"COUNT"}"#,
        );
        let expected = r#"Object([("Select", String("COUNT")), ("Limit", Number("2")), ("ConsistentRead", Bool(true))])"#;
        assert_eq!(made, Ok(expected.to_owned()));
        let huge = format!(r#"{{"Limit":{}}}"#, "9".repeat(10_000));
        assert_eq!(
            convert("Query", &huge),
            Ok(r#"Object([("Limit", Number("2147483647"))])"#.into())
        );
    }
}
