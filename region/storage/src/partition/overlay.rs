//! What was applied and is not in the tree yet: ordered maps in memory.
//!
//! Always true: a frozen layer never changes; it is dropped only after the tree transaction that
//! holds it was committed. A row that no layer knows is as the tree says.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use tombolo_item::RowKey;

use crate::Space;

/// What a map entry costs beside its key and value.
const ENTRY_BYTES: usize = 112;

/// One layer: rows put (`Some`, encoded) and deleted (`None`).
#[derive(Debug, Default)]
pub(crate) struct Overlay {
    rows: [BTreeMap<RowKey, Option<Bytes>>; Space::COUNT],
    bytes: usize,
}

impl Overlay {
    pub(crate) fn put(&mut self, space: u8, key: RowKey, value: Option<Bytes>) {
        let length = |value: &Option<Bytes>| value.as_ref().map_or(0, Bytes::len);
        self.bytes += length(&value);
        let key_bytes = key.0.len();
        match self.rows[usize::from(space)].insert(key, value) {
            Some(old) => self.bytes -= length(&old),
            None => self.bytes += ENTRY_BYTES + key_bytes,
        }
    }

    pub(crate) fn get(&self, space: u8, key: &RowKey) -> Option<&Option<Bytes>> {
        self.rows[usize::from(space)].get(key)
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows.iter().all(BTreeMap::is_empty)
    }

    pub(crate) fn space(&self, space: u8) -> &BTreeMap<RowKey, Option<Bytes>> {
        &self.rows[usize::from(space)]
    }

    /// Up to `rows` entries of a span, in its direction; the bound says where it was cut short.
    fn take(&self, space: u8, span: &Span, rows: usize) -> Vec<(RowKey, Option<Bytes>)> {
        let entries = self.rows[usize::from(space)]
            .range::<RowKey, _>((span.start.as_ref(), span.end.as_ref()));
        let copy = |(k, v): (&RowKey, &Option<Bytes>)| (k.clone(), v.clone());
        if span.reverse {
            entries.rev().take(rows).map(copy).collect()
        } else {
            entries.take(rows).map(copy).collect()
        }
    }
}

/// The newest word on a row in `layers` (oldest first).
pub(crate) fn find<'a>(
    layers: &'a [Arc<Overlay>],
    space: u8,
    key: &RowKey,
) -> Option<&'a Option<Bytes>> {
    layers.iter().rev().find_map(|layer| layer.get(space, key))
}

/// All rows of `layers` (oldest first) in one space, the newest word on each, sorted.
pub(crate) fn merged(layers: &[Arc<Overlay>], space: u8) -> BTreeMap<&RowKey, &Option<Bytes>> {
    let mut rows = BTreeMap::new();
    for layer in layers {
        rows.extend(layer.space(space));
    }
    rows
}

/// What is left of a range to walk.
#[derive(Debug, Clone)]
pub(crate) struct Span {
    pub(crate) start: Bound<RowKey>,
    pub(crate) end: Bound<RowKey>,
    pub(crate) reverse: bool,
}

impl Span {
    pub(crate) fn of(range: &tombolo_item::KeyRange, reverse: bool) -> Self {
        let start = Bound::Included(range.start.clone());
        let end = range.end.clone().map_or(Bound::Unbounded, Bound::Excluded);
        Self { start, end, reverse }
    }

    pub(crate) fn is_empty(&self) -> bool {
        match (&self.start, &self.end) {
            (Bound::Included(a), Bound::Included(b)) => a > b,
            (Bound::Included(a), Bound::Excluded(b))
            | (Bound::Excluded(a), Bound::Included(b))
            | (Bound::Excluded(a), Bound::Excluded(b)) => a >= b,
            _ => false,
        }
    }

    /// Goes on behind `key`.
    fn advance(&mut self, key: RowKey) {
        if self.reverse {
            self.end = Bound::Excluded(key);
        } else {
            self.start = Bound::Excluded(key);
        }
    }

    /// Ends at `key`, if that is nearer.
    fn shorten(&mut self, key: &RowKey) {
        let near = if self.reverse { &mut self.start } else { &mut self.end };
        let nearer = match near {
            Bound::Unbounded => true,
            Bound::Included(b) | Bound::Excluded(b) if self.reverse => key > b,
            Bound::Included(b) | Bound::Excluded(b) => key < b,
        };
        if nearer {
            *near = Bound::Included(key.clone());
        }
    }
}

/// The overlays' part of the next piece of a span: at most `rows` of each layer.
pub(crate) struct Piece {
    rows: BTreeMap<RowKey, Option<Bytes>>,
    /// What the piece covers; ends nearer than the span when some layer has more.
    pub(crate) span: Span,
    cut: bool,
}

impl Piece {
    /// Collects from `layers`, oldest first.
    pub(crate) fn collect<'a>(
        layers: impl Iterator<Item = &'a Overlay>,
        space: u8,
        span: &Span,
        rows: usize,
    ) -> Self {
        let mut piece = Self { rows: BTreeMap::new(), span: span.clone(), cut: false };
        if span.is_empty() {
            return piece;
        }
        for layer in layers {
            let taken = layer.take(space, span, rows);
            if taken.len() == rows
                && let Some((last, _)) = taken.last()
            {
                piece.span.shorten(last);
                piece.cut = true;
            }
            piece.rows.extend(taken);
        }
        piece
    }

    /// Lays the overlays' rows over those of the tree, which were scanned within `self.span`;
    /// `more`: the tree has more there. Moves `left` behind what is returned; false at its end.
    pub(crate) fn over(
        mut self,
        tree: Vec<(Bytes, Bytes)>,
        more: bool,
        left: &mut Span,
    ) -> (Vec<(RowKey, Bytes)>, bool) {
        if more && let Some((last, _)) = tree.last() {
            self.span.shorten(&RowKey(last.clone()));
            self.cut = true;
        }
        for (key, value) in tree {
            self.rows.entry(RowKey(key)).or_insert(Some(value));
        }
        let live = |(k, v): (RowKey, Option<Bytes>)| v.map(|v| (k, v));
        let (reverse, span) = (self.span.reverse, self.span);
        let within = |(k, _): &(RowKey, Option<Bytes>)| match (&span.start, &span.end, reverse) {
            (Bound::Included(start), _, true) => k >= start,
            (_, Bound::Included(end), false) => k <= end,
            _ => true,
        };
        let rows: Vec<_> = if reverse {
            self.rows.into_iter().rev().filter(within).filter_map(live).collect()
        } else {
            self.rows.into_iter().filter(within).filter_map(live).collect()
        };
        if self.cut {
            let end = if reverse { span.start } else { span.end };
            if let Bound::Included(key) | Bound::Excluded(key) = end {
                left.advance(key);
            }
        }
        (rows, self.cut)
    }
}
