import { client, take } from "./client";

/** The tenants that one sees. */
export async function tenantNames(): Promise<string[]> {
  const page = await take(client.GET("/api/v1/tenants", { params: { query: { limit: 500 } } }));
  return page.data.map((tenant) => tenant.tenant_id);
}
