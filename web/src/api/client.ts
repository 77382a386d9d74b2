import createClient, { type Middleware } from "openapi-fetch";
import { connection } from "@/use/connection";
import { guard } from "@/use/exact";
import { prefix } from "@/use/prefix";
import { NO_ANSWER, Problem } from "@/use/problem";
import type { components, paths } from "./schema";

/** The API as functions; its types are made from its own description. */

type ProblemBody = components["schemas"]["Problem"];

const exact: Middleware = {
  async onResponse({ response }) {
    if (!response.headers.get("content-type")?.includes("json")) return undefined;
    const { status, statusText, headers } = response;
    return new Response(guard(await response.text()), { status, statusText, headers });
  },
};

export const client = createClient<paths>({
  baseUrl: `${location.origin}${prefix}`,
  querySerializer: { array: { style: "form", explode: false } },
});
client.use(exact);

interface Answer<T> {
  data?: T;
  error?: unknown;
  response: Response;
}

/** What was answered; raises a Problem. */
export async function take<T>(answer: Promise<Answer<T>>): Promise<T> {
  const { data, error, response } = await answer.catch((reason: unknown) => {
    if (!(reason instanceof DOMException && reason.name === "AbortError")) connection.failed();
    throw new Problem(0, NO_ANSWER, String(reason));
  });
  if (response.status < 502 || response.headers.has("x-request-id")) connection.answered();
  else connection.failed();
  if (error === undefined && response.ok) return data as T;
  const body = error as Partial<ProblemBody> | undefined;
  throw new Problem(
    response.status,
    body?.code ?? `http-${response.status}`,
    body?.detail ?? response.statusText,
    body?.params,
    body?.request_id ?? response.headers.get("x-request-id") ?? "",
  );
}
