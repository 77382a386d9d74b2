import { client, take } from "./client";
import type { NewQueue, QueueSettings } from "./types";

/** Queues, servers and handlers. */

const named = (queue_name: string) => ({ params: { path: { queue_name } } });

export const listQueues = () => take(client.GET("/api/v1/queues"));
export const showQueue = (name: string) => take(client.GET("/api/v1/queues/{queue_name}", named(name)));
export const createQueue = (body: NewQueue) => take(client.POST("/api/v1/queues", { body }));
export const updateQueue = (name: string, body: QueueSettings) =>
  take(client.PATCH("/api/v1/queues/{queue_name}", { ...named(name), body }));
export const deleteQueue = (name: string) =>
  take(client.DELETE("/api/v1/queues/{queue_name}", named(name)));
export const pauseQueue = (name: string) =>
  take(client.POST("/api/v1/queues/{queue_name}/pause", named(name)));
export const resumeQueue = (name: string) =>
  take(client.POST("/api/v1/queues/{queue_name}/resume", named(name)));

export const listServers = (dead: boolean) =>
  take(client.GET("/api/v1/servers", { params: { query: { dead } } }));
export const drainServer = (server_id: string) =>
  take(client.POST("/api/v1/servers/{server_id}/drain", { params: { path: { server_id } } }));

export const listHandlers = () => take(client.GET("/api/v1/handlers"));
