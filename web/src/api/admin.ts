import { client, take } from "./client";
import type { operations } from "./schema";
import type { NewTenant, NewToken, NewUser, TenantChanges, UserChanges } from "./types";

/** Who may do what: users, tenants, tokens, roles and the audit. */

type Asked<Name extends keyof operations> = NonNullable<operations[Name]["parameters"]["query"]>;
export type UsersQuery = Asked<"list_users">;
export type TenantsQuery = Asked<"list_tenants">;
export type TokensQuery = Asked<"list_tokens">;
export type AuditQuery = Asked<"list_audit">;

const user = (username: string) => ({ params: { path: { username } } });
const tenant = (tenant_id: string) => ({ params: { path: { tenant_id } } });

export const listUsers = (query: UsersQuery, signal?: AbortSignal) =>
  take(client.GET("/api/v1/users", { params: { query }, signal }));
export const createUser = (body: NewUser) => take(client.POST("/api/v1/users", { body }));
export const updateUser = (username: string, body: UserChanges) =>
  take(client.PATCH("/api/v1/users/{username}", { ...user(username), body }));
export const deleteUser = (username: string) => take(client.DELETE("/api/v1/users/{username}", user(username)));
export const setPassword = (username: string, password: string) =>
  take(client.POST("/api/v1/users/{username}/password", { ...user(username), body: { password } }));
/** The path of a way in that is good once. */
export const makeSignInLink = (username: string) =>
  take(client.POST("/api/v1/users/{username}/sign-in-link", user(username)));

export const listTenants = (query: TenantsQuery, signal?: AbortSignal) =>
  take(client.GET("/api/v1/tenants", { params: { query }, signal }));
export const createTenant = (body: NewTenant) => take(client.POST("/api/v1/tenants", { body }));
export const updateTenant = (tenant_id: string, body: TenantChanges) =>
  take(client.PATCH("/api/v1/tenants/{tenant_id}", { ...tenant(tenant_id), body }));

export const listTokens = (query: TokensQuery, signal?: AbortSignal) =>
  take(client.GET("/api/v1/tokens", { params: { query }, signal }));
/** Its text is in this answer and nowhere else. */
export const createToken = (body: NewToken) => take(client.POST("/api/v1/tokens", { body }));
export const revokeToken = (public_id: string) =>
  take(client.DELETE("/api/v1/tokens/{public_id}", { params: { path: { public_id } } }));

export const listRoles = () => take(client.GET("/api/v1/roles"));
export const listAudit = (query: AuditQuery, signal?: AbortSignal) =>
  take(client.GET("/api/v1/audit", { params: { query }, signal }));
