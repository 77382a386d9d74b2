import type { Me } from "@/api/types";

/** The pages as data: address, menu group, key and the permission that shows them. */

export type Permission = Me["permissions"][number];

export interface PageEntry {
  name: string;
  path: string;
  group: "watch" | "work" | "setup" | "admin";
  icon: string;
  /** The key after `g`. */
  key: string;
  needs?: Permission;
}

export const PAGES: readonly PageEntry[] = [
  { name: "overview", path: "/", group: "watch", icon: "overview", key: "o", needs: "runs.read" },
  { name: "runs", path: "/runs", group: "watch", icon: "runs", key: "r", needs: "runs.read" },
  { name: "alerts", path: "/alerts", group: "watch", icon: "alerts", key: "a", needs: "alerts.read" },
  { name: "tasks", path: "/tasks", group: "work", icon: "tasks", key: "t", needs: "tasks.read" },
  { name: "batches", path: "/batches", group: "work", icon: "batches", key: "b", needs: "batches.read" },
  { name: "schedules", path: "/schedules", group: "work", icon: "schedules", key: "s", needs: "schedules.read" },
  { name: "queues", path: "/queues", group: "setup", icon: "queues", key: "q", needs: "monitoring" },
  {
    name: "handlers",
    path: "/handlers",
    group: "setup",
    icon: "handlers",
    key: "h",
    needs: "handlers.read",
  },
  { name: "servers", path: "/servers", group: "setup", icon: "servers", key: "v", needs: "monitoring" },
  { name: "admin", path: "/admin", group: "admin", icon: "admin", key: "u" },
  { name: "settings", path: "/settings", group: "admin", icon: "settings", key: ",", needs: "settings.read" },
];

export const GROUPS = ["watch", "work", "setup", "admin"] as const;
