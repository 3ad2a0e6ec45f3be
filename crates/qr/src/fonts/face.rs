//! One face of a font file: its characters, their widths and their outlines.

use std::fmt;
use std::sync::Arc;

use skrifa::instance::{LocationRef, Size};
use skrifa::outline::{DrawSettings, OutlinePen};
use skrifa::{FontRef, GlyphId, MetadataProvider as _};

static REGULAR: &[u8] = include_bytes!("../../assets/NotoSans-Regular-Latin.ttf");
static BOLD: &[u8] = include_bytes!("../../assets/NotoSans-Bold-Latin.ttf");

/// The weight of text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Weight {
    Regular,
    Bold,
}

#[derive(Clone)]
enum FontBytes {
    BuiltIn(&'static [u8]),
    Loaded(Arc<Vec<u8>>),
}

/// A face that was opened successfully before.
#[derive(Clone)]
pub(crate) struct Face {
    bytes: FontBytes,
    index: u32,
    embeddable: krilla::text::Font,
    /// Whether there is a bold weight. Chinese fonts mostly have one weight; bold is then drawn with a thin
    /// outline.
    has_bold: bool,
}

impl fmt::Debug for Face {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Face")
            .field("index", &self.index)
            .finish_non_exhaustive()
    }
}

impl Face {
    pub(crate) fn built_in(weight: Weight) -> Self {
        let bytes = match weight {
            Weight::Regular => REGULAR,
            Weight::Bold => BOLD,
        };
        let embeddable = krilla::text::Font::new(bytes.into(), 0).expect("the built-in font is valid: a test opens it");
        Self {
            bytes: FontBytes::BuiltIn(bytes),
            index: 0,
            embeddable,
            has_bold: true,
        }
    }

    /// The face `index` in a font file's bytes; `None` if it cannot be used.
    pub(crate) fn open(bytes: Arc<Vec<u8>>, index: u32) -> Option<Self> {
        FontRef::from_index(&bytes, index).ok()?;
        let embeddable = krilla::text::Font::new(Arc::clone(&bytes).into(), index)?;
        Some(Self {
            bytes: FontBytes::Loaded(bytes),
            index,
            embeddable,
            has_bold: false,
        })
    }

    fn font(&self) -> FontRef<'_> {
        let bytes = match &self.bytes {
            FontBytes::BuiltIn(bytes) => bytes,
            FontBytes::Loaded(bytes) => bytes.as_slice(),
        };
        FontRef::from_index(bytes, self.index).expect("the face was opened before from the same bytes")
    }

    pub(crate) fn embeddable(&self) -> &krilla::text::Font {
        &self.embeddable
    }

    pub(crate) fn has_bold(&self) -> bool {
        self.has_bold
    }

    /// The glyph of a character; `None` if the font would show an empty box.
    pub(crate) fn glyph(&self, c: char) -> Option<GlyphId> {
        self.font().charmap().map(c).filter(|glyph| glyph.to_u32() != 0)
    }

    /// Advance of a glyph as a fraction of the font size.
    pub(crate) fn advance(&self, glyph: GlyphId) -> f32 {
        let font = self.font();
        font.glyph_metrics(Size::new(1.0), LocationRef::default())
            .advance_width(glyph)
            .unwrap_or(1.0)
    }

    /// Draws a glyph's outline at `size`, y upwards from the baseline. A damaged glyph stays blank.
    pub(crate) fn outline(&self, glyph: GlyphId, size: f32, pen: &mut impl OutlinePen) {
        let font = self.font();
        if let Some(outline) = font.outline_glyphs().get(glyph) {
            // An outline with an error leaves what was drawn so far.
            drop(outline.draw(DrawSettings::unhinted(Size::new(size), LocationRef::default()), pen));
        }
    }
}
