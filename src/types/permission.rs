//! What somebody may do: permissions as values, and the types by which handlers ask for them.
//!
//! A permission is declared once, by [`permissions!`](crate::permissions): its name, its plane, and the built-in roles
//! that hold it. Freehold declares those of operators, a product those of its own resources.

/// Whose permission it is. An operator's says nothing in a customer's tenant, nor the other way round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plane {
    /// A customer's users.
    Tenant,
    /// The operators: the users of the platform tenant.
    Platform,
}

/// A built-in role that a permission is given to. The owner is not among them: an owner holds every permission of the
/// plane, always.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Looks after everything.
    Admin,
    /// Does the daily work.
    Member,
    /// Looks, and changes nothing.
    Viewer,
}

/// A right. The interfaces spell it `resource:action`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Permission {
    name: &'static str,
    plane: Plane,
    roles: &'static [Role],
}

impl Permission {
    /// The permission of this name, held by these roles and by the owner. Declared by
    /// [`permissions!`](crate::permissions); judged when the program starts.
    #[must_use]
    pub const fn new(plane: Plane, name: &'static str, roles: &'static [Role]) -> Self {
        Self { name, plane, roles }
    }

    /// The permission as the interfaces spell it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.name
    }

    /// Whose permission it is.
    #[must_use]
    pub const fn plane(self) -> Plane {
        self.plane
    }

    /// Whether a built-in role holds it.
    #[must_use]
    pub fn is_held_by(self, role: Role) -> bool {
        self.roles.contains(&role)
    }

    /// What the permission is about: `projects` of `projects:read`. None when its name is not of that form.
    #[must_use]
    pub fn resource(self) -> Option<&'static str> {
        let (resource, action) = self.name.split_once(':')?;
        (is_word(resource) && is_word(action)).then_some(resource)
    }
}

/// Lower-case letters, digits and single hyphens, a letter first.
fn is_word(text: &str) -> bool {
    let is_part = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    text.starts_with(|c: char| c.is_ascii_lowercase()) && text.split('-').all(is_part)
}

/// A right, as a type: what a handler asks for with `Member<R>`. Made by [`permissions!`](crate::permissions).
pub trait Right: Send + Sync + 'static {
    /// What the caller's role or key must grant.
    const PERMISSION: Permission;
}

/// Declares permissions: a type for each, which is a [`Right`], and the list of them all.
///
/// ```text
/// freehold::permissions! {
///     pub const PERMISSIONS: Tenant;
///
///     /// See invoices.
///     InvoicesRead = "invoices:read" for [Admin, Member, Viewer];
///     /// Make and change invoices.
///     InvoicesWrite = "invoices:write" for [Admin, Member];
/// }
/// ```
///
/// A handler that takes `Member<InvoicesWrite>` runs for members, admins and owners. The list goes into
/// [`Product::permissions`](crate::Product::permissions). The owner holds every permission and is not named.
#[macro_export]
macro_rules! permissions {
    (
        $vis:vis const $list:ident: $plane:ident;
        $($(#[$doc:meta])+ $name:ident = $text:literal for [$($role:ident),* $(,)?];)+
    ) => {
        $(
            $(#[$doc])+
            #[derive(Clone, Copy, Debug)]
            $vis struct $name;

            impl $crate::types::Right for $name {
                const PERMISSION: $crate::types::Permission = $crate::types::Permission::new(
                    $crate::types::Plane::$plane,
                    $text,
                    &[$($crate::types::Role::$role),*],
                );
            }
        )+

        /// All permissions that are declared here, in this order.
        $vis const $list: &[$crate::types::Permission] =
            &[$(<$name as $crate::types::Right>::PERMISSION),+];
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    permissions! {
        const LIST: Tenant;

        /// See notes.
        NotesRead = "notes:read" for [Admin, Viewer];
        /// Throw all notes away.
        NotesPurge = "notes:purge" for [];
    }

    #[test]
    fn a_declaration_makes_the_list_the_types_and_the_names() {
        assert_eq!(LIST, [NotesRead::PERMISSION, NotesPurge::PERMISSION]);
        assert_eq!(LIST.iter().map(|one| one.as_str()).collect::<Vec<_>>(), ["notes:read", "notes:purge"]);
        assert!(LIST.iter().all(|one| one.plane() == Plane::Tenant));
        let held = |role| LIST.iter().filter(|one| one.is_held_by(role)).count();
        assert_eq!([Role::Admin, Role::Member, Role::Viewer].map(held), [1, 0, 1]);
    }

    #[test]
    fn a_name_is_a_resource_and_an_action() {
        let resource = |name| Permission::new(Plane::Tenant, name, &[]).resource();
        for (name, expected) in [("notes:read", "notes"), ("api-keys:write", "api-keys"), ("a1:b2", "a1")] {
            assert_eq!(resource(name), Some(expected), "{name}");
        }
        for name in
            ["", "notes", "notes:", ":read", "Notes:read", "notes:read ", "notes:read:all", "1a:b", "a-:b", "*:*"]
        {
            assert_eq!(resource(name), None, "{name}");
        }
    }
}
