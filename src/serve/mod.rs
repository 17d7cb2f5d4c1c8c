//! Stage serve: ANSWER. How bytes come in and go out, whatever is being answered.

pub mod compress;
pub mod json;
