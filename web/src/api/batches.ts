import { client, take } from "./client";
import { prefix } from "@/use/prefix";
import type { operations } from "./schema";
import type { BatchTemplateChanges, NewBatch, NewBatchTemplate } from "./types";

/** Batches: one operation over many items; and their templates. */

export type BatchesQuery = NonNullable<operations["list_batches"]["parameters"]["query"]>;
export type ItemsQuery = NonNullable<operations["list_items"]["parameters"]["query"]>;

const id = (batch: number | string) => ({ path: { batch_id: Number(batch) } });
const at = (batch: number | string) => ({ params: id(batch) });

export const listBatches = (query: BatchesQuery, signal?: AbortSignal) =>
  take(client.GET("/api/v1/batches", { params: { query }, signal }));

export const showBatch = (batch: number | string) => take(client.GET("/api/v1/batches/{batch_id}", at(batch)));

export const createBatch = (body: NewBatch) => take(client.POST("/api/v1/batches", { body }));

export const pauseBatch = (batch: number) => take(client.POST("/api/v1/batches/{batch_id}/pause", at(batch)));

export const resumeBatch = (batch: number) => take(client.POST("/api/v1/batches/{batch_id}/resume", at(batch)));

export const cancelBatch = (batch: number) => take(client.POST("/api/v1/batches/{batch_id}/cancel", at(batch)));

export const retryFailed = (batch: number) =>
  take(client.POST("/api/v1/batches/{batch_id}/retry-failed", at(batch)));

/** Process items again that have failed or were skipped. */
export const retryItems = (batch: number, item_ids: string[]) =>
  take(client.POST("/api/v1/batches/{batch_id}/retry", { ...at(batch), body: { item_ids } }));

/** Never process items that wait. */
export const skipItems = (batch: number, item_ids: string[]) =>
  take(client.POST("/api/v1/batches/{batch_id}/skip", { ...at(batch), body: { item_ids } }));

export const listItems = (batch: number, query: ItemsQuery, signal?: AbortSignal) =>
  take(client.GET("/api/v1/batches/{batch_id}/items", { params: { ...id(batch), query }, signal }));

/** The address of a file with all items that a filter lets through. */
export function itemsAddress(batch: number, query: Record<string, string>): string {
  const words = new URLSearchParams(query).toString();
  return `${prefix}/api/v1/batches/${batch}/items/export${words && "?"}${words}`;
}

export const listTemplates = (signal?: AbortSignal) =>
  take(client.GET("/api/v1/batch-templates", { params: { query: { limit: 500 } }, signal }));

export const createTemplate = (body: NewBatchTemplate) =>
  take(client.POST("/api/v1/batch-templates", { body }));

export const updateTemplate = (template_id: number, body: BatchTemplateChanges) =>
  take(client.PATCH("/api/v1/batch-templates/{template_id}", { params: { path: { template_id } }, body }));

export const deleteTemplate = (template_id: number) =>
  take(client.DELETE("/api/v1/batch-templates/{template_id}", { params: { path: { template_id } } }));
