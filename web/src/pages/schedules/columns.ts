import type { Schedule } from "@/api/types";
import type { Column } from "@/ui/table";

/** What fires next; nothing while it is stopped. */
export const nextFire = (schedule: Schedule) => (schedule.status === 1 ? schedule.next_fire_at : null);

export const columns: readonly Column<Schedule>[] = [
  { key: "status", label: "schedules.on", value: (schedule) => schedule.status, custom: true },
  {
    key: "name",
    label: "schedules.name",
    value: (schedule) => schedule.name,
    sort: "name",
    custom: true,
  },
  { key: "rule", label: "schedules.rule", value: (schedule) => schedule.words, custom: true },
  { key: "next_fire_at", label: "schedules.next", kind: "time", value: nextFire, sort: "next_fire_at" },
  { key: "last_status", label: "schedules.last", value: (schedule) => schedule.last_status, custom: true },
  { key: "policy", label: "schedules.policy", value: (schedule) => schedule.overlap, custom: true, minor: true },
];
