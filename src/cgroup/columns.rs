//! Groups of optional numbers that are declared once and can be walked in a fixed order.
//!
//! The history keeps samples as packed columns. Walking a group field by field, in the order of its
//! declaration, is all that it needs to know about them: a new field is one line in `stats`.

/// A group of optional numbers.
pub trait Columns {
    /// Calls `visit` with every number, in the order of declaration.
    fn each(&self, visit: &mut impl FnMut(Option<u64>));

    /// Calls `visit` with a reference to every number, in the same order.
    fn each_mut(&mut self, visit: &mut impl FnMut(&mut Option<u64>));
}

/// Declares structs whose fields are all `Option<u64>`, with [`Columns`] for each.
macro_rules! columns {
    ($($(#[$meta:meta])* pub struct $name:ident { $($(#[$field_meta:meta])* $field:ident,)* })*) => {$(
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        pub struct $name { $($(#[$field_meta])* pub $field: Option<u64>,)* }

        impl $crate::cgroup::columns::Columns for $name {
            fn each(&self, visit: &mut impl FnMut(Option<u64>)) {
                $(visit(self.$field);)*
            }

            fn each_mut(&mut self, visit: &mut impl FnMut(&mut Option<u64>)) {
                $(visit(&mut self.$field);)*
            }
        }
    )*};
}
pub(crate) use columns;
