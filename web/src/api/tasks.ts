import { client, take } from "./client";
import type { operations } from "./schema";
import type { BulkRequest, NewTask } from "./types";

/** Tasks: what waits, runs and has ended in the queues' tables. */

export type TasksQuery = NonNullable<operations["list_tasks"]["parameters"]["query"]>;

export interface TaskPath {
  queue_name: string;
  task_id: number;
}

export const taskPath = (queue: string, id: string): TaskPath => ({
  queue_name: queue,
  task_id: Number(id),
});

export const listTasks = (query: TasksQuery, signal?: AbortSignal) =>
  take(client.GET("/api/v1/tasks", { params: { query }, signal }));

export const showTask = (path: TaskPath) =>
  take(client.GET("/api/v1/queues/{queue_name}/tasks/{task_id}", { params: { path } }));

export const explainTask = (path: TaskPath) =>
  take(client.GET("/api/v1/queues/{queue_name}/tasks/{task_id}/explain", { params: { path } }));

/** `key` makes sure that it is made once, however often it is sent. */
export const enqueueTask = (body: NewTask, key: string) =>
  take(client.POST("/api/v1/tasks", { body, headers: { "Idempotency-Key": key } }));

export const cancelTask = (path: TaskPath) =>
  take(
    client.POST("/api/v1/queues/{queue_name}/tasks/{task_id}/cancel", {
      params: { path },
      body: { reason: "cancelled" },
    }),
  );

export const retryTask = (path: TaskPath) =>
  take(client.POST("/api/v1/queues/{queue_name}/tasks/{task_id}/retry", { params: { path } }));

export const runTaskNow = (path: TaskPath) =>
  take(client.POST("/api/v1/queues/{queue_name}/tasks/{task_id}/run-now", { params: { path } }));

export const bulkTasks = (body: BulkRequest) => take(client.POST("/api/v1/bulk", { body }));
