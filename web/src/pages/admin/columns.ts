import type { AuditEntry, Role, Tenant, Token, User } from "@/api/types";
import type { Column } from "@/ui/table";

export const userColumns: readonly Column<User>[] = [
  { key: "status", label: "admin.enabled", value: (user) => user.status, custom: true },
  { key: "username", label: "login.username", value: (user) => user.username, sort: "username" },
  { key: "role", label: "admin.role", value: (user) => user.role, custom: true },
  { key: "tenants", label: "admin.tenants", value: (user) => user.tenants.join(", ") },
  { key: "grants", label: "admin.grants", value: (user) => user.grants.join(", "), minor: true },
  { key: "last_login_at", label: "admin.lastLogin", kind: "time", value: (user) => user.last_login_at },
  { key: "created_at", label: "field.created", kind: "time", value: (user) => user.created_at, minor: true },
];

export const tenantColumns: readonly Column<Tenant>[] = [
  { key: "status", label: "admin.enabled", value: (tenant) => tenant.status, custom: true },
  {
    key: "tenant_id",
    label: "field.tenant",
    value: (tenant) => tenant.tenant_id,
    to: (tenant) => ({ path: "/tasks", query: { tenant_id: tenant.tenant_id } }),
    sort: "tenant_id",
  },
  { key: "name", label: "admin.name", value: (tenant) => tenant.name, sort: "name" },
  { key: "created_at", label: "field.created", kind: "time", value: (tenant) => tenant.created_at, minor: true },
  { key: "updated_at", label: "admin.updated", kind: "time", value: (tenant) => tenant.updated_at, minor: true },
];

export const tokenColumns: readonly Column<Token>[] = [
  { key: "name", label: "admin.name", value: (token) => token.name },
  { key: "state", label: "field.status", value: tokenState, custom: true },
  { key: "public_id", label: "admin.publicId", kind: "code", value: (token) => token.public_id, minor: true },
  { key: "username", label: "login.username", value: (token) => token.username },
  { key: "scopes", label: "admin.scopes", value: (token) => token.scopes?.join(", "), custom: true },
  { key: "tenants", label: "admin.tenants", value: (token) => token.tenants?.join(", "), custom: true },
  { key: "expires_at", label: "admin.expires", kind: "time", value: (token) => token.expires_at },
  { key: "last_used_at", label: "admin.lastUsed", kind: "time", value: (token) => token.last_used_at },
  { key: "created_at", label: "field.created", kind: "time", value: (token) => token.created_at, sort: "created_at", minor: true },
];

/** Whether a token still leads in. */
export function tokenState(token: Token, now = Date.now()): "active" | "expired" | "revoked" {
  if (token.revoked_at) return "revoked";
  return Date.parse(token.expires_at) <= now ? "expired" : "active";
}

export const auditColumns: readonly Column<AuditEntry>[] = [
  { key: "at", label: "admin.when", kind: "time", value: (entry) => entry.at, sort: "at" },
  { key: "actor", label: "admin.actor", value: (entry) => entry.actor },
  { key: "action", label: "admin.action", kind: "code", value: (entry) => entry.action },
  { key: "object", label: "admin.object", value: (entry) => entry.object },
  { key: "changes", label: "admin.changes", value: () => "", custom: true },
  { key: "tenant_id", label: "field.tenant", value: (entry) => entry.tenant_id, minor: true },
  { key: "address", label: "admin.address", value: (entry) => entry.address, minor: true },
];

/** What one permission is in each role. */
export interface Right {
  permission: string;
  grantable: boolean;
  roles: ReadonlySet<Role>;
}

export const rightColumns = (roles: readonly Role[]): readonly Column<Right>[] => [
  { key: "permission", label: "admin.permission", value: (right) => right.permission, custom: true },
  ...roles.map((role) => ({
    key: role,
    label: `role.${role}`,
    value: (right: Right) => right.roles.has(role),
    custom: true,
  })),
];
