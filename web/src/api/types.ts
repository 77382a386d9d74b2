import type { components } from "./schema";

/** Short names of what the API answers. */
type Schemas = components["schemas"];

export type Run = Schemas["Run"];
export type RunInFull = Schemas["RunInFull"];
export type RunStatus = Schemas["Run"]["status"];
export type ErrorGroup = Schemas["ErrorGroup"];
export type Task = Schemas["Task"];
export type TaskInFull = Schemas["TaskInFull"];
export type NewTask = Schemas["NewTask"];
export type Reason = Schemas["Reason"];
export type Queue = Schemas["QueueInFull"];
export type QueueSettings = Schemas["QueueSettings"];
export type NewQueue = Schemas["NewQueue"];
export type Server = Schemas["Server"];
export type Handler = Schemas["Handler"];
export type Summary = Schemas["Summary"];
export type Series = Schemas["Series"];
export type Me = Schemas["Me"];
export type Meta = Schemas["Meta"];
export type BulkRequest = Schemas["BulkRequest"];
export type User = Schemas["User"];
export type Tenant = Schemas["Tenant"];
export type Schedule = Schemas["Schedule"];
export type ScheduleInFull = Schemas["ScheduleInFull"];
export type NewSchedule = Schemas["NewSchedule"];
export type ScheduleChanges = Schemas["ScheduleChanges"];
export type FireRule = Schemas["PreviewRequest"];
export type Batch = Schemas["Batch"];
export type Item = Schemas["Item"];
export type NewBatch = Schemas["NewBatch"];
export type BatchTemplate = Schemas["BatchTemplate"];
export type NewBatchTemplate = Schemas["NewTemplate"];
