//! JSON objects as tables: one line for each key, in the order of the wire.

use serde::Serialize;
use serde::ser::SerializeStruct;

/// Writes a member unless it is absent.
#[inline(always)] // with its key, whose length is known then
pub(super) fn put<M: SerializeStruct, T: Serialize>(
    object: &mut M,
    key: &'static str,
    value: Option<T>,
) -> Result<(), M::Error> {
    match value {
        Some(value) => object.serialize_field(key, &value),
        None => object.skip_field(key),
    }
}

/// A list that is left out when it is empty.
pub(super) fn unless_empty<T>(list: &[T]) -> Option<&[T]> {
    (!list.is_empty()).then_some(list)
}

/// Declares views that are written as objects: `"key" => Option`, where `None` leaves the key out.
macro_rules! objects {
    ($(
        $(#[$attribute:meta])*
        $vis:vis struct $name:ident $(<$lifetime:lifetime>)? ($source:ty) |$view:pat_param| {
            $($key:literal => $value:expr,)*
        }
    )+) => {$(
        $(#[$attribute])*
        #[derive(Debug, Clone, Copy)]
        $vis struct $name $(<$lifetime>)? (pub $source);

        impl $(<$lifetime>)? serde::Serialize for $name $(<$lifetime>)? {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                #[allow(unused_imports)]
                use serde::ser::SerializeStruct as _;
                #[allow(unused_variables)]
                let $view = self.0;
                #[allow(unused_mut)]
                let mut object = serializer.serialize_struct(
                    stringify!($name),
                    <[&str]>::len(&[$($key),*]),
                )?;
                $($crate::wire::object::put(&mut object, $key, $value)?;)*
                object.end()
            }
        }
    )+};
}

pub(super) use objects;
