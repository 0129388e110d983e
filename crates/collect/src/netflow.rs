//! The state behind NetFlow v9 and IPFIX: templates, data that waits for one, and the image of both
//! protocols' templates that outlives a restart.

mod held;
mod saved;
mod templates;

pub use held::Held;
pub use saved::{ImageWriter, SavedError, SavedExporter, SavedTemplate, load};
pub use templates::{Compile, Compiled, Learnt, TemplateLimits, Templates};
