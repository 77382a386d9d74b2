import { client, take } from "./client";
import type { operations } from "./schema";
import type { ChannelChanges, NewChannel, NewRule, RuleChanges, RuleDraft } from "./types";

/** Alerts: rules, what they have seen, and the channels by which people are told. */

export type IncidentsQuery = NonNullable<operations["list_incidents"]["parameters"]["query"]>;
export type ChannelsQuery = NonNullable<operations["list_channels"]["parameters"]["query"]>;
export type RulesQuery = NonNullable<operations["list_alert_rules"]["parameters"]["query"]>;

const incident = (id: number | string) => ({ params: { path: { incident_id: Number(id) } } });
const channel = (id: number | string) => ({ params: { path: { channel_id: Number(id) } } });
const rule = (id: number | string) => ({ params: { path: { rule_id: Number(id) } } });

export const listIncidents = (query: IncidentsQuery, signal?: AbortSignal) =>
  take(client.GET("/api/v1/incidents", { params: { query }, signal }));
export const acknowledgeIncident = (id: number | string) =>
  take(client.POST("/api/v1/incidents/{incident_id}/ack", incident(id)));
export const resolveIncident = (id: number | string) =>
  take(client.POST("/api/v1/incidents/{incident_id}/resolve", incident(id)));
/** Tell nobody for so long; "0" ends a silence. */
export const silenceIncident = (id: number | string, time: string) =>
  take(client.POST("/api/v1/incidents/{incident_id}/silence", { ...incident(id), body: { for: time } }));

export const listRules = (query: RulesQuery, signal?: AbortSignal) =>
  take(client.GET("/api/v1/alert-rules", { params: { query }, signal }));
export const listKinds = () => take(client.GET("/api/v1/alert-rules/kinds"));
export const createRule = (body: NewRule) => take(client.POST("/api/v1/alert-rules", { body }));
export const updateRule = (id: number | string, body: RuleChanges) =>
  take(client.PATCH("/api/v1/alert-rules/{rule_id}", { ...rule(id), body }));
export const deleteRule = (id: number | string) =>
  take(client.DELETE("/api/v1/alert-rules/{rule_id}", rule(id)));
export const silenceRule = (id: number | string, time: string) =>
  take(client.POST("/api/v1/alert-rules/{rule_id}/silence", { ...rule(id), body: { for: time } }));
/** How often it would have fired in the last seven days; nothing is made. */
export const previewAlert = (body: RuleDraft, signal?: AbortSignal) =>
  take(client.POST("/api/v1/alert-rules/preview", { body, signal }));

export const listChannels = (query: ChannelsQuery, signal?: AbortSignal) =>
  take(client.GET("/api/v1/channels", { params: { query }, signal }));
export const createChannel = (body: NewChannel) => take(client.POST("/api/v1/channels", { body }));
export const updateChannel = (id: number | string, body: ChannelChanges) =>
  take(client.PATCH("/api/v1/channels/{channel_id}", { ...channel(id), body }));
export const deleteChannel = (id: number | string) =>
  take(client.DELETE("/api/v1/channels/{channel_id}", channel(id)));
/** Have a test message sent; gives the task that sends it. */
export const testChannel = (id: number | string) =>
  take(client.POST("/api/v1/channels/{channel_id}/test", channel(id)));
