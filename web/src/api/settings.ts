import { client, take } from "./client";

/** The settings of the process that answers, and the clean-up of history. */

export const listSettings = () => take(client.GET("/api/v1/settings"));
export const showPrune = () => take(client.GET("/api/v1/prune"));
