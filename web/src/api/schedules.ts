import { client, take } from "./client";
import type { operations } from "./schema";
import type { FireRule, NewSchedule, ScheduleChanges } from "./types";

/** Schedules: what fires by itself, and when. */

export type SchedulesQuery = NonNullable<operations["list_schedules"]["parameters"]["query"]>;

const id = (schedule: number | string) => ({ params: { path: { schedule_id: Number(schedule) } } });

export const listSchedules = (query: SchedulesQuery, signal?: AbortSignal) =>
  take(client.GET("/api/v1/schedules", { params: { query }, signal }));

export const showSchedule = (schedule: number | string) =>
  take(client.GET("/api/v1/schedules/{schedule_id}", id(schedule)));

export const nextFires = (schedule: number | string) =>
  take(client.GET("/api/v1/schedules/{schedule_id}/next", id(schedule)));

export const scheduleCalendar = (schedule: number | string, days: number) =>
  take(
    client.GET("/api/v1/schedules/{schedule_id}/calendar", {
      params: { ...id(schedule).params, query: { days } },
    }),
  );

/** When a rule would fire, and its words; nothing is made. */
export const previewRule = (body: FireRule, signal?: AbortSignal) =>
  take(client.POST("/api/v1/schedules/preview", { body, signal }));

export const createSchedule = (body: NewSchedule) => take(client.POST("/api/v1/schedules", { body }));

export const updateSchedule = (schedule: number, body: ScheduleChanges) =>
  take(client.PATCH("/api/v1/schedules/{schedule_id}", { ...id(schedule), body }));

export const deleteSchedule = (schedule: number | string) =>
  take(client.DELETE("/api/v1/schedules/{schedule_id}", id(schedule)));

export const turnSchedule = (schedule: number | string, on: boolean) =>
  on
    ? take(client.POST("/api/v1/schedules/{schedule_id}/start", id(schedule)))
    : take(client.POST("/api/v1/schedules/{schedule_id}/stop", id(schedule)));

/** Enqueue its task now, with parameters of its own or those given. */
export const triggerSchedule = (schedule: number | string) =>
  take(client.POST("/api/v1/schedules/{schedule_id}/trigger", id(schedule)));
