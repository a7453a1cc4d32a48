//! Who is there to be tried in a dev environment: the first operator, and two tenants.

/// The first operator.
pub(super) const OPERATOR: &str = "operator@freehold.localhost";

/// A demo tenant and its administrator.
pub(super) struct DemoTenant {
    pub(super) slug: &'static str,
    pub(super) name: &'static str,
    pub(super) admin_email: &'static str,
    pub(super) admin_name: &'static str,
}

/// The demo tenants.
pub(super) const DEMO_TENANTS: [DemoTenant; 2] = [
    DemoTenant { slug: "acme", name: "Acme", admin_email: "ada@acme.example", admin_name: "Ada" },
    DemoTenant { slug: "globex", name: "Globex", admin_email: "grace@globex.example", admin_name: "Grace" },
];
