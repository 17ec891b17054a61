//! The OpenAPI documents of the stock server, without prose. They stay packed; a caller that serves one keeps it.

use std::collections::HashMap;
use std::sync::LazyLock;

use super::read::{parse, unpack};

/// Four bytes with the length of a packed index, the index, and the packed documents one after the other.
const DOCUMENTS: &[u8] = include_bytes!("../../data/openapi.zst");

type Index = (Vec<String>, HashMap<String, &'static [u8]>);

static INDEX: LazyLock<Index> = LazyLock::new(|| {
    let (length, rest) = DOCUMENTS.split_at(4);
    let length = length.iter().fold(0, |n, b| n << 8 | usize::from(*b));
    let (index, mut rest) = rest.split_at(length);
    let index: Vec<(String, usize)> = parse(index);
    let mut documents = HashMap::new();
    for (path, length) in &index {
        let (document, after) = rest.split_at(*length);
        documents.insert(path.clone(), document);
        rest = after;
    }
    let paths = index.into_iter().map(|(path, _)| path).filter(|path| path != "v2").collect();
    (paths, documents)
});

/// The paths of the v3 documents as `/openapi/v3` lists them: `api/v1`, `apis/apps/v1`, `version`, ...
pub fn openapi_v3_paths() -> &'static [String] {
    &INDEX.0
}

/// The v3 document at a path, as JSON.
pub fn openapi_v3_document(path: &str) -> Option<Vec<u8>> {
    INDEX.0.iter().any(|p| p == path).then(|| INDEX.1.get(path).map(|packed| unpack(packed)))?
}

/// The v3 document of a group and version, as JSON.
pub fn openapi_v3(group: &str, version: &str) -> Option<Vec<u8>> {
    if group.is_empty() {
        openapi_v3_document(&format!("api/{version}"))
    } else {
        openapi_v3_document(&format!("apis/{group}/{version}"))
    }
}

/// The v2 document, as JSON.
pub fn openapi_v2() -> Vec<u8> {
    INDEX.1.get("v2").map(|packed| unpack(packed)).unwrap_or_default()
}
